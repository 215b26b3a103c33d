"""JPEG XL (ISO/IEC 18181): size and orientation at the beginning of the codestream, alone or in boxes."""

from __future__ import annotations

from typing import Final

from executors.preprocess.formats import boxes
from executors.preprocess.formats.base import ImageHeader, undecodable
from executors.preprocess.formats.bits import BitReader

_CODESTREAM: Final = b"\xff\x0a"
# Height and its ratio to the width (ISO/IEC 18181-1, table F.2), and the bits of a number by its selector.
_RATIOS: Final = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_SIZE_BITS: Final = (9, 13, 18, 30)


def read(data: bytes) -> ImageHeader:
    """Read the size header and what the metadata say about orientation and animation.

    Raises:
        VisualSearchError: `undecodable_image`.
        struct.error: the header is cut off.
    """
    bits = BitReader(_codestream(data)[2:34], lowest_first=True)
    width, height = _size(bits)
    orientation, animated = 1, False
    if not bits.read(1) and bits.read(1):  # not all metadata are default, and there are extra fields
        orientation = bits.read(3) + 1
        if bits.read(1):
            _size(bits)
        if bits.read(1):
            _preview_size(bits)
        animated = bool(bits.read(1))
    return ImageHeader(
        format="jxl",
        width=width,
        height=height,
        orientation=orientation,
        # Depth and transparency stand further behind; deep ones with transparency are what decoding may need room for.
        bits=16,
        alpha="straight",
        animated=animated,
    )


def _codestream(data: bytes) -> bytes:
    if data.startswith(_CODESTREAM):
        return data
    for kind, start, end in boxes.walk(data, 0, len(data)):
        # Partial codestreams begin with their number.
        first = start + 4 if kind == b"jxlp" else start
        if kind in (b"jxlc", b"jxlp"):
            if not data.startswith(_CODESTREAM, first):
                break
            return data[first : min(end, first + 64)]
    raise undecodable("jxl", "has no picture")


def _size(bits: BitReader) -> tuple[int, int]:
    """Width and height of a SizeHeader."""
    small = bits.read(1)
    height = _length(bits, small)
    ratio = bits.read(3)
    if ratio:
        across, down = _RATIOS[ratio]
        return height * across // down, height
    return _length(bits, small), height


def _length(bits: BitReader, small: int) -> int:
    return 8 * (bits.read(5) + 1) if small else bits.read(_SIZE_BITS[bits.read(2)]) + 1


def _preview_size(bits: BitReader) -> None:
    """Pass over a PreviewHeader."""
    in_eights = bits.read(1)
    choices = ((None, 16), (None, 32), (5, 1), (9, 33)) if in_eights else ((6, 1), (8, 65), (10, 321), (12, 1345))

    def length() -> None:
        size, _ = choices[bits.read(2)]
        bits.read(size or 0)

    length()
    if not bits.read(3):
        length()
