"""From the samples that a file holds to 8-bit RGB without transparency."""

from __future__ import annotations

import cv2
import numpy as np

from executors.preprocess.formats.base import Alpha
from executors.preprocess.pixels import Pixels

WHITE = 255


def to_eight_bits(image: Pixels) -> Pixels:
    """Scale 16-bit samples to 8 bits, 65535 to 255, rounded; 8-bit ones pass."""
    if image.dtype == np.uint8:
        return image
    return cv2.convertScaleAbs(image, alpha=1 / 257)


def grey_with_transparency(image: Pixels, transparent: int, bits: int) -> Pixels:
    """Make H x W grey samples RGB, with white where they have the one value that is declared transparent.

    Args:
        image: H x W uint8 or uint16; samples of fewer than 8 bits are already spread over 0 to 255.
        transparent: the transparent value in the file's own bits.
        bits: bits of a sample in the file.
    """
    value = transparent * 255 // ((1 << bits) - 1) if bits < 8 else transparent
    grey = to_eight_bits(image)
    return cv2.cvtColor(np.where(image == value, np.uint8(WHITE), grey), cv2.COLOR_GRAY2RGB)


def composite_on_white(image: Pixels, alpha: Alpha) -> Pixels:
    """Lay a picture with transparency on white.

    Args:
        image: H x W x 4 BGRA, uint8 or uint16.
        alpha: whether the colours are already multiplied by alpha.

    Returns:
        H x W x 3 RGB: colour x alpha + white x (1 - alpha) (Porter and Duff's «over»).
    """
    image = to_eight_bits(image)
    opacity = cv2.extractChannel(image, 3)
    colours = cv2.cvtColor(image, cv2.COLOR_BGRA2RGB)
    if cv2.minMaxLoc(opacity)[0] == WHITE:
        return colours
    opacity = cv2.cvtColor(opacity, cv2.COLOR_GRAY2RGB)
    if alpha == "premultiplied":
        return cv2.add(colours, cv2.bitwise_not(opacity))
    # White minus the part of the picture's darkness that alpha lets through, so that only one rounding happens.
    darkness = cv2.multiply(cv2.bitwise_not(colours), opacity, scale=1 / WHITE)
    return cv2.bitwise_not(darkness)
