"""Makes large pictures smaller before they are sent: the model sees only a few hundred pixels per side."""

from __future__ import annotations

from typing import Final

import cv2

from executors.errors import VisualSearchError
from executors.preprocess.decode import configure_opencv, decode
from executors.preprocess.header import ImageLimits, check_limits, read_header
from executors.preprocess.resize import scale_to
from executors.preprocess.thumbnail import make_thumbnail

MAX_SIDE: Final = 1024
# Sending a smaller file costs less than decoding and encoding it.
MIN_BYTES: Final = 150_000
JPEG_QUALITY: Final = 90
# Limits of what is decoded here; a larger picture is sent as it is, and the service's limits apply.
_LIMITS: Final = ImageLimits(max_bytes=1 << 40, max_pixels=150_000_000, max_side=65_535)

_PAGE_SIDE: Final = 448
_PAGE_BYTES: Final = 48_000

configure_opencv()


def shrink(blob: bytes, max_side: int = MAX_SIDE) -> bytes:
    """A smaller copy of a large picture: upright JPEG, longer side `max_side` pixels.

    Returns the bytes unchanged if the picture is small or transparent, if its copy would not be smaller, or if it can't be
    decoded (the service then says what is wrong).
    """
    if len(blob) < MIN_BYTES:
        return blob
    try:
        header = read_header(blob)
        height, width = header.upright_size
        if max(height, width) <= max_side or header.may_be_transparent:
            return blob
        check_limits(header, _LIMITS)
        scale = max_side / max(height, width)
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        image = decode(blob, header, at_least=size)
    except VisualSearchError:
        return blob
    small = cv2.cvtColor(scale_to(image, *size), cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode(".jpg", small, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))[1]
    return encoded.tobytes() if encoded.size < len(blob) else blob


def small_picture(blob: bytes) -> bytes | None:
    """A small upright JPEG for a page; None if the picture can't be decoded."""
    try:
        header = read_header(blob)
        check_limits(header, _LIMITS)
        height, width = header.upright_size
        scale = min(1.0, _PAGE_SIDE / max(height, width))
        image = decode(blob, header, at_least=(round(height * scale), round(width * scale)))
    except VisualSearchError:
        return None
    return make_thumbnail(image, _PAGE_SIDE, _PAGE_BYTES)
