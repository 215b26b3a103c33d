"""WebP (RFC 9649): the canvas, its frames' sizes, transparency and orientation."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from executors.preprocess.formats.base import ImageHeader, undecodable
from executors.preprocess.formats.exif import orientation_of

_PROFILE_FLAG, _ALPHA_FLAG, _EXIF_FLAG, _XMP_FLAG, _ANIMATION_FLAG = 0x20, 0x10, 0x08, 0x04, 0x02
_MAX_CHUNKS: Final = 16_384


def read(data: bytes) -> ImageHeader:
    """Read the simple (`VP8 `, `VP8L`) and the extended (`VP8X`) layout.

    Raises:
        VisualSearchError: `undecodable_image`.
        struct.error: the header is cut off.
    """
    (name,) = struct.unpack_from("4s", data, 12)
    if name != b"VP8X":
        width, height, has_alpha = _frame_size(data, name, 20)
        return ImageHeader(format="webp", width=width, height=height, alpha=has_alpha)
    flags, width, height = _extended_header(data)
    animated = bool(flags & _ANIMATION_FLAG)
    has_alpha = bool(flags & _ALPHA_FLAG)
    exif: bytes | None = None
    xmp: bytes | None = None
    profile: bytes | None = None
    buffer_width = buffer_height = 0
    for kind, start, end in _chunks(data):
        # libwebp ignores what the flags don't announce.
        if kind == b"EXIF" and exif is None and flags & _EXIF_FLAG:
            exif = data[start:end]
        elif kind == b"XMP " and xmp is None and flags & _XMP_FLAG:
            xmp = data[start:end]
        elif kind == b"ICCP" and profile is None and flags & _PROFILE_FLAG:
            profile = data[start:end]
        elif kind == b"ANMF":
            frame_width, frame_height = _three_bytes(data, start + 6) + 1, _three_bytes(data, start + 9) + 1
            buffer_width, buffer_height = max(buffer_width, frame_width), max(buffer_height, frame_height)
        elif kind in (b"VP8 ", b"VP8L"):
            frame_width, frame_height, frame_has_alpha = _frame_size(data, kind, start)
            has_alpha = has_alpha or frame_has_alpha
            buffer_width, buffer_height = max(buffer_width, frame_width), max(buffer_height, frame_height)
    return ImageHeader(
        format="webp",
        width=width,
        height=height,
        orientation=orientation_of(exif, xmp),
        # Frames of an animation need not cover the canvas, which is transparent elsewhere.
        alpha=animated or has_alpha,
        animated=animated,
        buffer_width=buffer_width,
        buffer_height=buffer_height,
        profile=profile,
    )


def announce_alpha(data: bytes) -> bytes:
    """The file with the flag for transparency, which some writers forget; without it decoders ignore the alpha channel.

    An animation stays unchanged: without the flag its canvas is not transparent.
    """
    if data[12:16] != b"VP8X" or data[20] & (_ALPHA_FLAG | _ANIMATION_FLAG):
        return data
    return data[:20] + bytes([data[20] | _ALPHA_FLAG]) + data[21:]


def _extended_header(data: bytes) -> tuple[int, int, int]:
    """Flags, canvas width and canvas height of the VP8X chunk."""
    (flags,) = struct.unpack_from("B", data, 20)
    return flags, _three_bytes(data, 24) + 1, _three_bytes(data, 27) + 1


def _frame_size(data: bytes, name: bytes, start: int) -> tuple[int, int, bool]:
    """Width, height and transparency of the bitstream that begins at `start`."""
    if name == b"VP8 ":
        tag, code, width, height = struct.unpack_from("<B2x3sHH", data, start)
        width, height = width & 0x3FFF, height & 0x3FFF
        if tag & 1 or code != b"\x9d\x01\x2a" or not width or not height:
            raise undecodable("webp", "does not begin with a whole picture")
        return width, height, False
    if name == b"VP8L":
        signature, packed = struct.unpack_from("<BI", data, start)
        if signature != 0x2F or packed >> 29:
            raise undecodable("webp", "does not begin with a whole picture")
        return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1, bool(packed >> 28 & 1)
    raise undecodable("webp", "has no picture")


def _three_bytes(data: bytes, position: int) -> int:
    low, high = struct.unpack_from("<HB", data, position)
    return int(low | high << 16)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's name and the range of its content behind the VP8X chunk."""
    position = 12
    for _ in range(_MAX_CHUNKS):
        if position + 8 > len(data):
            return
        kind, length = struct.unpack_from("<4sI", data, position)
        start = position + 8
        yield kind, start, start + length
        position = start + length + (length & 1)
