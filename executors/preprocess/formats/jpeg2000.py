"""JPEG 2000 (ITU-T T.800): the headers of the codestream, alone or in a JP2 file."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from executors.preprocess.formats import boxes
from executors.preprocess.formats.base import ImageHeader, undecodable, unsupported

_CODESTREAM: Final = b"\xff\x4f\xff\x51"
_SIZE, _CODING, _CODING_OF_COMPONENT, _TILE_PART, _DATA, _END = 0xFF51, 0xFF52, 0xFF53, 0xFF90, 0xFF93, 0xFFD9
_MAX_COMPONENTS: Final = 4
# A picture of 50 megapixels in tiles of 64 x 64 has 12,000; each has a few segments in its header.
_MAX_SEGMENTS: Final = 131_072
# The memory that OpenJPEG allocates for a precinct of a subband or a code block.
_PART_BYTES: Final = 600
# Code blocks of 64 x 64 are usual; blocks of 16 x 16 in precincts of 64 x 64 stay within these limits in any picture.
_PARTS_ALWAYS: Final = 131_072
_SAMPLES_OF_PART: Final = 96
_MOST_PARTS: Final = 1_000_000
# Layers are quality passes over all parts. Encoders write a few dozen at most; a small picture may have more.
_LAYERS_ALWAYS: Final = 64
_MOST_PASSES: Final = 100_000_000


@dataclass(frozen=True, slots=True)
class _Coding:
    """How the samples are divided: halvings, exponents of a code block's sides, and of a precinct's for each
    resolution.
    """

    layers: int
    levels: int
    block: tuple[int, int]
    precincts: tuple[tuple[int, int], ...]

    def parts(self, width: int, height: int) -> int:
        """The number of precincts (of each subband) and code blocks of one component."""
        total = 0
        for resolution, (precinct_width, precinct_height) in enumerate(self.precincts):
            scale = self.levels - resolution
            columns, rows = -(-width >> scale), -(-height >> scale)
            bands = 3 if resolution else 1
            half = 1 if resolution else 0
            block_width = min(self.block[0], max(0, precinct_width - half)) + half
            block_height = min(self.block[1], max(0, precinct_height - half)) + half
            total += bands * (-(-columns >> precinct_width)) * (-(-rows >> precinct_height))
            total += bands * (-(-columns >> block_width)) * (-(-rows >> block_height))
        return total


def read(data: bytes) -> ImageHeader:
    """Read size, tile size and depth of the codestream, which is what is decoded, and the number of parts that it is
    divided into.

    Raises:
        VisualSearchError: `undecodable_image`, or `unsupported_format` for more than four components, and for more
            parts than any encoder makes, since a small file could ask for any number.
        struct.error: the header is cut off.
    """
    start = 0
    if not data.startswith(_CODESTREAM):
        stream = boxes.find(data, (b"jp2c",), 0, len(data))
        if stream is None or not data.startswith(_CODESTREAM, stream.start):
            raise undecodable("jpeg2000", "has no picture")
        start = stream.start
    numbers = struct.unpack_from(">8IH", data, start + 8)
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top, components = numbers
    width, height = right - left, bottom - top
    if width <= 0 or height <= 0 or not tile_width or not tile_height or not components:
        raise undecodable("jpeg2000", f"declares {width}x{height} pixels of {components} components")
    if components > _MAX_COMPONENTS:
        raise unsupported("jpeg2000", f"has {components} components")
    depths = struct.unpack_from("Bxx" * components, data, start + 42)
    bits = max((depth & 0x7F) + 1 for depth in depths)
    # Decoders work on whole tiles, of which only the part within the picture is held.
    tile = min(tile_width, right - tile_left), min(tile_height, bottom - tile_top)
    codings = list(_codings(data, start))
    parts = max((coding.parts(*tile) for coding in codings), default=0) * components
    if parts > min(_PARTS_ALWAYS + tile[0] * tile[1] * components // _SAMPLES_OF_PART, _MOST_PARTS):
        raise unsupported("jpeg2000", f"is cut into {parts} parts")
    layers = max((coding.layers for coding in codings), default=1)
    if layers > _LAYERS_ALWAYS and layers * parts > _MOST_PASSES:
        raise unsupported("jpeg2000", f"has {layers} layers of {parts} parts")
    return ImageHeader(
        format="jpeg2000",
        width=width,
        height=height,
        bits=16 if bits > 8 else 8,
        # Without a coding, no halving is possible. If tiles differ, the smallest number of halvings applies to all.
        levels=min((coding.levels for coding in codings), default=0),
        structure_bytes=parts * _PART_BYTES,
        buffer_width=tile[0],
        buffer_height=tile[1],
    )


def _codings(data: bytes, start: int) -> Iterator[_Coding]:
    """The settings of COD and COC in the main header and in those of the tile-parts."""
    for marker, position, end in _segments(data, start):
        if marker == _CODING and end - position >= 12:
            style, layers = data[position + 2], int.from_bytes(data[position + 4 : position + 6], "big")
            yield _coding(data[position + 7 : end], bool(style & 1), layers)
        elif marker == _CODING_OF_COMPONENT and end - position >= 9:
            # A component's number has one byte if there are fewer than 257.
            yield _coding(data[position + 4 : end], bool(data[position + 3] & 1), 1)


def _coding(parameters: bytes, has_precincts: bool, layers: int) -> _Coding:
    levels = min(parameters[0], 32)
    sizes = parameters[5 : 6 + levels] if has_precincts else b""
    precincts = tuple((size & 15, size >> 4) for size in sizes.ljust(levels + 1, b"\xff"))
    return _Coding(layers, levels, ((parameters[1] & 15) + 2, (parameters[2] & 15) + 2), precincts)


def _segments(data: bytes, start: int) -> Iterator[tuple[int, int, int]]:
    """Yield the segments of all headers: the marker, the position of its length, and its end."""
    position, tile_part_end = start + 2, 0
    for _ in range(_MAX_SEGMENTS):
        if position + 4 > len(data):
            return
        marker, length = struct.unpack_from(">HH", data, position)
        if marker == _DATA:
            if tile_part_end <= position:
                return
            position = tile_part_end
            continue
        if marker < 0xFF00 or marker == _END:
            return
        if marker == _TILE_PART and position + 12 <= len(data):
            (size,) = struct.unpack_from(">I", data, position + 6)
            # 0: all following bytes.
            tile_part_end = position + size if size else len(data)
        yield marker, position + 2, min(position + 2 + length, len(data))
        position += 2 + max(2, length)
    raise unsupported("jpeg2000", f"has more than {_MAX_SEGMENTS} segments")
