"""A small file that declares a huge picture is refused before it costs memory or time."""

from __future__ import annotations

import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

from executors.errors import VisualSearchError
from executors.preprocess.header import ImageLimits, check_limits, read_header
from tests.support.pictures.image_files import (
    bmp,
    gif,
    jpeg_declaring,
    photo,
    pillow,
    png,
    tiff,
    webp,
    webp_animation,
    webp_canvas,
    webp_chunk,
)
from tests.support.pictures.image_samples import sample

LIMITS = ImageLimits(max_bytes=20_000_000, max_pixels=50_000_000, max_side=16_384)


# Calls of functions while a picture is refused; one that is decoded, or searched through, takes more.
MOST_CALLS = 2_000


ROOT = Path(__file__).resolve().parents[3]


def _deep_png(side: int) -> bytes:
    return png(side, side, 1, 0, bytes((side + 7) // 8 + 1) * side)


def _one_pixel(image_format: str) -> bytes:
    return pillow(np.zeros((1, 1, 3), np.uint8), image_format)


def _webp_lossless(width: int, height: int) -> bytes:
    return webp(webp_chunk(b"VP8L", struct.pack("<BI", 0x2F, width - 1 | (height - 1) << 14) + bytes(30)))


def _webp_lossy(width: int, height: int) -> bytes:
    return webp(webp_chunk(b"VP8 ", b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height) + bytes(30)))


def _declaring(data: bytes, width: int, height: int) -> bytes:
    """An AVIF or HEIF whose every `ispe` lies about the size."""
    parts = data.split(b"ispe")
    changed = [part[:4] + struct.pack(">II", width, height) + part[12:] for part in parts[1:]]
    return b"ispe".join([parts[0], *changed])


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content) + 8) + kind + content


def _grid(width: int, height: int) -> bytes:
    """An HEIF of one item, a grid whose data ask for another size than its properties."""
    items = _box(b"iinf", b"\0\0\0\0\0\x01" + _box(b"infe", b"\2\0\0\0\0\1\0\0grid\0"))
    place = _box(b"iloc", b"\1\0\0\0\x44\0\0\1\0\1\0\1\0\0\0\1" + struct.pack(">II", 0, 12))
    sizes = _box(b"ipco", _box(b"ispe", b"\0\0\0\0" + struct.pack(">II", 64, 64)))
    properties = _box(b"iprp", sizes + _box(b"ipma", b"\0\0\0\0\0\0\0\1\0\1\1\x81"))
    inside = _box(b"idat", b"\0\1\0\0" + struct.pack(">II", width, height))
    meta = b"\0\0\0\0" + _box(b"pitm", b"\0\0\0\0\0\1") + items + place + properties + inside
    return _box(b"ftyp", b"heic\0\0\0\0mif1heic") + _box(b"meta", meta)


def _jxl_declaring(width: int, height: int) -> bytes:
    """The beginning of a JPEG XL codestream: two sizes of 30 bits each, and no ratio."""
    bits = 0
    position = 1
    for number, ratio_bits in ((height, 3), (width, 0)):
        bits |= 3 << position | (number - 1) << position + 2
        position += 32 + ratio_bits
    return b"\xff\x0a" + bits.to_bytes(40, "little")


BOMBS: dict[str, Callable[[], bytes]] = {
    "png": lambda: _deep_png(20_000),
    "png rgba, 16 bits": lambda: png(16_000, 16_000, 16, 6, b""),
    "jpeg": lambda: jpeg_declaring(sample("jpeg baseline"), 32_000, 32_000),
    "jpeg progressive": lambda: jpeg_declaring(sample("jpeg progressive"), 65_500, 65_500),
    "webp lossless": lambda: _webp_lossless(16_384, 16_384),
    "webp lossy": lambda: _webp_lossy(16_383, 16_383),
    "webp canvas": lambda: webp(webp_canvas(1 << 24, 1 << 24, 0x10), pillow(photo(), "WEBP")[12:]),
    "webp frame larger than its canvas": lambda: webp(webp_canvas(8, 8, 0), _webp_lossless(16_000, 16_000)[12:]),
    "webp animation's frame larger than its canvas": lambda: webp_animation(8, 8, [(0, 0, photo())]).replace(
        struct.pack("<I", 159)[:3] + struct.pack("<I", 95)[:3], b"\xff\xff\0\xff\xff\0"
    ),
    "gif screen": lambda: gif((65_535, 65_535), (0, 0, 1, 1), np.zeros((1, 1), np.uint8)),
    "gif frame larger than its screen": lambda: gif((1, 1), (0, 0, 60_000, 60_000), np.zeros((1, 1), np.uint8)),
    "gif frame far away": lambda: gif((1, 1), (65_000, 65_000, 1, 1), np.zeros((1, 1), np.uint8)),
    "tiff": lambda: tiff(30_000, 30_000, [bytes(100)], tags=[(259, 3, [8])]),
    "tiff tile larger than its picture": lambda: tiff(16, 16, [bytes(100)], tile=(32_768, 32_768)),
    "bigtiff": lambda: tiff(16, 16, [bytes(100)], big=True, tags=[(256, 16, [2**40]), (257, 16, [2**40])]),
    "bmp": lambda: bmp(30_000, 30_000, 24, bytes(100)),
    "bmp run lengths": lambda: bmp(30_000, 30_000, 8, bytes(100), compression=1, palette=bytes(1024)),
    "bmp downwards": lambda: bmp(1, -(2**31), 24, bytes(100)),
    "avif": lambda: _declaring(sample("avif"), 30_000, 30_000),
    "heif": lambda: _declaring(sample("heif"), 30_000, 30_000),
    "heif grid": lambda: _grid(60_000, 60_000),
    "jpeg2000": lambda: sample("jpeg2000").replace(struct.pack(">II", 160, 96), struct.pack(">II", 30_000, 30_000)),
    "jpeg2000 codestream": lambda: sample("jpeg2000 codestream").replace(
        struct.pack(">II", 160, 96), struct.pack(">II", 30_000, 30_000)
    ),
    "jxl": lambda: _jxl_declaring(1 << 29, 1 << 29),
    "jxl in boxes": lambda: b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\0jxlc" + _jxl_declaring(1 << 18, 1 << 18),
    "too long a side": lambda: png(20_000, 1, 8, 0, bytes(20_001)),
}


def refusal(data: bytes) -> VisualSearchError:
    with pytest.raises(VisualSearchError) as caught:
        check_limits(read_header(data), LIMITS)
    return caught.value


def calls_of(work: Callable[[], object]) -> int:
    """How many functions, of Python and of C, are called."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_it_is_decoded(name: str) -> None:
    data = BOMBS[name]()
    assert len(data) < 60_000
    tracemalloc.start()
    error = refusal(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert error.code == "image_too_many_pixels"
    assert error.details["limit"] in (LIMITS.max_pixels, LIMITS.max_side)
    assert error.details["width"] * error.details["height"] >= 20_000
    assert calls_of(lambda: refusal(data)) < MOST_CALLS
    assert peak < 2_000_000


def test_the_memory_of_the_process_does_not_grow_with_bombs(tmp_path: Path) -> None:
    for index, make in enumerate(BOMBS.values()):
        (tmp_path / str(index)).write_bytes(make())
    script = f"""
import resource, sys
from pathlib import Path
from executors.errors import VisualSearchError
from executors.models.spec import ModelSpec
from executors.preprocess.header import ImageLimits
from executors.preprocess.pipeline import ImagePipeline
pipeline = ImagePipeline(ModelSpec("m", "m", 1, 224, 224, "centre_crop"), {LIMITS!r}, thumbnails=True)
pictures = [path.read_bytes() for path in Path(sys.argv[1]).iterdir()]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for picture in pictures:
    try:
        pipeline.prepare(picture)
        sys.exit("a bomb was decoded")
    except VisualSearchError as error:
        assert error.code == "image_too_many_pixels", error
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    kilobytes = int(done.stdout) // (1024 if sys.platform == "darwin" else 1)
    assert kilobytes < 20_000


@pytest.mark.parametrize("image_format", ["avif", "heif"])
def test_the_coded_picture_counts_whatever_the_file_around_it_says(image_format: str) -> None:
    header = read_header(_declaring(sample(image_format), 16, 16))
    assert (header.width, header.height) == (16, 16)
    with pytest.raises(VisualSearchError, match="image_too_many_pixels"):
        check_limits(header, ImageLimits(max_bytes=20_000_000, max_pixels=15_000, max_side=16_384))


@pytest.mark.parametrize(
    ("width", "height", "accepted"),
    [(10_000, 5_000, True), (10_001, 5_000, False), (16_384, 3_051, True), (16_385, 1, False), (1, 16_385, False)],
)
def test_the_limits_are_inclusive(width: int, height: int, accepted: bool) -> None:
    header = read_header(jpeg_declaring(sample("jpeg"), width, height))
    if accepted:
        check_limits(header, LIMITS)
    else:
        with pytest.raises(VisualSearchError, match="image_too_many_pixels"):
            check_limits(header, LIMITS)
