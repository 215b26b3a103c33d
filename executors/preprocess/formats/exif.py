"""The orientation in a block of EXIF data (CIPA DC-008, tag 0x0112), or in an XMP packet (ISO 16684-1)."""

from __future__ import annotations

import binascii
import re
import struct
from typing import Final

_ORIENTATION_TAG: Final = 0x0112
_MAX_ENTRIES: Final = 512
_INTEGER_FORMATS: Final = {1: "B", 3: "H", 4: "I"}
# An attribute or an element.
_XMP_ORIENTATION: Final = re.compile(rb"""tiff:Orientation(?:\s*=\s*["']|>)\s*([0-9])""")


def orientation_of(exif: bytes | None, xmp: bytes | None) -> int:
    """The orientation by EXIF, or, where that says nothing, by XMP.

    Args:
        exif: a TIFF-structured EXIF block, with or without a leading `Exif\\0\\0`.
        xmp: an XMP packet.

    Returns:
        1 to 8; 1 when both are damaged or say nothing, because a picture is not refused for its metadata.
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
        What stands there; None when the block is damaged or says nothing.
    """
    if bytes(block[:6]) == b"Exif\0\0":
        block = block[6:]
    order = {b"II": "<", b"MM": ">"}.get(bytes(block[:2]))
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, start)
        for entry in range(start + 2, start + 2 + 12 * min(count, _MAX_ENTRIES), 12):
            tag, kind, length = struct.unpack_from(f"{order}HHI", block, entry)
            if tag == _ORIENTATION_TAG:
                if kind not in _INTEGER_FORMATS or length != 1:
                    return None
                (value,) = struct.unpack_from(order + _INTEGER_FORMATS[kind], block, entry + 8)
                return int(value)
    except struct.error:
        pass
    return None
