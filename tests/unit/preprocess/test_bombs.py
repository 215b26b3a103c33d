"""A small file that asks for a lot of memory or time is refused before any of it is spent."""

from __future__ import annotations

import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from executors.errors import VisualSearchError
from executors.models.spec import ModelSpec
from executors.preprocess.decode import decode
from executors.preprocess.formats import boxes, jpeg
from executors.preprocess.header import ImageLimits, check_limits, read_header
from executors.preprocess.pipeline import ImagePipeline
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
