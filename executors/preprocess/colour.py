"""Converts the samples of a file to opaque 8-bit sRGB, in stripes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np

from executors.preprocess import profiles
from executors.preprocess.formats.base import ImageHeader
from executors.preprocess.pixels import Pixels

WHITE = 255
# The amount of work at a time: small enough that no second full-size copy exists beside the picture.
_STRIPE_PIXELS: Final = 1 << 20


def finish(image: Pixels, header: ImageHeader, factor: int = 1) -> Pixels:
    """Convert samples in OpenCV's layout to RGB, and reduce the picture at the same time.

    Args:
        image: H x W grey, H x W x 3 BGR or H x W x 4 BGRA, uint8 or uint16.
        header: says which samples are transparent, and has the colour profile.
        factor: 1, 2, 4 or 8: the divisor of both sides, which keep at least one pixel. Blocks of pixels are averaged
            after they were composited over white, so that invisible colours have no effect.

    Returns:
        ceil(H / factor) x ceil(W / factor) x 3 uint8 RGB.
    """
    grey = profiles.fits_grey(image, header.profile)
    return in_stripes(image.shape[:2], factor, lambda top, bottom: _rgb(image[top:bottom], header, grey))


def in_stripes(size: tuple[int, ...], factor: int, rows: Callable[[int, int], Pixels]) -> Pixels:
    """Assemble a picture from stripes, and reduce it at the same time.

    Args:
        size: height and width.
        factor: as for `finish`.
        rows: makes RGB of the rows from one to (before) another one, which may be beyond the last.
    """
    height, width = size
    small = (-(-height // factor), -(-width // factor))
    result = np.empty((*small, 3), np.uint8)
    step = max(1, _STRIPE_PIXELS // (width * factor))
    for top in range(0, small[0], step):
        stripe = rows(top * factor, (top + step) * factor)
        target = result[top : top + step]
        if factor == 1:
            target[:] = stripe
        else:
            target[:] = cv2.resize(stripe, target.shape[1::-1], interpolation=cv2.INTER_AREA)
    return result


def to_eight_bits(image: Pixels) -> Pixels:
    """Scale 16-bit samples to 8 bits, 65535 to 255, rounded; 8-bit ones are returned unchanged."""
    if image.dtype == np.uint8:
        return image
    return cv2.convertScaleAbs(image, alpha=1 / 257)


def over_white(colours: Pixels, opacity: Pixels) -> Pixels:
    """Composite colours over white: colour x alpha + white x (1 - alpha) (Porter and Duff's «over»).

    Args:
        colours: H x W x 3 uint8, not multiplied by alpha.
        opacity: H x W uint8.
    """
    # This subtracts from white the part of the picture's darkness that alpha lets through, so that only one rounding
    # happens.
    darkness = cv2.multiply(cv2.bitwise_not(colours), cv2.cvtColor(opacity, cv2.COLOR_GRAY2RGB), scale=1 / WHITE)
    return cv2.bitwise_not(darkness)


def _rgb(image: Pixels, header: ImageHeader, grey: bool) -> Pixels:
    """RGB of some rows. Transparent colours come first, since they are declared in the file's own bits, then profile,
    then white.
    """
    eight = to_eight_bits(image)
    if image.ndim == 2:
        colours = profiles.to_srgb(cv2.cvtColor(eight, cv2.COLOR_GRAY2RGB), header.profile, grey=grey)
        if header.transparent_grey is not None:
            colours[image == _spread(header.transparent_grey, header.bits)] = WHITE
        return colours
    if image.shape[2] == 4:
        colours = profiles.to_srgb(cv2.cvtColor(eight, cv2.COLOR_BGRA2RGB), header.profile, grey=grey)
        opacity = cv2.extractChannel(eight, 3)
        return colours if cv2.minMaxLoc(opacity)[0] == WHITE else over_white(colours, opacity)
    colours = profiles.to_srgb(cv2.cvtColor(eight, cv2.COLOR_BGR2RGB), header.profile, grey=grey)
    if header.transparent_colour is not None:
        colours[(image[..., ::-1] == header.transparent_colour).all(axis=-1)] = WHITE
    return colours


def _spread(value: int, bits: int) -> int:
    """A sample of fewer than 8 bits, scaled to the range 0 to 255 as decoders do; deeper ones are returned unchanged."""
    return value * 255 // ((1 << bits) - 1) if bits < 8 else value
