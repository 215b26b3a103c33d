"""The orientation in a block of EXIF data (CIPA DC-008, tag 0x0112)."""

from __future__ import annotations

import struct
from typing import Final

_ORIENTATION_TAG: Final = 0x0112
_MAX_ENTRIES: Final = 512
_INTEGER_FORMATS: Final = {1: "B", 3: "H", 4: "I"}


def read_orientation(block: bytes | memoryview) -> int:
    """Find the orientation in a TIFF-structured EXIF block; a leading `Exif\\0\\0` is skipped.

    Returns:
        1 to 8; 1 when the block is damaged or says nothing, because a picture is not refused for its metadata.
    """
    if bytes(block[:6]) == b"Exif\0\0":
        block = block[6:]
    order = {b"II": "<", b"MM": ">"}.get(bytes(block[:2]))
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, start)
        for entry in range(start + 2, start + 2 + 12 * min(count, _MAX_ENTRIES), 12):
            tag, kind, length = struct.unpack_from(f"{order}HHI", block, entry)
            if tag == _ORIENTATION_TAG:
                if kind not in _INTEGER_FORMATS or length != 1:
                    return 1
                (value,) = struct.unpack_from(order + _INTEGER_FORMATS[kind], block, entry + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
