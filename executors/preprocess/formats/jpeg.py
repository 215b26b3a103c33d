"""JPEG (ITU-T T.81): the frame header among its markers, and the end of the picture's data."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Final

from executors.preprocess.formats.base import ImageHeader, undecodable, unsupported
from executors.preprocess.formats.exif import orientation_of

END_OF_IMAGE: Final = b"\xff\xd9"

_SOI, _EOI, _SOS, _APP1, _APP2 = 0xD8, 0xD9, 0xDA, 0xE1, 0xE2
_EXIF: Final = b"Exif\0\0"
_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"
_ICC: Final = b"ICC_PROFILE\0"
# SOF0 to SOF15 without DHT (C4), JPG (C8) and DAC (CC).
_FRAME_MARKERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# libjpeg has no decoder for hierarchical frames, nor for lossless ones with arithmetic coding.
_UNKNOWN_FRAMES: Final = frozenset({0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF})
_LOSSLESS: Final = 0xC3
_JPEG_LS: Final = 0xF7
_PROGRESSIVE_MARKERS: Final = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
# Markers without a length: TEM, RST0 to RST7, and the stuffed zero.
_BARE_MARKERS: Final = frozenset({0x00, 0x01, *range(0xD0, 0xD8)})

# The number of coefficients in a block of 8 x 8 pixels.
_COEFFICIENTS: Final = 64
# Real files have a few hundred segments at most (a large colour profile or XMP packet is cut into 64 KB segments).
_MAX_SEGMENTS: Final = 4096
_MAX_PROFILE_PARTS: Final = 255
# libjpeg writes 10 passes, the most elaborate encoders about 20; each costs a walk over all blocks of the picture.
MAX_SCANS: Final = 32

# These patterns contain no repetition, so that a run of FF costs one step a byte.
_MARKER: Final = re.compile(rb"\xff([^\xff])")
# In the compressed data, FF 00 is a byte and FF D0 to FF D7 are restarts; any other marker ends the scan.
_SCAN_END: Final = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")


def read(data: bytes) -> ImageHeader:
    """Walk the markers from SOI to the first scan.

    The walk is libjpeg's own (garbage between segments is skipped, a second SOI or frame is an error), so that the
    frame found here is the one that is decoded.

    Raises:
        VisualSearchError: `undecodable_image`.
        struct.error: the header is cut off.
    """
    frame: tuple[int, int, int] | None = None
    components = 3
    # EXIF may continue in further segments; of several XMP packets the last one counts. Both as in Pillow.
    exif: list[bytes] = []
    xmp: bytes | None = None
    profile: list[bytes] = []
    position = 2
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(data, position)
        if found is None:
            raise undecodable("jpeg", "ends before its picture begins")
        marker, position = found.group(1)[0], found.end()
        if marker in _BARE_MARKERS:
            continue
        if marker == _JPEG_LS:
            raise unsupported("jpeg", "is a JPEG-LS")
        if marker in (_SOI, _EOI):
            raise undecodable("jpeg", "ends before its picture begins")
        (length,) = struct.unpack_from(">H", data, position)
        if length < 2:
            raise undecodable("jpeg", "has a segment of impossible length")
        if marker in _FRAME_MARKERS:
            if frame is not None:
                raise undecodable("jpeg", "declares its size twice")
            precision, height, width, components = struct.unpack_from(">BHHB", data, position + 2)
            if precision != 8 and width and height:
                raise unsupported("jpeg", f"holds samples of {precision} bits")
            if marker in _UNKNOWN_FRAMES:
                raise unsupported(
                    "jpeg",
                    "is of a kind that no decoder here supports (hierarchical, or lossless with arithmetic coding)",
                )
            if not width or not height:
                raise undecodable("jpeg", f"declares {width}x{height} pixels of {precision} bits")
            frame = (width, height, marker)
        elif marker == _SOS:
            if frame is None:
                raise undecodable("jpeg", "has data before its size")
            return ImageHeader(
                format="jpeg",
                width=frame[0],
                height=frame[1],
                orientation=orientation_of(b"".join(exif), xmp),
                # libjpeg goes over the picture once more for each scan if the first one does not have all of the
                # components.
                progressive=frame[2] in _PROGRESSIVE_MARKERS or data[position + 2] < components,
                inks=components == 4,
                lossless=frame[2] == _LOSSLESS,
                profile=_join_profile(profile),
            )
        elif marker == _APP1 and data.startswith(_EXIF, position + 2):
            exif.append(data[position + 8 : position + length])
        elif marker == _APP1 and data.startswith(_XMP, position + 2):
            xmp = data[position + 2 + len(_XMP) : position + length]
        elif marker == _APP2 and len(profile) < _MAX_PROFILE_PARTS and data.startswith(_ICC, position + 2):
            profile.append(data[position + 2 + len(_ICC) : position + length])
        position += length
    raise undecodable("jpeg", "has too many segments")


def _join_profile(parts: list[bytes]) -> bytes | None:
    """The ICC profile assembled from its parts, each of which begins with its number, from 1, and the number of parts;
    None if some are missing.
    """
    parts = sorted(parts)
    return b"".join(part[2:] for part in parts) if parts and parts[0][1:2] == bytes([len(parts)]) else None


def find_end(data: bytes) -> int | None:
    """Find the EOI marker of the first picture in the file (previews and films may follow it).

    Returns:
        The offset of its `FF D9`, or None if the file ends without one.

    Raises:
        VisualSearchError: `undecodable_image` if there are more passes over the picture than `MAX_SCANS`: this way, a
            few KB can ask for minutes of work.
    """
    scans = 0
    for marker, position in _walk(data):
        if marker == _EOI:
            return position - 2
        if marker == _SOS:
            scans += 1
            if scans > MAX_SCANS:
                raise undecodable("jpeg", f"has more than {MAX_SCANS} passes over the picture", limit=MAX_SCANS)
    return None


def lacks_passes(data: bytes) -> bool:
    """Whether a file that is cut off lost whole passes: no scan refines some coefficient of a component to its last
    bit.
    """
    missing: set[tuple[int, int]] = set()
    try:
        for marker, position in _walk(data):
            if marker in _FRAME_MARKERS:
                count = data[position + 7]
                components = data[position + 8 : position + 8 + 3 * count : 3]
                missing = {(component, number) for component in components for number in range(_COEFFICIENTS)}
            elif marker == _SOS:
                count = data[position + 2]
                components = data[position + 3 : position + 3 + 2 * count : 2]
                first, last, bits = struct.unpack_from("BBB", data, position + 3 + 2 * count)
                if not bits & 15:
                    missing -= {(component, number) for component in components for number in range(first, last + 1)}
    except (IndexError, struct.error):
        return True
    return bool(missing)


def _walk(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the markers of the first picture with the offset behind each, up to EOI or the end of the file."""
    position = 2
    pattern = _MARKER
    for _ in range(_MAX_SEGMENTS):
        found = pattern.search(data, position)
        if found is None:
            return
        marker, position = found.group(1)[0], found.end()
        if marker in _BARE_MARKERS or marker == _SOI:
            continue
        yield marker, position
        if marker == _EOI or position + 2 > len(data):
            return
        if marker == _SOS:
            pattern = _SCAN_END
        position += int.from_bytes(data[position : position + 2], "big")
