"""PNG (ISO/IEC 15948): its header, and a copy with nothing but what its pixels need."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

from executors.preprocess.formats.base import ImageHeader, undecodable
from executors.preprocess.formats.exif import read_orientation

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"

_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_BIT_DEPTHS: Final = {
    _GREY: (1, 2, 4, 8, 16),
    _RGB: (8, 16),
    _PALETTE: (1, 2, 4, 8),
    _GREY_ALPHA: (8, 16),
    _RGB_ALPHA: (8, 16),
}
_NEEDED_CHUNKS: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_END: Final = b"\0\0\0\0IEND\xaeB`\x82"
_MAX_CHUNKS: Final = 65_536


def read(data: bytes) -> ImageHeader:
    """Read IHDR, and the chunks that say something about transparency, orientation and animation.

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
    orientation: int | None = None
    animated = False
    for kind, start, end in _chunks(data):
        if kind == b"tRNS":
            if colour == _GREY and end - start == 2:
                transparent_grey = int.from_bytes(data[start:end], "big") & ((1 << bits) - 1)
            elif colour in (_RGB, _PALETTE):
                has_alpha = True
        elif kind == b"eXIf" and orientation is None:
            orientation = read_orientation(data[start:end])
        elif kind == b"acTL":
            animated = True
    return ImageHeader(
        format="png",
        width=width,
        height=height,
        orientation=orientation or 1,
        bits=bits,
        alpha="straight" if has_alpha else "none",
        transparent_grey=transparent_grey,
        animated=animated,
    )


def keep_pixels_only(data: bytes) -> bytes:
    """Copy the chunks that the pixels need, each checked against its checksum.

    What goes away: colour profiles and texts (libpng prints a line on stderr for each that it dislikes), later frames of
    an animation, and whatever follows the picture. A missing end marker is added; if pixels are missing, too, libpng sees it.

    Raises:
        VisualSearchError: `undecodable_image` for a chunk that is cut off or does not match its checksum.
    """
    kept: list[bytes | memoryview] = [SIGNATURE]
    view = memoryview(data)
    position = len(SIGNATURE)
    for kind, start, end in _chunks(data):
        position = end + 4
        if kind in _NEEDED_CHUNKS:
            if end + 4 > len(data):
                raise undecodable("png", "is cut off")
            if zlib.crc32(view[start - 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
                raise undecodable("png", "does not match its checksums")
            kept.append(view[start - 8 : end + 4])
            if kind == b"IEND":
                return b"".join(kept)
    if position < len(data):
        raise undecodable("png", "is cut off")
    return b"".join([*kept, _END])


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
