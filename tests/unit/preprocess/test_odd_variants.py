"""Comparison with Pillow: headers, metadata and layouts that few writers make, one of each kind."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from executors.preprocess.decode import configure_opencv, decode
from executors.preprocess.formats import jpeg
from executors.preprocess.header import read_header
from tests.support.pictures.beside_pillow import LOSSLESS, LOSSY, LOSSY_FORMATS, assert_alike, by_pillow, ours
from tests.support.pictures.icc_profiles import ADOBE_RGB, PROPHOTO, cmyk_profile, grey_profile, rgb_profile
from tests.support.pictures.image_files import (
    GIF_PALETTE,
    bmp,
    exif,
    gif,
    jpeg_segment,
    jpeg_with,
    photo,
    pillow,
    png,
    png_chunk,
    tiff,
    transparent_photo,
    webp,
    webp_animation,
    webp_canvas,
    webp_chunk,
)

WIDE, WIDER = rgb_profile(ADOBE_RGB, 2.2), rgb_profile(PROPHOTO, 1.8)


@pytest.fixture(autouse=True, scope="module")
def _quiet_opencv() -> None:
    configure_opencv()


def _jpeg(*segments: bytes) -> bytes:
    return jpeg_with(pillow(photo(), "JPEG", quality=95), *segments)


def _exif_of(kind: int, count: int, value: bytes, more: bytes = b"", order: str = "<") -> bytes:
    """An EXIF segment whose orientation is of any type."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    block = struct.pack(f"{order}IHHHI", 8, 1, 0x0112, kind, count) + value.ljust(4, b"\0") + bytes(4) + more
    return jpeg_segment(0xE1, b"Exif\0\0" + mark + block)


def _exif_segment(orientation: int) -> bytes:
    return jpeg_segment(0xE1, b"Exif\0\0" + exif(orientation))


def _xmp_segment(orientation: int) -> bytes:
    packet = b'<x:xmpmeta><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>' % orientation
    return jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet)


def _icc_segment(number: int, count: int, part: bytes) -> bytes:
    return jpeg_segment(0xE2, b"ICC_PROFILE\0" + bytes([number, count]) + part)


def _bmp_with_offset(offset: int, bits: int, palette: bytes = b"") -> bytes:
    rows = np.random.default_rng(1).integers(0, 256, (8, 16 * bits // 8), np.uint8).tobytes()
    data = bmp(16, 8, bits, rows, palette=palette)
    return data[:10] + struct.pack("<I", offset) + data[14:]


def _bmp_without_masks(bits: int) -> bytes:
    rows = np.random.default_rng(1).integers(0, 256, (8, 16 * bits // 8), np.uint8).tobytes()
    head = struct.pack("<IiiHHIIiiII", 124, 16, 8, 1, bits, 3, len(rows), 0, 0, 0, 0).ljust(124, b"\0")
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 124) + head + rows


def _cmyk(**options: object) -> bytes:
    return pillow(Image.fromarray(photo()).convert("CMYK"), "JPEG", quality=95, **options)


def _extended_webp(flags: int, *chunks: bytes) -> bytes:
    bitstream = pillow(transparent_photo(), "WEBP", lossless=True)
    return webp(webp_canvas(80, 48, flags), bitstream[bitstream.index(b"VP8L") :], *chunks)


_PALETTE = np.random.default_rng(2).integers(0, 256, 1024, np.uint8).tobytes()
_INDICES = np.arange(20, dtype=np.uint8).reshape(4, 5) % 4
_EXIF_TYPES = {
    "byte": _exif_of(1, 1, b"\6"),
    "text": _exif_of(2, 2, b"6\0"),
    "undefined": _exif_of(7, 1, b"\6"),
    "signed byte": _exif_of(6, 1, b"\6"),
    "signed short": _exif_of(8, 1, b"\6\0"),
    "signed long, big-endian": _exif_of(9, 1, b"\0\0\0\6", order=">"),
    "float": _exif_of(11, 1, struct.pack("<f", 6)),
    "float that is no number": _exif_of(11, 1, struct.pack("<f", float("nan"))),
    "rational": _exif_of(5, 1, struct.pack("<I", 26), struct.pack("<II", 12, 2)),
    "rational over zero": _exif_of(5, 1, struct.pack("<I", 26), struct.pack("<II", 6, 0)),
    "two shorts": _exif_of(3, 2, b"\6\0\1\0"),
    "three shorts elsewhere": _exif_of(3, 3, struct.pack("<I", 26), struct.pack("<HHH", 6, 1, 1)),
    "nine": _exif_of(3, 1, b"\x09\0"),
}
VARIANTS: dict[str, Callable[[], bytes]] = {
    **{f"jpeg exif as {name}": partial(_jpeg, segment) for name, segment in _EXIF_TYPES.items()},
    "jpeg exif as byte beside xmp": lambda: _jpeg(_EXIF_TYPES["byte"], _xmp_segment(6)),
    "jpeg exif in two segments": lambda: _jpeg(jpeg_segment(0xE1, b"Exif\0\0"), _exif_segment(6)),
    "jpeg exif twice": lambda: _jpeg(_exif_segment(6), _exif_segment(3)),
    "jpeg xmp twice": lambda: _jpeg(_xmp_segment(6), _xmp_segment(3)),
    "jpeg profile twice": lambda: _jpeg(_icc_segment(1, 1, WIDE), _icc_segment(1, 1, WIDER)),
    "jpeg profile in two parts": lambda: _jpeg(_icc_segment(2, 2, WIDE[200:]), _icc_segment(1, 2, WIDE[:200])),
    "cmyk profile and turned": lambda: _cmyk(icc_profile=cmyk_profile(), exif=b"Exif\0\0" + exif(6)),
    "png exif twice": lambda: png(160, 96, 8, 2, photo(), png_chunk(b"eXIf", exif(6)), png_chunk(b"eXIf", exif(3))),
    "bmp offset 0": lambda: _bmp_with_offset(0, 24),
    "bmp offset 0 before a palette": lambda: _bmp_with_offset(0, 8, _PALETTE),
    "bmp offset of its palette": lambda: _bmp_with_offset(54, 8, _PALETTE),
    "bmp masks of zeros": lambda: _bmp_without_masks(32),
    "gif frame on a larger screen": lambda: gif((10, 8), (2, 3, 5, 4), _INDICES),
    "gif transparent frame on a larger screen": lambda: gif((10, 8), (2, 3, 5, 4), _INDICES, transparent=1),
    "gif frame beyond its screen": lambda: gif((3, 3), (1, 2, 5, 4), _INDICES),
    "gif without a palette": lambda: _gif_without_palette(),
    "gif with too many pixels": lambda: gif((5, 4), (0, 0, 5, 4), np.vstack([_INDICES, _INDICES])),
    "webp exif that no flag announces": lambda: _extended_webp(0x10, webp_chunk(b"EXIF", exif(6))),
    "webp profile that no flag announces": lambda: _extended_webp(0x10, webp_chunk(b"ICCP", WIDE)),
    "webp animation without transparency": lambda: _opaque_animation(),
    "webp alpha that no flag announces": lambda: _extended_webp(0),
    "webp grey with a grey profile": lambda: pillow(
        Image.fromarray(photo()).convert("L"), "WEBP", lossless=True, icc_profile=grey_profile(1.2)
    ),
    "webp grey with loss with a grey profile": lambda: pillow(
        Image.fromarray(photo()).convert("L"), "WEBP", quality=90, icc_profile=grey_profile(1.2)
    ),
    "tiff orientation as byte": lambda: tiff(160, 96, [photo().tobytes()], tags=[(274, 1, [6])]),
    "tiff two orientations": lambda: tiff(160, 96, [photo().tobytes()], tags=[(274, 3, [6, 1])]),
    "png torn end": lambda: png(160, 96, 8, 2, photo())[:-5],
}


def _opaque_animation() -> bytes:
    data = webp_animation(40, 30, [(4, 6, photo(20, 30))])
    return data.replace(webp_canvas(40, 30, 0x12), webp_canvas(40, 30, 0x02))


def _gif_without_palette() -> bytes:
    data = gif((5, 4), (0, 0, 5, 4), _INDICES)
    return data[:10] + b"\0" + data[11:].replace(GIF_PALETTE, b"", 1)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_looks_as_in_pillow(name: str) -> None:
    data = VARIANTS[name]()
    picture = ours(data)
    assert not isinstance(picture, str), picture
    expected, image_format = by_pillow(data)
    assert_alike(picture, expected, LOSSY if image_format in LOSSY_FORMATS else LOSSLESS)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_a_grey_profile_takes_no_colours_away(image_format: str) -> None:
    plain, profiled = (
        ours(pillow(photo(), image_format, **options)) for options in ({}, {"icc_profile": grey_profile(1.2)})
    )
    assert not isinstance(plain, str)
    assert not isinstance(profiled, str)
    assert np.array_equal(plain, profiled)


def test_a_profile_of_screens_says_nothing_of_inks() -> None:
    plain, profiled = ours(_cmyk()), ours(_cmyk(icc_profile=WIDE))
    assert not isinstance(plain, str)
    assert not isinstance(profiled, str)
    assert np.abs(plain.astype(int) - profiled).max() <= 2


@pytest.mark.parametrize("image_format", ["HEIF", "JXL", "AVIF", "TIFF", "WEBP", "JPEG", "PNG"])
def test_no_picture_is_refused_for_damaged_exif(image_format: str) -> None:
    block = exif(6)
    data = pillow(photo(), image_format, exif=block)
    for at in range(8):
        broken = bytearray(block)
        broken[at] ^= 0x55
        assert not isinstance(ours(data.replace(block, broken)), str)


def test_grey_that_is_multiplied_by_its_alpha_lies_on_white() -> None:
    generator = np.random.default_rng(4)
    alpha = generator.integers(1, 256, (12, 20), np.uint8)
    grey = (generator.integers(0, 256, alpha.shape) * (alpha / 255)).round().astype(np.uint8)
    picture = ours(tiff(20, 12, [np.dstack([grey, alpha]).tobytes()], samples=2, photometric=1, tags=[(338, 3, [1])]))
    assert not isinstance(picture, str), picture
    expected = grey.astype(int) + 255 - alpha
    assert np.abs(picture - expected[..., None]).max() <= 1 + 255 / alpha.min()
    assert np.abs(picture - expected[..., None]).mean() < 1


@pytest.mark.parametrize(
    "tags",
    [
        {"samples": 4, "tags": [(338, 3, [1]), (284, 3, [2])]},
        {"photometric": 6, "tags": [(284, 3, [2])]},
        {"samples": 1, "photometric": 3, "bits": 4, "tags": [(266, 3, [2]), (320, 3, [0] * 48)]},
    ],
)
def test_a_tiff_that_no_library_arranges_is_unsupported_and_not_damaged(tags: dict[str, object]) -> None:
    samples = tags.get("samples", 3)
    planes = samples if (284, 3, [2]) in tags["tags"] else 1  # type: ignore[operator]
    parts = [bytes(16 * 8 * (samples // planes))] * planes  # type: ignore[operator]
    assert ours(tiff(16, 8, parts, **tags)) == "unsupported_format"  # type: ignore[arg-type]


def test_a_bmp_of_sixteen_bits_without_masks_has_no_colours() -> None:
    assert ours(_bmp_without_masks(16)) == "undecodable_image"


def test_floats_in_a_jpeg_xl_are_no_plain_colours() -> None:
    buffer = io.BytesIO()
    Image.fromarray(photo()[..., 0].astype(np.float32) / 255).save(buffer, "JXL", lossless=True)
    assert ours(buffer.getvalue()) == "unsupported_format"


@pytest.mark.parametrize("options", [{"restart_marker_blocks": 1}, {"restart_marker_rows": 1}, {"progressive": True}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_that_is_cut_off_between_its_parts_is_damaged(mode: str, options: dict[str, object]) -> None:
    data = pillow(Image.fromarray(photo()).convert(mode), "JPEG", quality=90, **options)
    restarts = [at for at in range(len(data) - 1) if data[at] == 0xFF and 0xD0 <= data[at + 1] <= 0xD7]
    scans = [at for at in range(700, len(data) - 1) if data[at : at + 2] in (b"\xff\xda", b"\xff\xc4")]
    ends = restarts or [at for at in scans if jpeg.lacks_passes(data[:at])]
    assert ends
    for end in ends[:: max(1, len(ends) // 20)]:
        for cut in (data[:end], data[: end + 1]):
            assert ours(cut) == "undecodable_image"


@pytest.mark.parametrize("frame", [0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF])
def test_a_jpeg_of_a_kind_that_no_decoder_knows_is_unsupported_and_not_damaged(frame: int) -> None:
    assert ours(_jpeg().replace(b"\xff\xc0\0", bytes([0xFF, frame, 0]), 1)) == "unsupported_format"


def test_a_jpeg_ls_is_unsupported() -> None:
    head = b"\xff\xd8" + jpeg_segment(0xF7, struct.pack(">BHHBBBB", 8, 4, 4, 1, 1, 0x11, 0))
    assert ours(head + jpeg_segment(0xDA, bytes([1, 1, 0, 0, 0, 0])) + bytes(20)) == "unsupported_format"


def test_a_big_endian_bigtiff_is_unsupported() -> None:
    data = tiff(160, 96, [photo().tobytes()], order=">", big=True)
    assert ours(data) == "unsupported_format"
    assert not isinstance(ours(tiff(160, 96, [photo().tobytes()], big=True)), str)


def _lossless_jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """A lossless JPEG (ITU-T T.81, annex H): each sample is given by its difference to the one on its left."""
    height, width, samples = pixels.shape
    bits: list[int] = []
    values = pixels.astype(int)
    before = np.concatenate([np.vstack([np.full((1, samples), 128), values[:-1, 0]])[:, None], values[:, :-1]], axis=1)
    for difference in (values - before).ravel().tolist():
        size = abs(difference).bit_length()
        code = size << size | (difference if difference > 0 else difference + (1 << size) - 1)
        bits += [code >> place & 1 for place in range(3 + size, -1, -1)]
    packed = np.packbits(np.array(bits + [1] * (-len(bits) % 8), np.uint8)).tobytes().replace(b"\xff", b"\xff\0")
    numbers = range(1, samples + 1)
    return b"".join(
        [
            b"\xff\xd8",
            jpeg_segment(0xEE, b"Adobe\0\x64\0\0\0\0\0"),
            jpeg_segment(
                0xC3, struct.pack(">BHHB", 8, height, width, samples) + b"".join(bytes([n, 0x11, 0]) for n in numbers)
            ),
            jpeg_segment(0xC4, bytes([0, 0, 0, 0, 9, *[0] * 12, *range(9)])),
            jpeg_segment(0xDA, bytes([samples]) + b"".join(bytes([n, 0]) for n in numbers) + b"\1\0\0"),
            packed,
            b"\xff\xd9",
        ]
    )


@pytest.mark.parametrize("samples", [1, 3])
def test_a_jpeg_without_loss_is_read(samples: int) -> None:
    pixels = photo()[..., :samples]
    data = _lossless_jpeg(pixels)
    picture = ours(data)
    assert not isinstance(picture, str), picture
    assert np.array_equal(picture, np.broadcast_to(pixels, picture.shape))
    small = decode(data, read_header(data), (20, 20))
    assert small.shape == (24, 40, 3)
    assert ours(data[: len(data) // 2]) == "undecodable_image"
