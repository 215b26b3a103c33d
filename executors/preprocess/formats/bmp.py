"""BMP: the core (OS/2) and info headers."""

from __future__ import annotations

import struct
from typing import Final

from executors.preprocess.formats.base import ImageHeader, undecodable, unsupported

SIGNATURE: Final = b"BM"

_CORE_HEADER_SIZE: Final = 12
_HEADER_SIZES: Final = range(16, 1024)
_UNCOMPRESSED, _RLE8, _RLE4, _BIT_FIELDS, _ALPHA_BIT_FIELDS = 0, 1, 2, 3, 6
_DEPTHS: Final = (1, 2, 4, 8, 16, 24, 32)


def read(data: bytes) -> ImageHeader:
    """Read the size (a negative height means that the rows run downwards) and whether there is an alpha mask.

    Raises:
        VisualSearchError: `undecodable_image`, or `unsupported_format` for a JPEG or PNG wrapped in a BMP.
        struct.error: the header is cut off.
    """
    width, height, bits, compression = _layout(data)
    if width <= 0 or height == 0 or bits not in _DEPTHS:
        raise undecodable("bmp", f"declares {width}x{height} pixels of {bits} bits")
    if compression not in (_UNCOMPRESSED, _RLE8, _RLE4, _BIT_FIELDS, _ALPHA_BIT_FIELDS):
        raise unsupported("bmp", f"is compressed by method {compression}")
    alpha_mask = 0
    (header_size,) = struct.unpack_from("<I", data, 14)
    if bits == 32 and compression in (_BIT_FIELDS, _ALPHA_BIT_FIELDS) and header_size >= 56:
        (alpha_mask,) = struct.unpack_from("<I", data, 66)
    return ImageHeader(format="bmp", width=width, height=abs(height), alpha="straight" if alpha_mask else "none")


def _layout(data: bytes) -> tuple[int, int, int, int]:
    """Width, height, bits of a pixel, and compression."""
    (header_size,) = struct.unpack_from("<I", data, 14)
    if header_size == _CORE_HEADER_SIZE:
        width, height, _planes, bits = struct.unpack_from("<HHHH", data, 18)
        return width, height, bits, _UNCOMPRESSED
    if header_size not in _HEADER_SIZES:
        raise undecodable("bmp", f"has a header of {header_size} bytes")
    width, height, _planes, bits = struct.unpack_from("<iiHH", data, 18)
    compression = struct.unpack_from("<I", data, 30)[0] if header_size >= 20 else _UNCOMPRESSED
    return width, height, bits, compression
