"""JPEG XL (ISO/IEC 18181): size and orientation at the beginning of the codestream, alone or in boxes."""

from __future__ import annotations

from typing import Final

from executors.preprocess.formats import boxes
from executors.preprocess.formats.base import ImageHeader, undecodable, unsupported
from executors.preprocess.formats.bits import BitReader
from executors.preprocess.formats.exif import orientation_of

_CODESTREAM: Final = b"\xff\x0a"
# Height and its ratio to the width (ISO/IEC 18181-1, table F.2), and the number of bits of a number by its selector.
_RATIOS: Final = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_BEGINNING: Final = 64
# Alpha, and perhaps black, depth or spot colours: each takes as much memory as one of the colours.
_MAX_EXTRA_CHANNELS: Final = 4
_SIZE_BITS: Final = (9, 13, 18, 30)


def read(data: bytes) -> ImageHeader:
    """Read the size header, orientation and animation.

    Raises:
        VisualSearchError: `undecodable_image`.
        struct.error: the header is cut off.
    """
    bits = BitReader(_codestream(data)[2:], lowest_first=True)
    width, height = _size(bits)
    orientation, animated, depth = 1, False, 8
    if not bits.read(1):  # not all metadata are default
        if bits.read(1):  # there are extra fields
            orientation = bits.read(3) + 1
            if bits.read(1):
                _size(bits)
            if bits.read(1):
                _preview_size(bits)
            animated = bool(bits.read(1))
            if animated:
                _skip_timing(bits)
        depth = _depth(bits)
        bits.read(1)
        extra_channels = _number(bits, (0, 0), (0, 1), (4, 2), (12, 1))
        if extra_channels > _MAX_EXTRA_CHANNELS:
            raise unsupported("jxl", f"has {extra_channels} channels besides its colours")
    turned_by_decoder = orientation != 1
    if not turned_by_decoder:
        # Pillow's plugin writes pictures that are not turned; if the codestream has an orientation, only that one
        # counts.
        orientation = orientation_of(_exif(data), None)
    return ImageHeader(
        format="jxl",
        width=width,
        height=height,
        orientation=orientation,
        turned_by_decoder=turned_by_decoder,
        bits=depth,
        animated=animated,
    )


def _codestream(data: bytes) -> bytes:
    """The beginning of the codestream, which may be divided into boxes that each begin with their number."""
    if data.startswith(_CODESTREAM):
        return data[:_BEGINNING]
    found = b""
    for kind, start, end in boxes.walk(data, 0, len(data)):
        first = start + 4 if kind == b"jxlp" else start
        if kind in (b"jxlc", b"jxlp"):
            found += data[first : min(end, first + _BEGINNING)]
        if len(found) >= _BEGINNING:
            break
    if not found.startswith(_CODESTREAM):
        raise undecodable("jxl", "has no picture")
    return found


def _exif(data: bytes) -> bytes | None:
    """The EXIF block, which an offset of four bytes should precede, but Pillow's plugin writes none."""
    found = boxes.find(data, (b"Exif",), 0, len(data)) if data.startswith(b"\0") else None
    if found is None:
        return None
    starts_at_once = data.startswith((b"II", b"MM"), found.start)
    return data[found.start if starts_at_once else found.start + 4 : found.end]


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


def _depth(bits: BitReader) -> int:
    """The bits of a sample by a BitDepth: 8, or 16 for more bits and for floating point."""
    if bits.read(1):
        _number(bits, (0, 32), (0, 16), (0, 24), (6, 1))
        bits.read(4)
        return 16
    return 8 if _number(bits, (0, 8), (0, 10), (0, 12), (6, 1)) <= 8 else 16


def _number(bits: BitReader, *choices: tuple[int, int]) -> int:
    """A number (U32) of one of four kinds: a number of bits, and an offset that is added to them."""
    size, added = choices[bits.read(2)]
    return bits.read(size) + added


def _skip_timing(bits: BitReader) -> None:
    """Skip an AnimationHeader."""
    _number(bits, (0, 100), (0, 1000), (10, 1), (30, 1))
    _number(bits, (0, 1), (0, 1001), (8, 1), (10, 1))
    _number(bits, (0, 0), (3, 0), (16, 0), (32, 0))
    bits.read(1)


def _preview_size(bits: BitReader) -> None:
    """Skip a PreviewHeader."""
    in_eights = bits.read(1)
    choices = ((None, 16), (None, 32), (5, 1), (9, 33)) if in_eights else ((6, 1), (8, 65), (10, 321), (12, 1345))

    def length() -> None:
        size, _ = choices[bits.read(2)]
        bits.read(size or 0)

    length()
    if not bits.read(3):
        length()
