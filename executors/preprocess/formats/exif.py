"""The orientation in a block of EXIF data (CIPA DC-008, tag 0x0112), or in an XMP packet (ISO 16684-1)."""

from __future__ import annotations

import binascii
import re
import struct
from typing import Final

_ORIENTATION_TAG: Final = 0x0112
# 42 in either byte order, whatever the rest uses: some cameras mix them up, and Pillow accepts that.
_VERSIONS: Final = (b"*\0", b"\0*")
_MAX_ENTRIES: Final = 512
# SHORT and LONG, as the standard has it, and all other types of numbers except BYTE, which Pillow ignores, as it does
# texts.
_NUMBER_FORMATS: Final = {3: "H", 4: "I", 5: "II", 6: "b", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I", 16: "Q"}
# An attribute or an element.
_XMP_ORIENTATION: Final = re.compile(rb"""tiff:Orientation(?:\s*=\s*["']|>)\s*([0-9])""")


def orientation_of(exif: bytes | None, xmp: bytes | None) -> int:
    """The orientation by EXIF, or, if EXIF does not give one, by XMP.

    Args:
        exif: a TIFF-structured EXIF block, with or without a leading `Exif\\0\\0`.
        xmp: an XMP packet.

    Returns:
        1 to 8; 1 if both are damaged or give none, because a picture is not refused for its metadata.
    """
    value = read_orientation(exif) if exif else None
    if value is None and xmp and (found := _XMP_ORIENTATION.search(xmp)):
        value = int(found.group(1))
    return value if value is not None and 1 <= value <= 8 else 1


def raw_profile(text: bytes) -> bytes:
    """The block in a PNG's text `Raw profile type exif`: a name, a length, and hexadecimal digits, on lines of their own."""
    lines = text.split(maxsplit=2)
    try:
        return binascii.unhexlify(b"".join(lines[2].split())) if len(lines) == 3 else b""
    except ValueError:
        return b""


def read_orientation(block: bytes | memoryview) -> int | None:
    """Find the orientation in a TIFF-structured EXIF block; a leading `Exif\\0\\0` is skipped.

    Returns:
        1 to 8; 0 for a tag that holds anything else, which counts as upright; None if the block is damaged or has no
        such tag.
    """
    if bytes(block[:6]) == b"Exif\0\0":
        block = block[6:]
    order = {b"II": "<", b"MM": ">"}.get(bytes(block[:2]))
    if order is None or bytes(block[2:4]) not in _VERSIONS:
        return None
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, start)
        for entry in range(start + 2, start + 2 + 12 * min(count, _MAX_ENTRIES), 12):
            tag, kind, length = struct.unpack_from(f"{order}HHI", block, entry)
            if tag == _ORIENTATION_TAG:
                return _first_number(block, order, kind, length, entry + 8)
    except struct.error:
        pass
    return None


def _first_number(block: bytes | memoryview, order: str, kind: int, count: int, position: int) -> int | None:
    """The first value of a tag, if it is one of 1 to 8, else 0; None if it has no values at all.

    Args:
        position: the position of the values or, if they have more than four bytes, of their offset.
    """
    if not count:
        return None
    code = _NUMBER_FORMATS.get(kind)
    if code is None:
        return 0
    if count * struct.calcsize(order + code) > 4:
        (position,) = struct.unpack_from(f"{order}I", block, position)
    number, *divisor = struct.unpack_from(order + code, block, position)
    if divisor:
        number = number / divisor[0] if divisor[0] else 0
    return int(number) if number in range(1, 9) else 0
