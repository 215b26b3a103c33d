"""GIF (87a, 89a): the logical screen, and the first frame as a file of its own."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from executors.preprocess.formats.base import ImageHeader, undecodable

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_GRAPHIC_CONTROL: Final = 0xF9
_COLOUR_TABLE_FLAG: Final = 0x80
# Together these limit the walk to some 10 ms; a frame of 20 MB has 80,000 blocks of the usual 255 bytes.
_MAX_EXTENSIONS: Final = 64
_MAX_EXTENSION_BLOCKS: Final = 4096
_MAX_FRAME_BLOCKS: Final = 200_000


@dataclass(frozen=True, slots=True)
class FirstFrame:
    """The place of the first frame on the canvas, and the parts of the file that it needs.

    Attributes:
        canvas_width, canvas_height: the logical screen, enlarged if the frame reaches beyond it (as browsers do).
        left, top, width, height: the frame's place on the canvas, in pixels.
        colour_table: offset and end of the global colour table.
        control: the graphic control extension as it is in the file, empty without one.
        descriptor: offset of the image descriptor.
        data_start: offset of the compressed data.
    """

    canvas_width: int
    canvas_height: int
    left: int
    top: int
    width: int
    height: int
    colour_table: tuple[int, int]
    control: bytes
    descriptor: int
    data_start: int

    @property
    def has_colours(self) -> bool:
        """Whether there is a colour table of any kind."""
        return self.colour_table[0] < self.colour_table[1] or self.data_start > self.descriptor + 11


def read(data: bytes) -> ImageHeader:
    """Read the canvas: the larger of logical screen and first frame.

    Raises:
        VisualSearchError: `undecodable_image`.
        struct.error: the header is cut off.
    """
    frame = find_first_frame(data)
    has_alpha = bool(frame.control and frame.control[3] & 1)
    end = _end_of_blocks(data, frame.data_start, _MAX_FRAME_BLOCKS)
    animated = end is not None and data[(start := _skip_extensions(data, end)) : start + 1] == b"\x2c"
    return ImageHeader(
        format="gif",
        width=frame.canvas_width,
        height=frame.canvas_height,
        alpha=has_alpha,
        animated=animated,
    )


def find_first_frame(data: bytes) -> FirstFrame:
    """Walk from the logical screen to the first image descriptor.

    Raises:
        VisualSearchError: `undecodable_image`.
        struct.error: the header is cut off.
    """
    screen_width, screen_height, flags = struct.unpack_from("<HHB", data, 6)
    table_end = 13 + (3 << (flags & 7) + 1 if flags & _COLOUR_TABLE_FLAG else 0)
    position = table_end
    control = b""
    for _ in range(_MAX_EXTENSIONS):
        (kind,) = struct.unpack_from("B", data, position)
        if kind == _IMAGE:
            left, top, width, height, frame_flags = struct.unpack_from("<HHHHB", data, position + 1)
            if not width or not height:
                raise undecodable("gif", f"declares a frame of {width}x{height} pixels")
            table = 3 << (frame_flags & 7) + 1 if frame_flags & _COLOUR_TABLE_FLAG else 0
            return FirstFrame(
                canvas_width=max(screen_width, left + width),
                canvas_height=max(screen_height, top + height),
                left=left,
                top=top,
                width=width,
                height=height,
                colour_table=(13, table_end),
                control=control,
                descriptor=position,
                data_start=position + 10 + table + 1,
            )
        if kind != _EXTENSION:
            raise undecodable("gif", "has no frame")
        (label,) = struct.unpack_from("B", data, position + 1)
        end = _end_of_blocks(data, position + 2, _MAX_EXTENSION_BLOCKS)
        if end is None:
            raise undecodable("gif", "is cut off before its first frame")
        if label == _GRAPHIC_CONTROL and end - position == 8:
            control = data[position:end]
        position = end
    raise undecodable("gif", "has no frame")


def cut_out(data: bytes, frame: FirstFrame) -> bytes:
    """Make a GIF of the first frame alone, with the frame as its screen, so that later frames and their faults don't
    matter.

    Raises:
        VisualSearchError: `undecodable_image` when the frame's data are cut off.
    """
    end = _end_of_blocks(data, frame.data_start, _MAX_FRAME_BLOCKS)
    if end is None:
        raise undecodable("gif", "is cut off")
    screen = struct.pack("<HH", frame.width, frame.height) + data[10:11] + b"\0\0"
    descriptor = b"\x2c" + struct.pack("<HHHH", 0, 0, frame.width, frame.height)
    table = data[slice(*frame.colour_table)]
    image = data[frame.descriptor + 9 : end]
    return b"".join([b"GIF89a", screen, table, frame.control, descriptor, image, bytes([_TRAILER])])


def first_colour(data: bytes, frame: FirstFrame) -> tuple[int, int, int]:
    """Red, green and blue of the first colour of the frame's own table, or of the global one; black without any."""
    start, end = frame.colour_table
    if data[frame.descriptor + 9] & _COLOUR_TABLE_FLAG:
        start, end = frame.descriptor + 10, frame.data_start - 1
    if start == end:
        return 0, 0, 0
    red, green, blue = struct.unpack_from("BBB", data, start)
    return red, green, blue


def _end_of_blocks(data: bytes, position: int, limit: int) -> int | None:
    """The offset behind a chain of at most `limit` data blocks, None if the file ends within it."""
    size = len(data)
    for _ in range(limit):
        if position >= size:
            return None
        length = data[position]
        position += 1 + length
        if not length:
            return position
    return None


def _skip_extensions(data: bytes, position: int) -> int:
    """The offset of the first block at or behind `position` that is not an extension."""
    for _ in range(_MAX_EXTENSIONS):
        if data[position : position + 1] != bytes([_EXTENSION]):
            break
        end = _end_of_blocks(data, position + 2, _MAX_EXTENSION_BLOCKS)
        if end is None:
            break
        position = end
    return position
