"""TIFF 6.0 and BigTIFF: the tags of the first directory that decide what decoding will need."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from executors.errors import VisualSearchError
from executors.preprocess.formats.base import ImageHeader, undecodable, unsupported
from executors.preprocess.formats.exif import orientation_of

_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLES = 256, 257, 258, 262, 274, 277
_COMPRESSION, _STRIP_OFFSETS, _ROWS_PER_STRIP, _STRIP_BYTES, _PLANAR, _TILE_BYTES = 259, 273, 278, 279, 284, 325
_WEBP: Final = 50001
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _SAMPLE_FORMAT = 322, 323, 324, 339
_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE, _CMYK, _YCBCR, _CIELAB = 0, 1, 2, 3, 5, 6, 8
_BIT_DEPTHS: Final = (1, 2, 4, 8, 16)
# Unsigned, and undefined, which some writers use for extra samples.
_PLAIN_FORMATS: Final = (1, 4)
_MAX_ENTRIES: Final = 4096
_MAX_SAMPLES: Final = 8
# BYTE, SHORT, LONG, UNDEFINED, IFD, LONG8
_INTEGER_FORMATS: Final = {1: "B", 3: "H", 4: "I", 7: "B", 13: "I", 16: "Q"}
_XMP: Final = 700
# The version of a BigTIFF.
_BIG: Final = (b"\x2b\0", b"\0\x2b")
_SUBFILE_TYPE, _SUB_DIRECTORIES, _DNG_VERSION = 254, 330, 50706


@dataclass(frozen=True, slots=True)
class _Entry:
    """One tag of the directory: the struct format of a value, the number of values, and their position in the file."""

    code: str
    count: int
    offset: int


def read(data: bytes) -> ImageHeader:
    """Read the first directory; further ones (pages, previews) are never decoded.

    Raises:
        VisualSearchError: `undecodable_image`, or `unsupported_format` for samples that are not 1 to 16 bit colours.
        struct.error: the header is cut off.
    """
    order, entries = _directory(data)
    if order == ">" and data[2:4] in _BIG:
        raise unsupported("tiff", "is a BigTIFF in big-endian order")
    if holds_raw(data):
        raise unsupported("tiff", "holds a camera's raw data")
    width, height = _value(data, order, entries, _WIDTH, 0), _value(data, order, entries, _HEIGHT, 0)
    samples = _value(data, order, entries, _SAMPLES, 1)
    bits = max(_values(data, order, entries, _BITS), default=1)
    photometric = _value(data, order, entries, _PHOTOMETRIC, _MIN_IS_BLACK)
    if not width or not height or not 1 <= samples <= _MAX_SAMPLES:
        raise undecodable("tiff", f"declares {width}x{height} pixels of {samples} samples")
    if (
        any(kind not in _PLAIN_FORMATS for kind in _values(data, order, entries, _SAMPLE_FORMAT))
        or bits not in _BIT_DEPTHS
    ):
        raise unsupported("tiff", f"holds samples of {bits} bits that are not plain colours")
    if photometric not in (_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE, _CMYK, _YCBCR, _CIELAB):
        raise unsupported("tiff", f"holds pixels of photometric kind {photometric}")
    return ImageHeader(
        format="tiff",
        width=width,
        height=height,
        orientation=_orientation(data, order, entries),
        bits=bits,
        buffer_width=_value(data, order, entries, _TILE_WIDTH, 0),
        buffer_height=_value(data, order, entries, _TILE_HEIGHT, 0),
    )


def _orientation(data: bytes, order: str, entries: dict[int, _Entry]) -> int:
    """The directory's orientation or, if it has none, that of its XMP packet."""
    if _ORIENTATION in entries and data[2:4] in _BIG:
        stated = _value(data, order, entries, _ORIENTATION, 0)
        return stated if 1 <= stated <= 8 else 1
    packet = entries.get(_XMP)
    # A TIFF is itself a block of EXIF data.
    return orientation_of(data, None if packet is None else data[packet.offset : packet.offset + packet.count])


def holds_raw(data: bytes) -> bool:
    """Whether a TIFF contains a camera's raw data: as DNG, or behind a preview (NEF, ARW and others).

    Args:
        data: the file, or its beginning, in which it may not be visible yet.
    """
    try:
        order, entries = _directory(data)
        is_preview = bool(_value(data, order, entries, _SUBFILE_TYPE, 0) & 1)
    except (struct.error, VisualSearchError):
        return False
    return _DNG_VERSION in entries or (is_preview and _SUB_DIRECTORIES in entries)


def check_complete(data: bytes) -> None:
    """Compare the number of strips or tiles with the number that the picture's size requires.

    Raises:
        VisualSearchError: `undecodable_image` if some are missing, for which OpenCV would return uninitialised memory.
    """
    order, entries = _directory(data)
    height = _value(data, order, entries, _HEIGHT, 0)
    if _TILE_WIDTH in entries:
        columns = -(-_value(data, order, entries, _WIDTH, 0) // max(1, _value(data, order, entries, _TILE_WIDTH, 0)))
        needed = columns * -(-height // max(1, _value(data, order, entries, _TILE_HEIGHT, 0)))
        offsets = entries.get(_TILE_OFFSETS)
    else:
        needed = -(-height // max(1, _value(data, order, entries, _ROWS_PER_STRIP, height)))
        offsets = entries.get(_STRIP_OFFSETS)
    if _value(data, order, entries, _PLANAR, 1) == 2:
        needed *= _value(data, order, entries, _SAMPLES, 1)
    found = offsets.count if offsets else 0
    if found < needed:
        raise undecodable("tiff", "lacks parts of its picture", found=found, expected=needed)


@dataclass(frozen=True, slots=True)
class Part:
    """A strip or tile: its range in the file, its upper left corner in the picture, and its size, in pixels."""

    start: int
    end: int
    left: int
    top: int
    width: int
    height: int


def webp_parts(data: bytes) -> list[Part]:
    """The strips or tiles of a TIFF that are WebP pictures each; empty for another compression.

    Raises:
        VisualSearchError: `unsupported_format` for samples in separate planes; `undecodable_image` for parts that
            overlap in the file, since a few bytes could make any number of them.
        struct.error: the directory is damaged.
    """
    order, entries = _directory(data)
    if _value(data, order, entries, _COMPRESSION, 1) != _WEBP:
        return []
    if _value(data, order, entries, _PLANAR, 1) != 1:
        raise unsupported("tiff", "holds WebP in separate planes")
    width, height = _value(data, order, entries, _WIDTH, 0), _value(data, order, entries, _HEIGHT, 0)
    if _TILE_OFFSETS in entries:
        part_width, part_height = (
            _value(data, order, entries, _TILE_WIDTH, 1),
            _value(data, order, entries, _TILE_HEIGHT, 1),
        )
        offsets, sizes = entries.get(_TILE_OFFSETS), entries.get(_TILE_BYTES)
    else:
        part_width, part_height = width, _value(data, order, entries, _ROWS_PER_STRIP, height)
        offsets, sizes = entries.get(_STRIP_OFFSETS), entries.get(_STRIP_BYTES)
    if offsets is None or sizes is None or not part_width or not part_height:
        return []
    columns = -(-width // part_width)
    count = min(offsets.count, sizes.count, columns * -(-height // part_height))
    starts = struct.unpack_from(f"{order}{count}{offsets.code}", data, offsets.offset)
    lengths = struct.unpack_from(f"{order}{count}{sizes.code}", data, sizes.offset)
    if sum(lengths) > len(data):
        raise undecodable("tiff", "holds parts that overlap")
    parts = []
    for index, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        left, top = index % columns * part_width, index // columns * part_height
        # Tiles all have the same size; the last strip ends where the picture does.
        rows = part_height if _TILE_OFFSETS in entries else min(part_height, height - top)
        parts.append(Part(start, start + length, left, top, part_width, rows))
    return parts


def _directory(data: bytes) -> tuple[str, dict[int, _Entry]]:
    """Byte order (of the struct module) and the integer tags of the first directory; the first one of a doubled tag."""
    order = "<" if data[:2] == b"II" else ">"
    (version,) = struct.unpack_from(f"{order}H", data, 2)
    if version == 43:
        (start,) = struct.unpack_from(f"{order}Q", data, 8)
        count_code, entry_code, inline, offset_code = "Q", "HHQ", 8, "Q"
    else:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        count_code, entry_code, inline, offset_code = "H", "HHI", 4, "I"
    # Python's struct takes offsets up to its own word size only.
    if start >= len(data):
        raise undecodable("tiff", "ends before its first directory")
    (count,) = struct.unpack_from(order + count_code, data, start)
    if not 0 < count <= _MAX_ENTRIES:
        raise undecodable("tiff", f"declares a directory of {count} tags")
    position = start + struct.calcsize(order + count_code)
    step = struct.calcsize(order + entry_code)
    entries: dict[int, _Entry] = {}
    for _ in range(count):
        tag, kind, length = struct.unpack_from(order + entry_code, data, position)
        code = _INTEGER_FORMATS.get(kind)
        if code is not None and 0 < length <= len(data):
            offset = position + step
            if length * struct.calcsize(order + code) > inline:
                (offset,) = struct.unpack_from(order + offset_code, data, offset)
            entries.setdefault(tag, _Entry(code, length, min(offset, len(data))))
        position += step + inline
    return order, entries


def _values(data: bytes, order: str, entries: dict[int, _Entry], tag: int) -> tuple[int, ...]:
    """The values of a tag that has one for each sample; empty without it."""
    entry = entries.get(tag)
    if entry is None:
        return ()
    return struct.unpack_from(f"{order}{min(entry.count, _MAX_SAMPLES)}{entry.code}", data, entry.offset)


def _value(data: bytes, order: str, entries: dict[int, _Entry], tag: int, default: int) -> int:
    """The first value of a tag."""
    return next(iter(_values(data, order, entries, tag)), default)
