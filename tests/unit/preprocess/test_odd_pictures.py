"""Comparison with Pillow: every odd picture that is accepted looks as in Pillow, every other one is refused with the
right code.
"""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from executors.preprocess import profiles
from executors.preprocess.decode import configure_opencv
from executors.preprocess.header import read_header
from tests.support.pictures.beside_pillow import LOSSLESS, LOSSY, LOSSY_FORMATS, assert_alike, by_pillow, ours
from tests.support.pictures.icc_profiles import ADOBE_RGB, DISPLAY_P3, PROPHOTO, cmyk_profile, grey_profile, rgb_profile
from tests.support.pictures.image_files import exif, photo, pillow, png, png_chunk, tiff, transparent_photo

PICTURES = Path(__file__).resolve().parents[4] / "shared" / "data" / "pictures"
FILES = sorted(path.relative_to(PICTURES).as_posix() for path in PICTURES.rglob("*") if path.is_file())
# Files that are not read, by their usual extension.
UNREAD = {
    "tga",
    "dds",
    "psd",
    "pcx",
    "sgi",
    "qoi",
    "ico",
    "ppm",
    "pgm",
    "pbm",
    "im",
    "eps",
    "blp",
    "md",
    "txt",
    "LICENSE",
}
REFUSED: dict[str, dict[str, tuple[str, ...]]] = {
    "unsupported_format": {
        "pillow": (
            "10ct_32bit_128.tiff",
            "12bit.cropped.tif",
            "16_bit_binary_pgm.tiff",
            "16bit.s.tif",
            "separate_planar_extra_samples.tiff",
            "unknown_mode.j2k",
            "bmp/q/rgb24jpeg.bmp",
            "bmp/q/rgb24png.bmp",
        ),
    },
    "image_too_many_pixels": {"pillow": ("bmp/b/reallybig.bmp", "l2rgb_read.bmp")},
    "undecodable_image": {
        "pillow": (
            "00r0_gray_l.jp2",
            "balloon_eciRGBv2_aware.jp2",
            "bmp/b/badbitcount.bmp",
            "bmp/b/badpalettesize.bmp",
            "bmp/b/badwidth.bmp",
            "bmp/b/shortfile.bmp",
            "broken_data_stream.png",
            "ultrahdr.jpg",
            "unbound_variable.jp2",
            "zero_height.j2k",
            "zero_width.gif",
            "libtiff_segfault.tif",
            "seek_too_large.tif",
        )
    },
}
REFUSALS = {
    f"{folder}/{name}": code for code, folders in REFUSED.items() for folder, names in folders.items() for name in names
}
# Files that were broken on purpose to crash decoders; libtiff and Pillow tolerate wrong fax codes.
BROKEN = ("crash-", "oom-")
TOLERATED = {
    "pillow/crash-0da013a13571cc8eb457a39fee8db18f8a3c7127.tif",
    "pillow/crash-74d2a78403a5a59db1fb0a2b8735ac068a75f6e3.tif",
}
MISNAMED = {"pillow/courB08.pbm"}
# Good pictures, at least as far as their pixels go, that Pillow refuses, with the reason.
NOT_BY_PILLOW = {
    "found/webp-in-tiff.tif": "WebP in TIFF",
    "pillow/hopper_webp.tif": "WebP in TIFF",
    "pillow/apng/chunk_no_fctl.png": "later frames",
    "pillow/png_decompression_dos.png": "a text",
    "pillow/unknown_compression_method.png": "a text",
    "pillow/bmp/g/rgb32bf.bmp": "masks",
    "pillow/bmp/q/rgb16-231.bmp": "masks",
    "pillow/bmp/q/rgba16-4444.bmp": "masks",
    "pillow/bmp/q/rgba32abf.bmp": "masks",
    "pillow/bmp/q/pal2.bmp": "2 bits",
    "pillow/bmp/q/pal8os2v2-16.bmp": "a short header",
    "pillow/bmp/q/pal8oversizepal.bmp": "a long palette",
}


@pytest.fixture(autouse=True, scope="module")
def _quiet_opencv() -> None:
    configure_opencv()


@pytest.mark.skipif(not FILES, reason="no folder of odd pictures beside the repository")
@pytest.mark.parametrize("name", FILES)
def test_a_shared_picture_looks_as_in_pillow_or_is_refused_with_the_right_code(name: str) -> None:
    data = (PICTURES / name).read_bytes()
    picture = ours(data)
    if name.rsplit("/", 1)[-1].rsplit(".", 1)[-1] in UNREAD and name not in MISNAMED:
        assert picture == "unsupported_format"
        return
    if name in REFUSALS or (name.rsplit("/", 1)[-1].startswith(BROKEN) and name not in TOLERATED):
        assert picture == REFUSALS.get(name, "undecodable_image")
        return
    assert not isinstance(picture, str), picture
    if name in NOT_BY_PILLOW:
        return
    expected, image_format = by_pillow(data)
    assert_alike(picture, expected, LOSSY if image_format in LOSSY_FORMATS else LOSSLESS)


@pytest.mark.skipif(not FILES, reason="no folder of odd pictures beside the repository")
@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("bmp/g/rgb32bf.bmp", "bmp/html/rgb24.png"),
        ("bmp/q/rgb32bf-xbgr.bmp", "bmp/html/rgb24.png"),
        ("bmp/g/rgb16-565.bmp", "bmp/html/rgb16-565.png"),
        ("bmp/q/pal8os2v2-16.bmp", "bmp/html/pal8.png"),
        ("bmp/q/pal8oversizepal.bmp", "bmp/html/pal8.png"),
    ],
)
def test_a_bmp_of_the_suite_looks_as_its_reference(name: str, same: str) -> None:
    picture = ours((PICTURES / "pillow" / name).read_bytes())
    assert not isinstance(picture, str)
    assert_alike(picture, np.asarray(Image.open(PICTURES / "pillow" / same).convert("RGB")), (0.05, 2))


def _exif_beside_a_turn(image_format: str, orientation: int) -> bytes:
    """A picture that its container turns, and whose EXIF (against the specification) still says so, too."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x0115] = orientation
    data = pillow(photo(), image_format, exif=tags.tobytes(), quality=90)
    # The encoders take the orientation out of the EXIF: another tag becomes it.
    for order in ("little", "big"):
        data = data.replace(
            (0x0115).to_bytes(2, order) + (3).to_bytes(2, order) + (1).to_bytes(4, order),
            (0x0112).to_bytes(2, order) + (3).to_bytes(2, order) + (1).to_bytes(4, order),
        )
    return data


def _xmp(orientation: int) -> bytes:
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>'
        % orientation
    )


def _raw_profile(orientation: int) -> bytes:
    block = exif(orientation)
    digits = block.hex().encode()
    lines = b"\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    return b"\nexif\n%8d\n%s\n" % (len(block), lines)


def _with_chunk(kind: bytes, content: bytes) -> bytes:
    return png(160, 96, 8, 2, photo(), png_chunk(kind, content))


def _cmyk() -> Image.Image:
    return Image.fromarray(photo()).convert("CMYK")


def _grey_of(bits: int) -> bytes:
    levels = photo()[..., 0] >> (8 - bits)
    per_byte = 8 // bits
    packed = sum(levels[:, at::per_byte].astype(int) << (8 - bits * (at + 1)) for at in range(per_byte))
    return tiff(160, 96, [np.asarray(packed, np.uint8).tobytes()], bits=bits, samples=1, photometric=1)


def _deep(pixels: NDArray[np.uint8]) -> NDArray[np.uint16]:
    return pixels.astype(np.uint16) * 257


WIDE = {
    "adobe rgb": rgb_profile(ADOBE_RGB, 2.2),
    "display p3": rgb_profile(DISPLAY_P3, 2.2),
    "prophoto": rgb_profile(PROPHOTO, 1.8),
}


def _lab() -> Image.Image:
    converted = ImageCms.profileToProfile(
        Image.fromarray(photo()), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert converted is not None
    return converted


WRITTEN_WITH: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95},
    "PNG": {},
    "WEBP": {"lossless": True},
    "TIFF": {},
    "AVIF": {"quality": 90},
    "HEIF": {"quality": 90},
}
GENERATED: dict[str, Callable[[], bytes]] = {
    **{
        f"{image_format} {name}": partial(pillow, photo(), image_format, icc_profile=profile, **options)
        for name, profile in WIDE.items()
        for image_format, options in WRITTEN_WITH.items()
    },
    "png rgba wide": lambda: pillow(transparent_photo(), "PNG", icc_profile=WIDE["adobe rgb"]),
    "webp rgba wide": lambda: pillow(transparent_photo(), "WEBP", lossless=True, icc_profile=WIDE["adobe rgb"]),
    "avif rgba wide": lambda: pillow(transparent_photo(), "AVIF", quality=90, icc_profile=WIDE["adobe rgb"]),
    "png palette wide": lambda: pillow(Image.fromarray(photo()).quantize(64), "PNG", icc_profile=WIDE["adobe rgb"]),
    "jpeg grey profile": lambda: pillow(photo()[..., 0], "JPEG", quality=95, icc_profile=grey_profile(1.2)),
    "png grey profile": lambda: pillow(photo()[..., 0], "PNG", icc_profile=grey_profile(1.2)),
    "jpeg cmyk profile": lambda: pillow(_cmyk(), "JPEG", quality=95, icc_profile=cmyk_profile()),
    "tiff cmyk profile": lambda: pillow(_cmyk(), "TIFF", icc_profile=cmyk_profile()),
    "jpeg damaged profile": lambda: pillow(photo(), "JPEG", icc_profile=WIDE["prophoto"][:200]),
    **{
        f"tiff {compression}": partial(pillow, photo(), "TIFF", compression=compression)
        for compression in ("zstd", "lzma", "packbits", "tiff_lzw", "tiff_adobe_deflate")
    },
    "tiff lab": lambda: pillow(_lab(), "TIFF"),
    "tiff five samples": lambda: tiff(
        160, 96, [np.dstack([photo(), photo()[..., :2]]).tobytes()], samples=5, tags=[(338, 3, [0, 0])]
    ),
    "tiff cmyk 16 bits": lambda: tiff(
        160, 96, [_deep(np.asarray(_cmyk())).tobytes()], bits=16, samples=4, photometric=5
    ),
    "tiff grey 2 bits": lambda: _grey_of(2),
    "tiff grey 4 bits": lambda: _grey_of(4),
    "tiff 16 bits planes": lambda: tiff(
        160, 96, [_deep(photo())[..., k].tobytes() for k in range(3)], bits=16, tags=[(284, 3, [2])]
    ),
    "png rgb 16 bits transparent": lambda: png(
        160, 96, 16, 2, _deep(photo()), png_chunk(b"tRNS", _deep(photo())[5, 5].astype(">u2").tobytes())
    ),
    "png 65,534 texts": lambda: png(160, 96, 8, 2, photo(), png_chunk(b"tEXt", b"a\0b") * 65_534),
    "png xmp": lambda: _with_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + _xmp(6)),
    "png xmp packed": lambda: _with_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(_xmp(8))),
    "png raw profile": lambda: _with_chunk(b"tEXt", b"Raw profile type exif\0" + _raw_profile(6)),
    "png raw profile packed": lambda: _with_chunk(
        b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(_raw_profile(5))
    ),
    "jpeg xmp": lambda: pillow(photo(), "JPEG", quality=95, xmp=_xmp(6)),
    "webp xmp": lambda: pillow(photo(), "WEBP", lossless=True, xmp=_xmp(3)),
    "tiff xmp": lambda: tiff(160, 96, [photo().tobytes()], tags=[(700, 1, list(_xmp(6)))]),
    **{
        f"{image_format} turned {orientation}": partial(_exif_beside_a_turn, image_format, orientation)
        for image_format in ("AVIF", "HEIF", "JXL")
        for orientation in range(1, 9)
    },
}


@pytest.mark.parametrize("name", GENERATED)
def test_a_generated_picture_looks_as_in_pillow(name: str) -> None:
    data = GENERATED[name]()
    picture = ours(data)
    assert not isinstance(picture, str), picture
    expected, image_format = by_pillow(data)
    assert_alike(picture, expected, LOSSY if image_format in LOSSY_FORMATS else LOSSLESS)


@pytest.mark.parametrize("image_format", ["AVIF", "HEIF", "JXL"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_that_container_and_exif_turn_is_turned_once(image_format: str, orientation: int) -> None:
    picture = ours(_exif_beside_a_turn(image_format, orientation))
    expected = Image.fromarray(photo())
    expected.getexif()[0x0112] = orientation
    assert not isinstance(picture, str)
    upright = np.asarray(ImageOps.exif_transpose(expected))
    assert picture.shape == upright.shape
    assert np.abs(picture.astype(int) - upright).mean() < 6


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF", "HEIF"])
def test_a_wide_gamut_picture_looks_as_its_srgb_original(name: str, image_format: str) -> None:
    wide = ImageCms.profileToProfile(
        Image.fromarray(photo()),
        ImageCms.createProfile("sRGB"),
        ImageCms.ImageCmsProfile(io.BytesIO(WIDE[name])),
        outputMode="RGB",
    )
    assert wide is not None
    picture = ours(
        pillow(wide, image_format, icc_profile=WIDE[name], **({"quality": 95} if image_format != "TIFF" else {}))
    )
    assert not isinstance(picture, str)
    assert np.abs(picture.astype(int) - photo()).mean() < 2.5
    assert np.abs(np.asarray(wide).astype(int) - photo()).mean() > 3


def test_an_srgb_profile_costs_nothing() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert profiles._transform(profile, "RGB") is None
    pixels = photo()
    assert profiles.to_srgb(pixels, profile) is pixels


def test_the_cache_of_profiles_does_not_hold_them() -> None:
    profile = WIDE["adobe rgb"] + bytes(1_000)
    holders = sys.getrefcount(profile)
    profiles.to_srgb(photo(), profile)
    assert sys.getrefcount(profile) == holders
    assert profiles._transform(profile, "RGB") is profiles._transform(profile, "RGB") is not None


def test_only_the_first_text_of_a_kind_is_unpacked() -> None:
    texts = {
        b"zTXt": (b"Raw profile type exif\0\0", _raw_profile(6)),
        b"iTXt": (b"XML:com.adobe.xmp\0\1\0\0\0", _xmp(6)),
    }
    for kind, (head, content) in texts.items():
        good, bad = (png_chunk(kind, head + zlib.compress(each)) for each in (content, bytes(1_500_000)))
        assert read_header(png(160, 96, 8, 2, photo(), good, bad)).orientation == 6
        assert read_header(png(160, 96, 8, 2, photo(), bad, good)).orientation == 1


@pytest.mark.parametrize("bits", [16, 32])
def test_a_bmp_of_any_masks_has_the_colours_that_they_say(bits: int) -> None:
    generator = np.random.default_rng(3)
    for header_size in (40, 56, 124):
        for _ in range(20):
            places = sorted(generator.choice(np.arange(1, bits), 5, replace=False).tolist())
            masks = [(1 << high) - (1 << low) for low, high in pairwise(places)]
            generator.shuffle(masks)
            with_alpha = header_size > 40
            red, green, blue, alpha = masks if with_alpha else (*masks[:3], 0)
            values = generator.integers(0, 1 << bits, (5, 7), dtype=np.uint64)
            rows = values.astype(f"<u{bits // 8}")[::-1]
            padded = b"".join(row.tobytes().ljust(-(-row.nbytes // 4) * 4, b"\0") for row in rows)
            head = struct.pack("<IiiHHIIiiII", header_size, 7, 5, 1, bits, 3, len(padded), 0, 0, 0, 0)
            head = (head + struct.pack("<IIII", red, green, blue, alpha)).ljust(max(52, header_size), b"\0")
            head = head[: max(52, header_size)]
            data = b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + len(head)) + head + padded
            samples = [
                ((values & mask) >> (mask & -mask).bit_length() - 1) * 255.0 / (mask // (mask & -mask))
                if mask
                else None
                for mask in (red, green, blue, alpha)
            ]
            colours = np.dstack([sample for sample in samples[:3] if sample is not None])
            if samples[3] is not None:
                opacity = samples[3][..., None] / 255
                colours = colours * opacity + 255 * (1 - opacity)
            picture = ours(data)
            assert not isinstance(picture, str), picture
            assert np.abs(picture - colours).max() <= 1.6
