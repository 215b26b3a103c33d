"""PNG (ISO/IEC 15948): its header, and a copy with only the chunks that its pixels need."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

from executors.preprocess.formats.base import ImageHeader, undecodable
from executors.preprocess.formats.exif import orientation_of, raw_profile

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"

_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_BIT_DEPTHS: Final = {
    _GREY: (1, 2, 4, 8, 16),
    _RGB: (8, 16),
    _PALETTE: (1, 2, 4, 8),
    _GREY_ALPHA: (8, 16),
    _RGB_ALPHA: (8, 16),
}
_SAMPLES: Final = {_GREY: 1, _RGB: 3, _PALETTE: 1, _GREY_ALPHA: 2, _RGB_ALPHA: 4}
# The first column and row of each pass of an interlaced picture, and the steps to the next.
_PASSES: Final = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
# The most bytes that zlib makes of one byte, the number of bytes that takes some 0.3 seconds, and the excess that is
# allowed for any picture.
_MOST_UNPACKED: Final = 1032
_WORK_ALWAYS: Final = 64_000_000
_MORE_ALWAYS: Final = 16_000_000
_PIECE: Final = 65_536
_UNPACKED_PIECE: Final = 262_144
# How many places of the data are sampled, and how much of each.
_SAMPLED: Final = 16
_SAMPLE_BYTES: Final = 1024
_NEEDED_CHUNKS: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_TEXT_CHUNKS: Final = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_END: Final = b"\0\0\0\0IEND\xaeB`\x82"
# A walk over this many chunks takes about a tenth of a second. 20 MB in chunks of 8 KB are 2,500.
_MAX_CHUNKS: Final = 262_144
# The maximum size of a decompressed profile or text: large profiles (of printers) have 2 to 3 MB.
_MAX_PROFILE_BYTES: Final = 4_000_000
_MAX_TEXT_BYTES: Final = 1_000_000
_RAW_EXIF: Final = (b"Raw profile type exif", b"Raw profile type APP1")
_XMP: Final = b"XML:com.adobe.xmp"


def read(data: bytes) -> ImageHeader:
    """Read IHDR, and the chunks about transparency, orientation and animation.

    Raises:
        VisualSearchError: `undecodable_image`.
        struct.error: the header is cut off.
    """
    length, name, width, height, bits, colour = struct.unpack_from(">I4sIIBB", data, len(SIGNATURE))
    if name != b"IHDR" or length != 13:
        raise undecodable("png", "does not begin with its header")
    if not width or not height or bits not in _BIT_DEPTHS.get(colour, ()):
        raise undecodable("png", f"declares {width}x{height} pixels of {bits} bits in colour type {colour}")
    has_alpha = colour in (_GREY_ALPHA, _RGB_ALPHA)
    transparent_grey: int | None = None
    transparent_colour: tuple[int, int, int] | None = None
    # Of several chunks of a kind the last one counts, as in Pillow.
    exif = xmp = packed_profile = raw_exif = None
    texts: set[bytes] = set()
    animated = False
    for kind, start, end in _chunks(data):
        if kind == b"tRNS":
            if colour == _GREY and end - start == 2:
                transparent_grey = int.from_bytes(data[start:end], "big") & ((1 << bits) - 1)
            elif colour == _RGB and end - start == 6:
                red, green, blue = struct.unpack_from(">HHH", data, start)
                transparent_colour = red, green, blue
            elif colour == _PALETTE:
                has_alpha = True
        elif kind == b"eXIf":
            exif = data[start:end]
        elif kind == b"iCCP":
            packed_profile = data[start:end].partition(b"\0")[2][1:]
        elif kind in _TEXT_CHUNKS and (keyword := _wanted_keyword(data, start, texts)) is not None:
            # Only the first of each counts, readable or not: a small file may hold thousands that are large when
            # decompressed.
            texts.add(keyword)
            content = _text(kind, data[start:end])
            if keyword == _XMP:
                xmp = xmp or content
            else:
                raw_exif = raw_exif or raw_profile(content)
        elif kind == b"acTL":
            animated = True
    return ImageHeader(
        format="png",
        width=width,
        height=height,
        orientation=orientation_of(exif or raw_exif, xmp),
        bits=bits,
        alpha=has_alpha,
        grey=colour == _GREY,
        transparent_grey=transparent_grey,
        transparent_colour=transparent_colour,
        animated=animated,
        profile=_unpack(packed_profile, _MAX_PROFILE_BYTES) if packed_profile else None,
    )


def keep_pixels_only(data: bytes) -> bytes:
    """Copy the chunks that the pixels need, each checked against its checksum.

    The copy omits colour profiles and texts (libpng prints a line on stderr for each that it dislikes), later frames of
    an animation, and everything behind the picture. A missing or torn end marker is added; if pixels are missing, too,
    libpng detects it.

    Raises:
        VisualSearchError: `undecodable_image` for a chunk that is cut off or does not match its checksum.
    """
    kept: list[bytes | memoryview] = [SIGNATURE]
    view = memoryview(data)
    position = len(SIGNATURE)
    for kind, start, end in _chunks(data):
        if kind == b"IEND" and end + 4 > len(data):
            break
        position = end + 4
        if kind in _NEEDED_CHUNKS:
            if end + 4 > len(data):
                raise undecodable("png", "is cut off")
            if zlib.crc32(view[start - 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
                raise undecodable("png", "does not match its checksums")
            kept.append(view[start - 8 : end + 4])
            if kind == b"IEND":
                return b"".join(kept)
    if _END.startswith(view[position:]):
        return b"".join([*kept, _END])
    if position + 8 <= len(data):
        raise undecodable("png", f"has more than {_MAX_CHUNKS} chunks", limit=_MAX_CHUNKS)
    raise undecodable("png", "is cut off")


def check_excess(data: bytes) -> None:
    """Refuse a PNG whose data continue far beyond its pixels: libpng decompresses all of them, a gigabyte for each
    megabyte.

    The size is computed only if the compressed data are repetitive themselves, or larger than the pixels need
    uncompressed. Photos are neither, and decompressing them twice would take long.

    Raises:
        VisualSearchError: `undecodable_image`.
    """
    parts = [(start, end) for kind, start, end in _chunks(data) if kind == b"IDAT"]
    packed = sum(end - start for start, end in parts)
    needed = _unpacked_size(data)
    if packed * _MOST_UNPACKED <= _WORK_ALWAYS + 4 * needed:
        return
    if packed <= needed + needed // 8 and not any(_is_repetitive(data, *part) for part in _samples(parts)):
        return
    most = 2 * needed + _MORE_ALWAYS
    unpacker = zlib.decompressobj()
    unpacked = 0
    try:
        for start, end in parts:
            for at in range(start, end, _PIECE):
                piece = data[at : min(end, at + _PIECE)]
                while piece and not unpacker.eof:
                    unpacked += len(unpacker.decompress(piece, _UNPACKED_PIECE))
                    piece = unpacker.unconsumed_tail
                    if unpacked > most:
                        raise undecodable("png", "holds far more data than pixels")
    except zlib.error:
        return  # libpng detects it, too


def _unpacked_size(data: bytes) -> int:
    """Bytes of all rows with their filters."""
    width, height, bits, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, len(SIGNATURE) + 8)
    pixel_bits = bits * _SAMPLES[colour]
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * pixel_bits + 7) // 8)
    return total


def _samples(parts: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Samples of the data from some places, spread evenly over the chunks, and within a large chunk."""
    chosen = parts[:: max(1, len(parts) // _SAMPLED)]
    each = max(1, _SAMPLED // len(chosen))
    return [
        (at, min(end, at + _SAMPLE_BYTES))
        for start, end in chosen
        for at in range(start, end, max(_SAMPLE_BYTES, (end - start) // each))
        if end - at >= _SAMPLE_BYTES
    ]


def _is_repetitive(data: bytes, start: int, end: int) -> bool:
    return len(zlib.compress(data[start:end], 1)) < 0.8 * (end - start)


def _wanted_keyword(data: bytes, start: int, seen: set[bytes]) -> bytes | None:
    """The keyword of a text that may give the orientation; None for all others, and for keywords seen before."""
    keywords = (keyword for keyword in (_XMP, *_RAW_EXIF) if keyword not in seen)
    return next((keyword for keyword in keywords if data.startswith(keyword + b"\0", start)), None)


def _text(kind: bytes, chunk: bytes) -> bytes:
    """The text behind the keyword of a text chunk, decompressed."""
    rest = chunk.partition(b"\0")[2]
    if kind == b"tEXt":
        return rest
    if kind == b"zTXt":
        return _unpack(rest[1:], _MAX_TEXT_BYTES)
    # Two flags, a language and a translated keyword precede an international text.
    text = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    return _unpack(text, _MAX_TEXT_BYTES) if rest[:1] == b"\1" else text


def _unpack(packed: bytes, most: int) -> bytes:
    """Decompress data; empty if they are damaged or larger than `most` bytes."""
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(packed, most)
    except zlib.error:
        return b""
    return unpacked if unpacker.eof else b""


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's name and the range of its content, which may reach beyond the end of a file that is cut off."""
    position = len(SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        if position + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, position)
        start = position + 8
        yield kind, start, start + length
        if kind == b"IEND":
            return
        position = start + length + 4
