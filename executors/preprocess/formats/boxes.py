"""Boxes of the ISO base media file format (ISO/IEC 14496-12), used by HEIF, AVIF, JPEG 2000 and JPEG XL."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

# Real files have some dozens on each level; grids of tiles have thousands of properties at most.
MAX_BOXES = 16_384


class Box(NamedTuple):
    """A box: its type, and the range of its content, which ends with its parent at the latest."""

    kind: bytes
    start: int
    end: int


def walk(data: bytes, start: int, end: int) -> Iterator[Box]:
    """Yield the boxes one after another between two offsets; a box that is cut off ends the walk."""
    for _ in range(MAX_BOXES):
        if start + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1 and start + 16 <= end:
            (size,) = struct.unpack_from(">Q", data, start + 8)
            head = 16
        elif size == 0:
            size = end - start
        if size < head:
            return
        yield Box(kind, start + head, min(start + size, end))
        start += size


def find(data: bytes, path: tuple[bytes, ...], start: int, end: int) -> Box | None:
    """The first box at a path of types, all of whose parents are plain boxes; None if there is none."""
    found: Box | None = None
    for kind in path:
        found = next((box for box in walk(data, start, end) if box.kind == kind), None)
        if found is None:
            return None
        start, end = found.start, found.end
    return found
