"""A damaged file gives one coded error, without noise, and never half a picture; a complete one is accepted with its
flaws.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from executors.errors import VisualSearchError
from executors.preprocess.decode import configure_opencv, decode
from executors.preprocess.header import ImageLimits, check_limits, read_header
from tests.support.pictures.image_files import by_pillow, distance, photo, pillow, png, png_chunk, tiff
from tests.support.pictures.image_samples import FORMATS, SAMPLES, sample

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True, scope="module")
def _quiet_opencv() -> None:
    configure_opencv()


def picture(data: bytes, at_least: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    return decode(data, read_header(data), at_least)


def refusal(data: bytes) -> str:
    with pytest.raises(VisualSearchError) as caught:
        picture(data)
    return caught.value.code


def outcome(data: bytes) -> str:
    """`picture`, or the code of the error; any other exception passes."""
    try:
        header = read_header(data)
        check_limits(header, ImageLimits(max_bytes=10**7, max_pixels=4_000_000, max_side=16_384))
        assert decode(data, header).shape == (*header.upright_size, 3)
    except VisualSearchError as error:
        return error.code
    return "picture"


@pytest.mark.parametrize("part", [0.1, 0.3, 0.5, 0.9, 0.97])
@pytest.mark.parametrize("name", [name for name in SAMPLES if "animated" not in name and "transparent" not in name])
def test_a_file_that_is_cut_off_is_an_error_and_not_half_a_picture(name: str, part: float) -> None:
    data = sample(name)
    assert refusal(data[: int(len(data) * part)]) == "undecodable_image"


@pytest.mark.parametrize("name", ["jpeg baseline", "jpeg progressive", "jpeg grey", "jpeg restarts", "jpeg cmyk"])
def test_a_jpeg_without_its_end_marker_is_accepted_if_its_pixels_are_there(name: str) -> None:
    data = sample(name)
    whole = picture(data)
    assert distance(picture(data[:-2]), whole) == 0
    assert distance(picture(data[:-1]), whole) == 0
    assert distance(picture(data[:-2] + bytes(5_000)), whole) == 0


@pytest.mark.parametrize("name", ["jpeg baseline", "jpeg grey", "jpeg restarts"])
@pytest.mark.parametrize("tail", [b"\xff\xd9", bytes(3_000), bytes(3_000) + b"\xff\xd9", b"\xff"])
@pytest.mark.parametrize("part", [0.4, 0.9])
def test_missing_pixels_are_found_whatever_the_file_ends_with(name: str, tail: bytes, part: float) -> None:
    data = sample(name)
    assert refusal(data[: int(len(data) * part)] + tail) == "undecodable_image"
    with pytest.raises(VisualSearchError, match="undecodable_image"):
        picture(data[: int(len(data) * part)] + tail, at_least=(20, 20))


def test_a_picture_that_ends_in_grey_is_a_picture() -> None:
    pixels = photo()
    pixels[60:] = 128
    for options in ({}, {"progressive": True}, {"restart_marker_blocks": 3}):
        data = pillow(pixels, "JPEG", quality=90, **options)
        assert distance(picture(data), by_pillow(data)) == 0
        assert distance(picture(data + b"a film or a preview \xff\xd8\xff\xd9"), by_pillow(data)) == 0


def test_what_follows_a_picture_does_not_matter() -> None:
    for name in ("jpeg", "png", "bmp", "tiff", "gif"):
        data = sample(name)
        assert distance(picture(data + b"more" * 100), picture(data)) == 0


def test_a_png_is_checked_against_its_checksums() -> None:
    data = sample("png")
    damaged_places = (data.index(b"IDAT") + 500, data.index(b"IEND") - 5)  # in the data, in their checksum
    for place in damaged_places:
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        assert refusal(bytes(damaged)) == "undecodable_image"
    assert distance(picture(data[:-12]), photo()) == 0
    short = png(160, 96, 8, 2, np.ascontiguousarray(photo()[:50]))
    assert refusal(short) == "undecodable_image"


def test_profiles_and_texts_of_a_png_do_not_matter() -> None:
    junk = [png_chunk(b"iCCP", b"x\0\0garbage"), png_chunk(b"zTXt", b"x\0\0\xff"), png_chunk(b"gAMA", bytes(4))]
    junk += [png_chunk(b"acTL", b"\0\0\0\2\0\0\0\0"), png_chunk(b"fcTL", bytes(26))]
    assert distance(picture(png(160, 96, 8, 2, photo(), *junk)), photo()) == 0


def test_a_tiff_that_lacks_strips_is_an_error() -> None:
    for bits, samples in ((8, 3), (16, 3), (16, 4)):
        rows = np.zeros((7, 160, samples), np.uint8 if bits == 8 else np.uint16).tobytes()
        data = tiff(160, 96, [rows] * 5, bits=bits, samples=samples, rows=7)
        assert refusal(data) == "undecodable_image"


def test_mutated_pictures_yield_a_picture_or_a_coded_error() -> None:
    generator = np.random.default_rng(7)
    outcomes: Counter[str] = Counter()
    for name in FORMATS:
        original = np.frombuffer(sample(name), np.uint8)
        for _ in range(60):
            data = original.copy()
            places = generator.integers(0, len(data), generator.choice((1, 4, 40)))
            data[places] = generator.integers(0, 256, len(places))
            outcomes[outcome(data.tobytes())] += 1
    assert outcomes["picture"] > 20
    assert outcomes["undecodable_image"] > 20
    assert set(outcomes) <= {"picture", "undecodable_image", "unsupported_format", "image_too_many_pixels"}


def test_damaged_pictures_leave_no_line_on_stderr(tmp_path: Path) -> None:
    jpeg, portable = sample("jpeg"), sample("png")
    fax = sample("tiff group4")
    # A checksum that fits, so that libpng gets to see the damage.
    damaged_png = png(160, 96, 8, 2, b"\x09" * 46_176, png_chunk(b"iCCP", b"x\0\0garbage"))
    files = {
        "half.jpg": jpeg[: len(jpeg) // 2] + b"\xff\xd9",
        "extraneous.jpg": jpeg[:-2] + b"\x55\xaa" * 50 + b"\xff\xd9",
        "half.png": portable[: len(portable) // 2],
        "filter.png": damaged_png,
        "half.tif": sample("tiff")[:9_000],
        "half.gif": sample("gif")[:3_000],
        "half.webp": sample("webp")[:2_000],
        "half.avif": sample("avif")[:2_000],
        "half.heic": sample("heif")[:2_000],
        "half.jp2": sample("jpeg2000")[:2_000],
        "half.jxl": sample("jxl")[:2_000],
        "half.bmp": sample("bmp run lengths")[:2_000],
        "codes.tif": fax[: fax.index(b"II*") + 8] + b"\x55" * 40 + fax[48:],
        "tags.tif": tiff(160, 96, [photo().tobytes()], tags=[(34675, 1, [0] * 900)])[:-300],
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    script = """
import ctypes
import sys
from collections import Counter
from pathlib import Path
from executors.errors import VisualSearchError
from executors.preprocess.decode import configure_opencv, decode
from executors.preprocess.header import read_header
configure_opencv()
for path in Path(sys.argv[1]).iterdir():
    try:
        decode(path.read_bytes(), read_header(path.read_bytes()))
    except VisualSearchError as error:
        print(path.name)
print("python may speak", file=sys.stderr, flush=True)
ctypes.CDLL(None).perror(b"and C again")
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert sorted(done.stdout.split()) == sorted(set(files) - {"extraneous.jpg", "codes.tif", "tags.tif"})
    first, second = done.stderr.splitlines()
    assert first == "python may speak"
    assert second.startswith("and C again")
