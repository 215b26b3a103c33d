"""BMP: the core (OS/2) and info headers, and the layout of the pixels."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from executors.preprocess.formats.base import ImageHeader, undecodable, unsupported

_CORE_HEADER_SIZE: Final = 12
_OS2_HEADER_SIZE: Final = 64
_HEADER_SIZES: Final = range(16, 1024)
_UNCOMPRESSED, _RLE8, _RLE4, _BIT_FIELDS, _JPEG, _PNG, _ALPHA_BIT_FIELDS = 0, 1, 2, 3, 4, 5, 6
_DEPTHS: Final = (1, 2, 4, 8, 16, 24, 32)
_MASKS_AT: Final = 54
_MAX_PALETTE: Final = 4096


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of the pixels in the file.

    Attributes:
        width, height: in pixels.
        downwards: whether the first row is the topmost one.
        bits: of one pixel.
        run_lengths: whether rows are compressed by run lengths.
        masks: bits of red, green, blue and alpha in a pixel of 16 or 32 bits; 0 for a missing sample.
        palette: offset of the first colour, how many there are, and bytes of one.
        pixels: offset of the first row.
    """

    width: int
    height: int
    downwards: bool
    bits: int
    run_lengths: bool
    masks: tuple[int, int, int, int]
    palette: tuple[int, int, int]
    pixels: int

    @property
    def row_bytes(self) -> int:
        """Bytes from one row to the next, whole words of 32 bits."""
        return (self.width * self.bits + 31) // 32 * 4


def read(data: bytes) -> ImageHeader:
    """Read the size.

    Raises:
        VisualSearchError: `undecodable_image`, or `unsupported_format` for a JPEG or PNG wrapped in a BMP and the like.
        struct.error: the header is cut off.
    """
    layout = read_layout(data)
    return ImageHeader(format="bmp", width=layout.width, height=layout.height)


def read_layout(data: bytes) -> Layout:
    """Read everything that decoding needs. For errors see `read`."""
    pixels, header_size = struct.unpack_from("<II", data, 10)
    compression = used = 0
    if header_size == _CORE_HEADER_SIZE:
        width, height, _planes, bits = struct.unpack_from("<HHHH", data, 18)
    elif header_size in _HEADER_SIZES:
        width, height, _planes, bits = struct.unpack_from("<iiHH", data, 18)
        if header_size >= 20:
            (compression,) = struct.unpack_from("<I", data, 30)
        if header_size >= 36:
            (used,) = struct.unpack_from("<I", data, 46)
    else:
        raise undecodable("bmp", f"has a header of {header_size} bytes")
    if compression in (_JPEG, _PNG) or (header_size == _OS2_HEADER_SIZE and compression == _BIT_FIELDS):
        raise unsupported("bmp", f"is compressed by method {compression}")
    if width <= 0 or height == 0 or (bits not in _DEPTHS and bits != 64):
        raise undecodable("bmp", f"declares {width}x{height} pixels of {bits} bits")
    if bits == 64 or compression not in (_UNCOMPRESSED, _RLE8, _RLE4, _BIT_FIELDS, _ALPHA_BIT_FIELDS):
        raise unsupported("bmp", f"holds pixels of {bits} bits, compressed by method {compression}")
    if used > _MAX_PALETTE:
        raise undecodable("bmp", f"declares a palette of {used} colours")
    bit_fields = compression in (_BIT_FIELDS, _ALPHA_BIT_FIELDS)
    masks = _masks(data, header_size, compression) if bit_fields else _DEFAULT_MASKS.get(bits, (0, 0, 0, 0))
    if bit_fields and bits in _DEFAULT_MASKS and not any(masks[:3]):
        if bits != 32:
            raise undecodable("bmp", "declares no colours")
        # As in Pillow: writers that omit all masks mean these.
        masks = _BGRA
    # The masks follow a header of 40 bytes, and are inside a longer one.
    behind = (16 if compression == _ALPHA_BIT_FIELDS else 12) if bit_fields and header_size < 52 else 0
    palette = 14 + header_size + behind
    entry = 3 if header_size == _CORE_HEADER_SIZE else 4
    colours = (used or 1 << bits) if bits <= 8 else 0
    # Some writers omit the offset, or count no palette.
    if pixels == 0 or (colours and pixels == 14 + header_size):
        pixels = palette + colours * entry
    return Layout(
        width=width,
        height=abs(height),
        downwards=height < 0,
        bits=bits,
        run_lengths=compression in (_RLE8, _RLE4),
        masks=masks,
        palette=(palette, colours, entry),
        pixels=pixels,
    )


def _masks(data: bytes, header_size: int, compression: int) -> tuple[int, int, int, int]:
    red, green, blue = struct.unpack_from("<III", data, _MASKS_AT)
    has_alpha = header_size >= 56 or compression == _ALPHA_BIT_FIELDS
    return red, green, blue, struct.unpack_from("<I", data, _MASKS_AT + 12)[0] if has_alpha else 0


_BGRA: Final = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
_DEFAULT_MASKS: Final = {16: (0x7C00, 0x3E0, 0x1F, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}
