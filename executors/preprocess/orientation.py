"""The EXIF orientation, applied to pixels."""

from __future__ import annotations

import cv2

from executors.preprocess.pixels import Pixels


def apply_orientation(image: Pixels, orientation: int) -> Pixels:
    """Turn a stored picture upright.

    Args:
        image: H x W x C as stored.
        orientation: EXIF orientation 1 to 8 (CIPA DC-008, tag 0x0112): where the stored first row and column belong.

    Returns:
        The same pixels upright; W x H x C for 5 to 8.
    """
    match orientation:
        case 2:
            return cv2.flip(image, 1)
        case 3:
            return cv2.rotate(image, cv2.ROTATE_180)
        case 4:
            return cv2.flip(image, 0)
        case 5:
            return cv2.transpose(image)
        case 6:
            return cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE)
        case 7:
            return cv2.rotate(cv2.transpose(image), cv2.ROTATE_180)
        case 8:
            return cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE)
        case _:
            return image
