"""Thumbnails: the small JPEG that represents a picture in results."""

from __future__ import annotations

from typing import Final

import cv2

from executors.preprocess.pixels import Pixels
from executors.preprocess.resize import scale_to

MAX_SIDE: Final = 256
MAX_BYTES: Final = 16_384

_QUALITIES: Final = (80, 65, 50, 35)
_SHRINK: Final = 0.75


def make_thumbnail(image: Pixels, max_side: int = MAX_SIDE, max_bytes: int = MAX_BYTES) -> bytes:
    """Make a small JPEG: to meet the limit on bytes, first the quality is reduced, then the size.

    Args:
        image: H x W x 3 uint8 RGB; it is never enlarged.
        max_side: longest side of the thumbnail in pixels. The other one keeps at least one pixel.
        max_bytes: the maximum size of the JPEG. It is met from about 700 on, which a JPEG of one pixel needs for its
            tables.
    """
    side = min(max_side, max(image.shape[:2]))
    while True:
        small = cv2.cvtColor(_scale_longer_side(image, side), cv2.COLOR_RGB2BGR)
        for quality in _QUALITIES:
            encoded = cv2.imencode(".jpg", small, (cv2.IMWRITE_JPEG_QUALITY, quality))[1]
            if encoded.size <= max_bytes:
                return encoded.tobytes()
        if side == 1:
            return encoded.tobytes()
        side = int(side * _SHRINK)


def _scale_longer_side(image: Pixels, side: int) -> Pixels:
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    return scale_to(image, max(1, round(height * scale)), max(1, round(width * scale)))
