"""A picture whose structure would cost far more time or memory than its pixels is refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from executors.errors import VisualSearchError
from executors.models.spec import ModelSpec
from executors.preprocess.decode import decode
from executors.preprocess.formats import boxes, jpeg
from executors.preprocess.header import ImageLimits, read_header
from executors.preprocess.pipeline import ImagePipeline
from tests.support.pictures.image_files import (
    jpeg_declaring,
    photo,
    pillow,
    png,
    tiff,
)

LIMITS = ImageLimits(max_bytes=20_000_000, max_pixels=50_000_000, max_side=16_384)


def test_a_jpeg_of_a_thousand_passes_is_refused() -> None:
    data = pillow(np.zeros((3_000, 3_000), np.uint8), "JPEG", progressive=True)
    last_scan = data[data.rfind(b"\xff\xda") : -2]
    spec = ModelSpec("m", "m", 1, 224, 224, "centre_crop")
    pipeline = ImagePipeline(spec, LIMITS, thumbnails=False)
    assert pipeline.prepare(data).tensor.shape == (224, 224, 3)
    few = data[:-2] + last_scan * (jpeg.MAX_SCANS - data.count(b"\xff\xda")) + data[-2:]
    assert pipeline.prepare(few).tensor.shape == (224, 224, 3)
    with pytest.raises(VisualSearchError, match="undecodable_image") as caught:
        pipeline.prepare(data[:-2] + last_scan * 1_000 + data[-2:])
    assert caught.value.details["limit"] == jpeg.MAX_SCANS


def _webp_tiff(parts: list[bytes], **layout: Any) -> bytes:
    return tiff(160, 96, parts, tags=[(259, 3, [50_001])], **layout)


def test_webp_in_a_tiff_is_put_together_from_its_strips_and_tiles() -> None:
    pixels = photo()
    strips = [pillow(pixels[top : top + 40], "WEBP", lossless=True) for top in (0, 40, 80)]
    padded = np.pad(pixels, ((0, 32), (0, 32), (0, 0)))
    tiles = [
        pillow(padded[top : top + 64, left : left + 64], "WEBP", lossless=True)
        for top in (0, 64)
        for left in (0, 64, 128)
    ]
    for data in (_webp_tiff(strips, rows=40), _webp_tiff(tiles, tile=(64, 64))):
        assert np.array_equal(decode(data, read_header(data)), pixels)


def _sharing(part: bytes, count: int) -> bytes:
    """A TIFF whose tiles of 32x32 pixels all lie in the same place of the file."""
    sizes = (325, 4, [len(part)] * count)
    data = tiff(160, 96, [part, *[b""] * (count - 1)], tile=(32, 32), tags=[(259, 3, [50_001]), sizes])
    start = data.index(part)
    apart = struct.pack(f"<{count}I", start, *[start + len(part)] * (count - 1))
    assert data.count(apart) == 1
    return data.replace(apart, struct.pack(f"<{count}I", *[start] * count))


@pytest.mark.parametrize(
    "make",
    [
        # Each strip as large as the picture, and the last strip as large as the others.
        lambda whole: _webp_tiff([pillow(photo(), "WEBP")] * 96, rows=1),
        lambda whole: _webp_tiff([pillow(photo()[:64], "WEBP")] * 2, rows=64),
        lambda whole: _webp_tiff([whole] * 15, tile=(32, 32)),
        # One tile of the right size that stands for all of them.
        lambda whole: _sharing(pillow(photo()[:32, :32], "WEBP"), 15),
    ],
    ids=["strips", "last strip", "tiles", "shared"],
)
def test_a_webp_in_a_tiff_is_no_larger_than_its_place(make: Callable[[bytes], bytes]) -> None:
    data = make(pillow(photo(), "WEBP"))
    with pytest.raises(VisualSearchError, match="undecodable_image"):
        decode(data, read_header(data))


def _jpeg2000(precinct: int, layers: int = 1) -> bytes:
    """A flat picture of 16 megapixels that declares precincts of a side of 2 to some power."""
    data = bytearray(pillow(np.zeros((4000, 4000, 3), np.uint8), "JPEG2000", no_jp2=True, precinct_size=(256, 256)))
    coding = data.index(b"\xff\x52")
    data[coding + 6 : coding + 8] = struct.pack(">H", layers)
    data[coding + 14 : coding + 15 + data[coding + 9]] = bytes([precinct * 17]) * (data[coding + 9] + 1)
    return bytes(data)


@pytest.mark.parametrize(("precinct", "layers"), [(1, 1), (3, 1), (7, 65_535)])
def test_a_jpeg2000_in_millions_of_parts_is_refused_before_it_is_decoded(precinct: int, layers: int) -> None:
    with pytest.raises(VisualSearchError) as caught:
        read_header(_jpeg2000(precinct, layers))
    assert caught.value.code == "unsupported_format"


def test_a_jpeg2000_of_many_tiles_and_small_blocks_is_read() -> None:
    pixels = np.zeros((600, 800, 3), np.uint8)
    for options in ({"tile_size": (16, 16)}, {"codeblock_size": (4, 8)}, {"precinct_size": (32, 32)}):
        header = read_header(pillow(pixels, "JPEG2000", no_jp2=True, **options))
        assert header.structure_bytes > 0


def test_a_part_of_a_jpeg2000_that_a_tile_declares_counts() -> None:
    """A cheap coding in the main header, an expensive one in that of the first tile."""
    small, expensive = _jpeg2000(8), _jpeg2000(1)
    coding = expensive.index(b"\xff\x52")
    segment = expensive[coding : coding + 2 + int.from_bytes(expensive[coding + 2 : coding + 4], "big")]
    tile = small.index(b"\xff\x90")
    data = bytearray(small[: tile + 12] + segment + small[tile + 12 :])
    data[tile + 6 : tile + 10] = bytes(4)
    with pytest.raises(VisualSearchError) as caught:
        read_header(bytes(data))
    assert caught.value.code == "unsupported_format"


def test_scans_of_a_jpeg_are_counted_also_where_it_is_not_progressive() -> None:
    data = jpeg_declaring(pillow(np.zeros((16, 16, 3), np.uint8), "JPEG", subsampling=0), 3000, 3000)
    head = data[: data.index(b"\xff\xda")]
    scans = b"".join(b"\xff\xda\0\x08\1" + bytes([1 + number % 3, 0x11, 0, 63, 0, 0]) for number in range(300))
    header = read_header(head + scans + b"\xff\xd9")
    assert header.progressive
    with pytest.raises(VisualSearchError) as caught:
        decode(head + scans + b"\xff\xd9", header)
    assert "passes" in caught.value.message


def _heif_grid(side: int, rows: int, columns: int, shown: int) -> bytes:
    """A HEIC of one tile that its grid names for each place."""
    tile = pillow(np.full((side, side, 3), 9, np.uint8), "HEIF", quality=50)
    meta = boxes.find(tile, (b"meta",), 0, len(tile))
    media = boxes.find(tile, (b"mdat",), 0, len(tile))
    assert meta is not None
    assert media is not None
    container = boxes.find(tile, (b"iprp", b"ipco"), meta.start + 4, meta.end)
    assert container is not None
    own = {box.kind: tile[box.start - 8 : box.end] for box in boxes.walk(tile, container.start, container.end)}
    coded, grid = tile[media.start : media.end], bytes([0, 1, rows - 1, columns - 1]) + struct.pack(">II", shown, shown)

    def box(kind: bytes, *content: bytes) -> bytes:
        body = b"".join(content)
        return struct.pack(">I", 8 + len(body)) + kind + body

    properties = [own[b"hvcC"], own[b"ispe"], box(b"ispe", bytes(4), struct.pack(">II", shown, shown))]
    count = rows * columns

    def head(offset: int) -> bytes:
        place = struct.pack(">HHHHHHII", 0x4400, 2, 1, 0, 0, 1, offset, len(coded))
        place += struct.pack(">HHHHII", 2, 1, 0, 1, 0, len(grid))
        items = [
            box(b"infe", b"\2\0\0\0", struct.pack(">HH", number, 0), kind + b"\0")
            for number, kind in ((1, b"hvc1"), (2, b"grid"))
        ]
        return box(b"ftyp", b"heic\0\0\0\0mif1heic") + box(
            b"meta",
            bytes(4),
            box(b"hdlr", bytes(8), b"pict", bytes(13)),
            box(b"pitm", bytes(4), struct.pack(">H", 2)),
            box(b"iloc", b"\1\0\0\0", place),
            box(b"iinf", bytes(4), struct.pack(">H", 2), *items),
            box(b"iref", bytes(4), box(b"dimg", struct.pack(">HH", 2, count), struct.pack(">H", 1) * count)),
            box(
                b"iprp",
                box(b"ipco", *properties),
                box(b"ipma", bytes(4), struct.pack(">IHBBBHBB", 2, 1, 2, 0x81, 2, 2, 1, 3)),
            ),
            box(b"idat", grid),
        )

    return head(len(head(0)) + 8) + box(b"mdat", coded)


def test_a_heif_that_names_its_tiles_again_and_again_is_refused_before_it_is_decoded() -> None:
    whole = _heif_grid(256, 2, 3, 512)
    assert decode(whole, read_header(whole)).shape == (512, 512, 3)
    with pytest.raises(VisualSearchError) as caught:
        read_header(_heif_grid(1024, 16, 16, 512))
    assert caught.value.code == "undecodable_image"
    assert "assembled" in caught.value.message


def test_a_png_whose_data_go_on_beyond_its_pixels_is_refused() -> None:
    more = png(40, 30, 8, 2, bytes((1 + 40 * 3) * 30) + bytes(200_000_000))
    with pytest.raises(VisualSearchError) as caught:
        decode(more, read_header(more))
    assert caught.value.code == "undecodable_image"


def test_a_png_of_flat_or_interlaced_pixels_or_with_a_few_bytes_too_many_is_read() -> None:
    flat = pillow(np.zeros((6000, 6000, 3), np.uint8), "PNG", compress_level=1)
    assert len(flat) > 65_536
    assert decode(flat, read_header(flat)).shape == (6000, 6000, 3)
    more = png(40, 30, 8, 2, bytes((1 + 40 * 3) * 31))
    assert decode(more, read_header(more)).shape == (30, 40, 3)
    for colour, samples in ((0, 1), (2, 3), (4, 2), (6, 4)):
        noise = np.random.default_rng(colour).integers(0, 256, (200, 300 * samples), np.uint8)
        stored = png(300, 200, 8, colour, noise)
        assert decode(stored, read_header(stored)).shape == (200, 300, 3)


def _jxl_header(*numbers: tuple[int, int]) -> bytes:
    """A JPEG XL of 64 x 64 pixels with metadata of (value, bits), the lowest bit first, and zeros for the rest."""
    # A small height in eights, a ratio of one, metadata that are not the default.
    value = position = 0
    for number, size in ((1, 1), (7, 5), (1, 3), (0, 1), *numbers):
        value |= number << position
        position += size
    return b"\xff\x0a" + value.to_bytes(80, "little")


def test_a_jpeg_xl_of_many_channels_is_refused() -> None:
    plain = ((0, 1), (0, 1), (0, 2), (1, 1))
    assert read_header(_jxl_header(*plain, (1, 2))).upright_size == (64, 64)
    timing = ((1, 1), (0, 3), (0, 1), (0, 1), (1, 1), (0, 2), (0, 2), (0, 2), (0, 1))
    for before in (plain, (*timing, *plain[1:]), ((0, 1), (1, 1), (1, 2), (4, 4), (1, 1))):
        with pytest.raises(VisualSearchError) as caught:
            read_header(_jxl_header(*before, (3, 2), (255, 12)))
        assert caught.value.code == "unsupported_format"
        assert "256 channels" in caught.value.message
