"""HEIF (ISO/IEC 23008-12) and AVIF: sizes and turns of the primary picture, from the properties that its file declares."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from executors.preprocess.formats import bitstreams, boxes
from executors.preprocess.formats.base import ImageFormat, ImageHeader, undecodable, unsupported
from executors.preprocess.formats.exif import orientation_of

_MAX_ITEMS: Final = 65_536
# Grids may contain grids, up to this depth.
_MAX_DEPTH: Final = 4
# The maximum number of pixels decoded for one picture, as a multiple of its largest part or canvas, and in absolute
# terms.
_MOST_WORK: Final = 4
_WORK_ALWAYS: Final = 16_000_000
_CODINGS: Final[dict[ImageFormat, frozenset[bytes]]] = {
    "avif": frozenset({b"av01"}),
    "heif": frozenset({b"hvc1", b"hev1"}),
}
_TRACK: Final = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
# irot counts quarter turns counterclockwise.
_ROTATIONS: Final = {0: 1, 1: 8, 2: 3, 3: 6}


def read_avif(data: bytes) -> ImageHeader:
    """Read an AVIF. For errors see `_read`."""
    return _read(data, "avif")


def read_heif(data: bytes) -> ImageHeader:
    """Read an HEIC or another HEIF. For errors see `_read`."""
    return _read(data, "heif")


def _read(data: bytes, image_format: ImageFormat) -> ImageHeader:
    """Find size, turn and depth of the primary picture; the largest size given anywhere is the buffer.

    That covers tiles, layers, thumbnails and depth maps, and the size that the coded picture itself declares, for which
    a decoder allocates memory.

    Raises:
        VisualSearchError: `undecodable_image`, or `unsupported_format` for another coding.
        struct.error: the header is cut off.
    """
    end = len(data)
    meta = boxes.find(data, (b"meta",), 0, end)
    track = boxes.find(data, _TRACK, 0, end)
    sizes: list[tuple[int, int]] = []
    if track is not None:
        # A full box and a count; then a sample entry, whose size follows its box header and 24 bytes.
        sizes.append(struct.unpack_from(">HH", data, track.start + 8 + 8 + 24))
    width = height = 0
    orientation, turned, bits = 1, False, 8
    if meta is not None:
        of_items = _properties_of_items(data, meta)
        primary = _primary_item(data, meta)
        for kind, start, stop in of_items.get(primary, ()) if primary is not None else ():
            if kind == b"ispe":
                width, height = struct.unpack_from(">II", data, start + 4)
            elif kind == b"clap" and image_format == "heif":
                # The visible part, as fractions; Pillow's AVIF decoder shows everything.
                across, columns, down, rows = struct.unpack_from(">4I", data, start)
                width, height = min(width, across // max(1, columns)), min(height, down // max(1, rows))
            elif kind == b"irot":
                orientation, turned = _ROTATIONS[data[start] & 3], True
            elif kind == b"imir":
                turned = True
            elif kind == b"pixi" and stop - start > 5:
                bits = max(data[start + 5 : stop])
        for kind, start, stop in _properties(data, meta):
            if kind == b"ispe":
                sizes.append(struct.unpack_from(">II", data, start + 4))
            elif kind == b"hvcC":
                sizes += bitstreams.hevc_sizes(data[start:stop])
        coded = set()
        for kind, beginning in _items(data, meta):
            coded.add(kind)
            if kind == b"av01":
                sizes += bitstreams.av1_sizes(beginning)
            elif kind in (b"grid", b"iovl"):
                sizes.append(_canvas(kind, beginning))
        if image_format == "avif" and not turned and b"Exif" not in coded:
            # As in Pillow, if nothing else gives it.
            orientation = orientation_of(None, data)
        # If nothing follows, the file is cut off, and its content is not fully known.
        if meta.end < end and coded.isdisjoint(_CODINGS[image_format]):
            raise unsupported(image_format, "holds a picture of another coding than HEVC and AV1")
        if image_format == "heif" and sizes:
            _check_work(data, meta, of_items, max(width * height for width, height in sizes))
    elif sizes:
        width, height = sizes[0]
    if not width or not height:
        raise undecodable(image_format, f"declares a picture of {width}x{height} pixels")
    buffer_width, buffer_height = max(sizes, key=lambda size: size[0] * size[1])
    return ImageHeader(
        format=image_format,
        width=width,
        height=height,
        orientation=orientation,
        bits=16 if bits > 8 else 8,
        animated=track is not None,
        buffer_width=buffer_width,
        buffer_height=buffer_height,
    )


def _properties(data: bytes, meta: boxes.Box) -> list[boxes.Box]:
    """All properties of all items, in the order by which they are numbered from 1."""
    container = boxes.find(data, (b"iprp", b"ipco"), meta.start + 4, meta.end)
    return [] if container is None else list(boxes.walk(data, container.start, container.end))


def _primary_item(data: bytes, meta: boxes.Box) -> int | None:
    """The number of the item that `pitm` names."""
    primary = boxes.find(data, (b"pitm",), meta.start + 4, meta.end)
    if primary is None:
        return None
    (item,) = struct.unpack_from(">I" if data[primary.start] else ">H", data, primary.start + 4)
    return int(item)


def _properties_of_items(data: bytes, meta: boxes.Box) -> dict[int, list[boxes.Box]]:
    """The properties of each item, by its number."""
    associations = boxes.find(data, (b"iprp", b"ipma"), meta.start + 4, meta.end)
    if associations is None:
        return {}
    properties = _properties(data, meta)
    found: dict[int, list[boxes.Box]] = {}
    version, long_index = data[associations.start], data[associations.start + 3] & 1
    (count,) = struct.unpack_from(">I", data, associations.start + 4)
    position = associations.start + 8
    for _ in range(min(count, _MAX_ITEMS)):
        (item,) = struct.unpack_from(">I" if version else ">H", data, position)
        position += 4 if version else 2
        if position >= associations.end:
            break
        number = data[position]
        position += 1
        indexes = struct.unpack_from(f">{number}{'H' if long_index else 'B'}", data, position)
        mask = 0x7FFF if long_index else 0x7F
        found.setdefault(item, [properties[at - 1] for index in indexes if 0 < (at := index & mask) <= len(properties)])
        position += number * (2 if long_index else 1)
    return found


def _check_work(data: bytes, meta: boxes.Box, of_items: dict[int, list[boxes.Box]], largest: int) -> None:
    """Refuse a picture that is assembled from far more pixels than it shows: a file may name the same tile any number
    of times.

    Raises:
        VisualSearchError: `undecodable_image`.
    """
    sources = _sources(data, meta)
    work: dict[int, int] = {}
    coded: dict[int, list[tuple[int, int]]] = {}

    def pixels(item: int, depth: int) -> int:
        if item not in work:
            work[item] = 0  # an item that names itself
            sizes = [(0, 0)]
            for kind, start, stop in of_items.get(item, ()):
                if kind == b"ispe":
                    sizes.append(struct.unpack_from(">II", data, start + 4))
                elif kind == b"hvcC":
                    if start not in coded:
                        coded[start] = bitstreams.hevc_sizes(data[start:stop])
                    sizes += coded[start]
            own = max(width * height for width, height in sizes)
            parts = sources.get(item, ()) if depth < _MAX_DEPTH else ()
            work[item] = max(own, sum(pixels(part, depth + 1) for part in parts))
        return work[item]

    most = max((pixels(item, 0) for item in sources), default=0)
    if most > _WORK_ALWAYS + _MOST_WORK * largest:
        raise undecodable("heif", f"is assembled from {most} pixels")


def _sources(data: bytes, meta: boxes.Box) -> dict[int, tuple[int, ...]]:
    """The items that each grid or overlay is assembled from, by its number."""
    references = boxes.find(data, (b"iref",), meta.start + 4, meta.end)
    if references is None:
        return {}
    code = "I" if data[references.start] else "H"
    found: dict[int, tuple[int, ...]] = {}
    for kind, start, _ in boxes.walk(data, references.start + 4, references.end):
        if kind == b"dimg":
            item, count = struct.unpack_from(f">{code}H", data, start)
            found[item] = struct.unpack_from(f">{count}{code}", data, start + struct.calcsize(f">{code}H"))
    return found


def _items(data: bytes, meta: boxes.Box) -> Iterator[tuple[bytes, bytes]]:
    """Type and first bytes of the data of each item, by `iinf` and `iloc`."""
    types = _item_types(data, meta)
    table = boxes.find(data, (b"iloc",), meta.start + 4, meta.end)
    if table is None:
        return
    version = data[table.start]
    sizes, more = data[table.start + 4], data[table.start + 5]
    offset_size, length_size, base_size = sizes >> 4, sizes & 15, more >> 4
    index_size = more & 15 if version else 0
    inside = boxes.find(data, (b"idat",), meta.start + 4, meta.end)
    position = table.start + 6
    id_size = 4 if version == 2 else 2
    count, position = _integer(data, position, id_size)
    for _ in range(min(count, _MAX_ITEMS)):
        item, position = _integer(data, position, id_size)
        method = 0
        if version:
            method, position = _integer(data, position, 2)
        base, position = _integer(data, position + 2, base_size)
        extents, position = _integer(data, position, 2)
        if extents:
            offset, _ = _integer(data, position + index_size, offset_size)
            start = base + offset + (inside.start if method & 15 == 1 and inside is not None else 0)
            yield types.get(item, b""), data[start : start + bitstreams.BEGINNING]
        position += extents * (index_size + offset_size + length_size)


def _item_types(data: bytes, meta: boxes.Box) -> dict[int, bytes]:
    """The four letters that identify the coding of each item, by its number."""
    table = boxes.find(data, (b"iinf",), meta.start + 4, meta.end)
    if table is None:
        return {}
    types = {}
    for kind, start, end in boxes.walk(data, table.start + (8 if data[table.start] else 6), table.end):
        if kind == b"infe" and start < end and data[start] >= 2:
            item, position = _integer(data, start + 4, 4 if data[start] == 3 else 2)
            types[item] = data[position + 2 : position + 6]
    return types


def _canvas(kind: bytes, beginning: bytes) -> tuple[int, int]:
    """Width and height of a grid or an overlay (ISO/IEC 23008-12, 6.6.2), for which a decoder allocates memory."""
    position = 4 if kind == b"grid" else 10
    return struct.unpack_from(">II" if beginning[1] & 1 else ">HH", beginning, position)


def _integer(data: bytes, position: int, size: int) -> tuple[int, int]:
    """A big-endian number of `size` bytes (0 bytes: 0), and the offset behind it."""
    if position + size > len(data):
        raise struct.error
    return int.from_bytes(data[position : position + size], "big"), position + size
