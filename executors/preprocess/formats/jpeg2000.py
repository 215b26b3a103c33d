"""JPEG 2000 (ITU-T T.800): the SIZ marker of the codestream, alone or in a JP2 file."""

from __future__ import annotations

import struct
from typing import Final

from executors.preprocess.formats import boxes
from executors.preprocess.formats.base import ImageHeader, undecodable, unsupported

_CODESTREAM: Final = b"\xff\x4f\xff\x51"
_CODING_STYLE: Final = b"\xff\x52"
_HEADER_BYTES: Final = 4096
_MAX_COMPONENTS: Final = 4


def read(data: bytes) -> ImageHeader:
    """Read size, tile size and depth of the codestream, which is what is decoded.

    Raises:
        VisualSearchError: `undecodable_image`, or `unsupported_format` for more than four components.
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
    # COD: behind its length, style, progression, layers and colour transform; missing ones mean no smaller ones.
    coding = data.find(_CODING_STYLE, start + 42 + 3 * components, start + _HEADER_BYTES)
    levels = data[coding + 9] if 0 < coding < len(data) - 9 else 0
    depths = struct.unpack_from("Bxx" * components, data, start + 42)
    bits = max((depth & 0x7F) + 1 for depth in depths)
    return ImageHeader(
        format="jpeg2000",
        width=width,
        height=height,
        bits=16 if bits > 8 else 8,
        levels=levels,
        # Decoders work on whole tiles, of which only the part within the picture is held.
        buffer_width=min(tile_width, right - tile_left),
        buffer_height=min(tile_height, bottom - tile_top),
    )
