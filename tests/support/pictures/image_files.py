"""Picture files of every format and colour model, made by Pillow where it can, byte by byte where it can't."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401 # registers JPEG XL with Pillow
import skimage.data
from numpy.typing import NDArray
from PIL import Image, ImageOps

pillow_heif.register_heif_opener()

Tag = tuple[int, int, Sequence[int]]


def photo(height: int = 96, width: int = 160) -> NDArray[np.uint8]:
    """A part of a photograph with no symmetry, H x W x 3 uint8 RGB."""
    return np.ascontiguousarray(skimage.data.astronaut()[20 : 20 + height, 120 : 120 + width])


def transparent_photo(height: int = 48, width: int = 80) -> NDArray[np.uint8]:
    """A photograph that fades out to the right, H x W x 4 uint8 RGBA; what is invisible still has colours."""
    fade = np.tile(np.linspace(255, 0, width).astype(np.uint8), (height, 1))
    return np.dstack([photo(height, width), fade])


def pillow(image: Image.Image | NDArray[Any], image_format: str, **options: Any) -> bytes:
    """The picture as Pillow writes it."""
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def by_pillow(data: bytes) -> NDArray[np.uint8]:
    """The first frame as Pillow decodes it: upright, on white, H x W x 3 uint8 RGB."""
    image = Image.open(io.BytesIO(data))
    image.seek(0)
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        white.alpha_composite(layer)
        upright = white
    return np.asarray(upright.convert("RGB"))


def distance(one: NDArray[Any], other: NDArray[Any]) -> int:
    """The largest difference of any sample between two pictures of the same shape."""
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def exif(orientation: int, order: str = ">", kind: int = 3) -> bytes:
    """An EXIF block (TIFF structure, without `Exif\\0\\0`) that says only how the picture is to be turned."""
    mark = b"MM" if order == ">" else b"II"
    value = struct.pack(order + {1: "B", 3: "H", 4: "I"}[kind], orientation).ljust(4, b"\0")
    return mark + struct.pack(f"{order}HIHHHI", 42, 8, 1, 0x0112, kind, 1) + value + b"\0\0\0\0"


# JPEG


def jpeg_segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg_with(data: bytes, *segments: bytes) -> bytes:
    """A JPEG with more segments right behind its first two bytes."""
    return data[:2] + b"".join(segments) + data[2:]


def jpeg_declaring(data: bytes, width: int, height: int) -> bytes:
    """A baseline or progressive JPEG whose frame header lies about the size."""
    position = max(data.find(b"\xff\xc0\x00"), data.find(b"\xff\xc2\x00"))
    return data[: position + 5] + struct.pack(">HH", height, width) + data[position + 9 :]


# PNG


def png_chunk(name: bytes, content: bytes = b"") -> bytes:
    body = name + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def png(width: int, height: int, bits: int, colour: int, rows: bytes | NDArray[Any], *chunks: bytes) -> bytes:
    """A PNG from its raw rows (an array's rows as big-endian samples), with chunks between header and data."""
    if isinstance(rows, np.ndarray):
        rows = b"".join(b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for row in rows)
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    data = png_chunk(b"IDAT", zlib.compress(rows, 9))
    return b"".join([b"\x89PNG\r\n\x1a\n", header, *chunks, data, png_chunk(b"IEND")])


# WebP


def webp_chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) & 1)


def webp(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_canvas(width: int, height: int, flags: int) -> bytes:
    """The VP8X chunk: flags are 0x02 animation, 0x08 EXIF, 0x10 alpha."""
    return webp_chunk(
        b"VP8X", bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    )


def webp_animation(width: int, height: int, frames: Sequence[tuple[int, int, NDArray[np.uint8]]]) -> bytes:
    """An animation of frames at (left, top), even numbers both."""
    chunks = [webp_canvas(width, height, 0x12), webp_chunk(b"ANIM", bytes(6))]
    for left, top, pixels in frames:
        bitstream = pillow(pixels, "WEBP", lossless=True)[12:]
        numbers = (left // 2, top // 2, pixels.shape[1] - 1, pixels.shape[0] - 1, 100)
        chunks.append(webp_chunk(b"ANMF", b"".join(n.to_bytes(3, "little") for n in numbers) + b"\0" + bitstream))
    return webp(*chunks)


# BMP


def bmp(width: int, height: int, bits: int, pixels: bytes, compression: int = 0, palette: bytes = b"") -> bytes:
    """A BMP with the 40-byte header; a negative height means rows from top to bottom."""
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(pixels), 0, 0, len(palette) // 4, 0)
    offset = 14 + 40 + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset) + info + palette + pixels


def bmp_core(width: int, height: int, pixels: bytes) -> bytes:
    """A BMP with the 12-byte header of OS/2, 24 bits."""
    return (
        b"BM"
        + struct.pack("<IHHI", 26 + len(pixels), 0, 0, 26)
        + struct.pack("<IHHHH", 12, width, height, 1, 24)
        + pixels
    )


# GIF

GIF_PALETTE = bytes([10, 20, 30, 200, 100, 50, 0, 255, 0, 250, 5, 90])


def gif(
    screen: tuple[int, int],
    frame: tuple[int, int, int, int],
    pixels: NDArray[np.uint8],
    transparent: int | None = None,
    more: bytes = b"",
) -> bytes:
    """A GIF of one frame (left, top, width, height) of indices into `GIF_PALETTE`, and whatever follows it."""
    header = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x81, 2, 0) + GIF_PALETTE
    control = b"" if transparent is None else b"\x21\xf9\x04" + bytes([1, 0, 0, transparent]) + b"\0"
    return header + control + gif_frame(frame, pixels) + more + b"\x3b"


def gif_frame(frame: tuple[int, int, int, int], pixels: NDArray[np.uint8]) -> bytes:
    """An image descriptor and its data, as long codes that need no dictionary."""
    # A clear code before each pixel keeps the codes 3 bits wide (minimum code size 2: clear is 4, end is 5).
    codes = [code for pixel in pixels.ravel().tolist() for code in (4, pixel)] + [5]
    packed = sum(code << (3 * index) for index, code in enumerate(codes)).to_bytes((3 * len(codes) + 7) // 8, "little")
    blocks = b"".join(bytes([len(part)]) + part for part in (packed[i : i + 255] for i in range(0, len(packed), 255)))
    return b"\x2c" + struct.pack("<HHHHB", *frame, 0) + b"\x02" + blocks + b"\0"


# TIFF

_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}


def tiff(
    width: int,
    height: int,
    parts: Sequence[bytes],
    *,
    bits: int = 8,
    samples: int = 3,
    photometric: int = 2,
    rows: int | None = None,
    tile: tuple[int, int] | None = None,
    order: str = "<",
    big: bool = False,
    tags: Sequence[Tag] = (),
) -> bytes:
    """A TIFF from its strips (of `rows` rows) or tiles (width, height); `tags` (number, type, values) add or replace."""
    place = 325 if tile else 279
    directory: dict[int, tuple[int, Sequence[int]]] = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [bits] * samples),
        259: (3, [1]),
        262: (3, [photometric]),
        277: (3, [samples]),
        place: (4, [len(part) for part in parts]),
    }
    if tile:
        directory |= {322: (4, [tile[0]]), 323: (4, [tile[1]])}
    else:
        directory |= {278: (4, [rows or height])}
    directory |= {number: (kind, values) for number, kind, values in tags}
    inline, entry_size, head = (8, 20, 16) if big else (4, 12, 8)
    count = len(directory) + 1
    start = head + (8 if big else 2) + entry_size * count + (8 if big else 4)
    offsets = [start + sum(map(len, parts[:index])) for index in range(len(parts))]
    directory[324 if tile else 273] = (4, offsets)
    body = bytearray(b"".join(parts))
    entries = bytearray()
    for number in sorted(directory):
        kind, values = directory[number]
        content = struct.pack(f"{order}{len(values)}{_TYPES[kind]}", *values)
        entries += struct.pack(order + ("HHQ" if big else "HHI"), number, kind, len(values))
        if len(content) <= inline:
            entries += content.ljust(inline, b"\0")
        else:
            entries += struct.pack(order + ("Q" if big else "I"), start + len(body))
            body += content
    mark = b"II" if order == "<" else b"MM"
    first = struct.pack(f"{order}HHHQQ", 43, 8, 0, 16, count) if big else struct.pack(f"{order}HIH", 42, 8, count)
    return bytes(mark + first + entries + bytes(8 if big else 4) + body)
