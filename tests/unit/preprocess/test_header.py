"""Headers are read correctly, and no content of a header can do harm."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from executors.errors import VisualSearchError
from executors.preprocess.header import ImageHeader, read_header
from tests.support.pictures.image_files import (
    bmp,
    exif,
    gif,
    jpeg_declaring,
    jpeg_segment,
    jpeg_with,
    photo,
    pillow,
    png,
    png_chunk,
    tiff,
    webp,
    webp_animation,
    webp_canvas,
    webp_chunk,
)
from tests.support.pictures.image_samples import FORMATS, SAMPLES, sample

REFUSALS = {"unsupported_format", "undecodable_image"}


def outcome(data: bytes) -> ImageHeader | str:
    """The header, or the code of the error; any other exception passes."""
    try:
        return read_header(data)
    except VisualSearchError as error:
        return error.code


def refusal(data: bytes) -> str:
    with pytest.raises(VisualSearchError) as caught:
        read_header(data)
    return caught.value.code


@pytest.mark.parametrize("name", SAMPLES)
def test_format_and_size_are_those_that_pillow_finds(name: str) -> None:
    data = sample(name)
    image = Image.open(io.BytesIO(data))
    header = read_header(data)
    assert (header.format, header.width, header.height) == (str(image.format).lower(), *image.size)
    assert header.animated == (getattr(image, "n_frames", 1) > 1)
    assert header.orientation == 1


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_found(image_format: str, orientation: int) -> None:
    tags = Image.Exif()
    tags[0x0112] = orientation
    header = read_header(pillow(photo(), image_format, exif=tags))
    assert header.orientation == orientation
    assert header.upright_size == ((96, 160) if orientation <= 4 else (160, 96))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [3, 4])
def test_exif_is_read_in_both_byte_orders_and_integer_types(order: str, kind: int) -> None:
    block = exif(6, order, kind)
    assert read_header(jpeg_with(sample("jpeg"), jpeg_segment(0xE1, b"Exif\0\0" + block))).orientation == 6
    assert read_header(png(1, 1, 8, 0, b"\0\0", png_chunk(b"eXIf", block))).orientation == 6
    pixels = pillow(photo(), "WEBP")[12:]
    assert read_header(webp(webp_canvas(160, 96, 8), pixels, webp_chunk(b"EXIF", block))).orientation == 6
    assert read_header(webp(webp_canvas(160, 96, 8), pixels, webp_chunk(b"EXIF", b"Exif\0\0" + block))).orientation == 6
    assert read_header(tiff(160, 96, [photo().tobytes()], order=order, tags=[(274, kind, [6])])).orientation == 6


@pytest.mark.parametrize(
    "block",
    [
        exif(9),
        exif(0),
        exif(6)[:19],
        b"MM\0*\xff\xff\xff\xff",
        b"garbage",
        b"",
        struct.pack(">2sHIHHHII", b"MM", 42, 8, 1, 0x0112, 2, 1, 0),
    ],
)
def test_damaged_exif_means_upright(block: bytes) -> None:
    assert read_header(jpeg_with(sample("jpeg"), jpeg_segment(0xE1, b"Exif\0\0" + block))).orientation == 1


def test_the_first_exif_block_of_a_jpeg_and_the_last_one_of_a_png_count() -> None:
    blocks = [jpeg_segment(0xE1, b"Exif\0\0" + exif(orientation)) for orientation in (6, 3)]
    assert read_header(jpeg_with(sample("jpeg"), *blocks)).orientation == 6
    assert read_header(png(1, 1, 8, 0, b"\0\0", *(png_chunk(b"eXIf", exif(o)) for o in (6, 3)))).orientation == 3


def test_what_decoding_needs_to_know_is_in_the_header() -> None:
    assert read_header(sample("jpeg progressive")).progressive
    assert not read_header(sample("jpeg baseline")).progressive
    assert read_header(sample("png rgba")).alpha
    assert not read_header(sample("png rgb")).alpha
    assert read_header(sample("png palette transparent")).alpha
    assert read_header(sample("png grey transparent")).transparent_grey == 64
    assert read_header(png(2, 1, 16, 2, bytes(13))).bits == 16
    assert read_header(sample("jxl")).bits == 8
    assert read_header(pillow(photo()[..., 0].astype(np.uint16) * 257, "JXL", lossless=True)).bits == 16
    assert read_header(sample("webp rgba")).alpha
    assert not read_header(sample("webp lossless")).alpha
    assert read_header(sample("gif transparent")).alpha


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"\0" * 100,
        b"<!DOCTYPE html><html><body>404</body></html>",
        b"%PDF-1.7\n",
        b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0",
        b"\0\0\0\x1cftypisom\0\0\0\0isomavc1mp41",
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"\x89PNG",
        bytes(random.Random(0).randbytes(5000)),
    ],
)
def test_what_is_no_picture_is_unsupported(data: bytes) -> None:
    assert refusal(data) == "unsupported_format"


@pytest.mark.parametrize("name", SAMPLES)
def test_a_header_cut_anywhere_is_refused_or_read_alike(name: str) -> None:
    data = sample(name)
    whole = read_header(data)
    for end in range(min(len(data), 700)):
        header = outcome(data[:end])
        if isinstance(header, ImageHeader):
            assert (header.format, header.width, header.height) == (whole.format, whole.width, whole.height)
        else:
            assert header in REFUSALS


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xd9",
        jpeg_declaring(sample("jpeg"), 0, 10),
        jpeg_declaring(sample("jpeg"), 10, 0),
        b"\x89PNG\r\n\x1a\n",
        png(0, 1, 8, 0, b"\0"),
        png(1, 0, 8, 0, b"\0"),
        png(1, 1, 3, 0, b"\0\0"),
        png(1, 1, 8, 5, b"\0\0"),
        b"RIFF\x04\0\0\0WEBP",
        webp(webp_chunk(b"VP8 ", bytes(20))),
        webp(webp_chunk(b"VP8L", bytes(20))),
        webp(webp_chunk(b"JUNK", bytes(20))),
        b"BM",
        bmp(0, 5, 24, b""),
        bmp(-5, 5, 24, b""),
        bmp(5, 0, 24, b""),
        bmp(5, 5, 7, b""),
        b"II*\0",
        b"MM\0*\0\0\0\x08",
        b"II*\0\xff\xff\xff\xff" + bytes(40),
        b"II+\0\x08\0\0\0" + b"\xff" * 40,
        tiff(0, 4, [b""]),
        tiff(4, 0, [b""]),
        tiff(4, 4, [b""], samples=200),
        b"\0\0\0\x0cjP  \r\n\x87\n",
        b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf",
        b"GIF89a",
        b"GIF89a" + bytes(7) + b"\x3b",
        gif((4, 4), (0, 0, 0, 4), np.zeros((0, 0), np.uint8)),
    ],
)
def test_a_header_without_a_picture_is_undecodable(data: bytes) -> None:
    assert refusal(data) == "undecodable_image"


@pytest.mark.parametrize(
    "data",
    [
        tiff(4, 4, [bytes(64)], bits=32, samples=1, photometric=1, tags=[(339, 3, [3])]),
        tiff(4, 4, [bytes(64)], bits=32, samples=1, photometric=1),
        tiff(4, 4, [bytes(16)], samples=1, photometric=1, tags=[(339, 3, [2])]),
        tiff(4, 4, [bytes(96)], photometric=32803),
        bmp(4, 4, 24, bytes(48), compression=4),
    ],
)
def test_a_file_that_holds_no_plain_colours_is_unsupported(data: bytes) -> None:
    assert refusal(data) == "unsupported_format"


def test_a_jpeg_is_walked_as_libjpeg_walks_it() -> None:
    data = sample("jpeg")
    frame = jpeg_segment(0xC0, struct.pack(">BHHB", 8, 7, 7, 1) + b"\1\x11\0")
    assert refusal(jpeg_with(data, frame)) == "undecodable_image"
    hidden = jpeg_with(data, jpeg_segment(0xE1, b"XMP" + frame), b"\xff\xff\xff", jpeg_segment(0xFE, frame), b"garbage")
    assert read_header(hidden).width == 160
    assert refusal(b"\xff\xd8\xff\xd8" + data[2:]) == "undecodable_image"


def test_the_largest_buffer_counts() -> None:
    tiled = read_header(tiff(4, 4, [b""], tile=(4096, 8192)))
    assert (tiled.buffer_width, tiled.buffer_height) == (4096, 8192)
    animation = read_header(webp_animation(16, 16, [(0, 0, photo(64, 32))]))
    assert (animation.buffer_width, animation.buffer_height) == (32, 64)
    beyond = read_header(gif((4, 4), (2, 3, 8, 6), np.zeros((6, 8), np.uint8)))
    assert (beyond.width, beyond.height) == (10, 9)


def test_10000_mutated_headers_yield_a_header_or_a_coded_error() -> None:
    generator = random.Random(20240607)
    originals = [sample(name)[:4096] for name in SAMPLES]
    read = 0
    tracemalloc.start()
    for _ in range(10_000):
        data = bytearray(generator.choice(originals))
        for _ in range(generator.choice((1, 1, 2, 4, 16))):
            place = generator.randrange(min(len(data), generator.choice((32, 128, 4096))))
            data[place] = generator.choice((0, 1, 0x7F, 0x80, 0xFF, generator.randrange(256)))
        if generator.random() < 0.2:
            del data[generator.randrange(len(data)) :]
        header = outcome(bytes(data))
        if isinstance(header, ImageHeader):
            assert header.width > 0
            assert header.height > 0
            assert 1 <= header.orientation <= 8
            read += 1
        else:
            assert header in REFUSALS
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000
    assert 1000 < read < 9000, "the mutations are either too harmless or too harsh to try anything"


@pytest.mark.timeout(60)  # 10,000 headers, where one that loops for ever has to show
@pytest.mark.parametrize(
    ("start", "pattern"),
    [
        (b"\xff\xd8\xff", b"\xff"),
        (b"\xff\xd8\xff", b"\0\xff"),
        (b"\xff\xd8", b"\xff\xe0\0\2"),
        (sample("png")[:33], b"\0\0\0\0IDATabcd"),
        (sample("png")[:33], png_chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff\xff" + bytes(64))),
        (sample("gif")[:13], b"\x21\xfe\1a\0"),
        (sample("gif")[:13] + b"\x21\xfe", b"\1a"),
        (gif((4, 4), (0, 0, 4, 4), np.zeros((4, 4), np.uint8))[:36], b"\1a"),
        (webp(webp_canvas(8, 8, 10)), b"ANMF\0\0\0\0"),
        (webp(webp_canvas(8, 8, 10)), b"abcd\0\0\0\0"),
        (b"II*\0\x08\0\0\0\xff\xff", struct.pack("<HHII", 258, 3, 0xFFFFFFFF, 8)),
        (b"II+\0\x08\0\0\0\x10" + bytes(15), struct.pack("<HHQQ", 258, 3, 2**63, 8)),
    ],
)
def test_20_million_bytes_of_header_end_soon(start: bytes, pattern: bytes) -> None:
    data = start + pattern * (20_000_000 // len(pattern))
    for _ in range(3):
        header = outcome(data)
        assert isinstance(header, ImageHeader) or header in REFUSALS


def test_every_format_is_tried() -> None:
    assert set(FORMATS) == {read_header(data()).format for data in SAMPLES.values()}
