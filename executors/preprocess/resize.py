"""Fits a picture of any shape to the model's input."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from executors.models.spec import Fit
from executors.preprocess.pixels import Pixels

# The grey of YOLO's letterbox, close to the mean of ImageNet's pixels.
LETTERBOX_GREY: Final = 114


def fit(image: Pixels, how: Fit, height: int, width: int, crop_fraction: float = 1.0) -> Pixels:
    """Fit a picture to the model's input.

    Args:
        image: H x W x 3 uint8, any size from 1 x 1.
        how: `centre_crop` keeps the middle: the largest part of the model's aspect ratio, of which `crop_fraction` (in
            each direction) is taken; the same as scaling the shorter side to `side / crop_fraction` and cutting
            afterwards. `letterbox` keeps everything and fills the rest with grey. `squash` ignores the aspect ratio.
        height, width: the input's size in pixels.

    Returns:
        height x width x 3 uint8, contiguous, never a view of `image`.
    """
    if how == "centre_crop":
        return scale_to(_cut_middle(image, height, width, crop_fraction), height, width)
    if how == "letterbox":
        return _letterbox(image, height, width)
    return scale_to(image, height, width)


def scaled_size(size: tuple[int, int], how: Fit, height: int, width: int, crop_fraction: float) -> tuple[float, float]:
    """Height and width to which `fit` scales the whole of a picture of the given size (height, width)."""
    if how == "squash":
        return float(height), float(width)
    if how == "letterbox":
        scale = min(height / size[0], width / size[1])
    else:
        scale = max(height / size[0], width / size[1]) / crop_fraction
    return size[0] * scale, size[1] * scale


def scale_to(image: Pixels, height: int, width: int) -> Pixels:
    """Scale each direction separately: by averaging if it shrinks (no moiré), bicubic if it grows.

    The result is a new array, never a view. No intermediate is larger in any direction than the picture or twice the
    result.
    """
    source_height, source_width = image.shape[:2]
    # OpenCV averages only if both directions shrink, so a picture that grows in one direction shrinks first.
    small_height, small_width = min(height, source_height), min(width, source_width)
    if (small_height, small_width) == (source_height, source_width):
        image = image.copy()
    else:
        image = _shrink(image, small_height, small_width)
    if (small_height, small_width) != (height, width):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
    return image


def _shrink(image: Pixels, height: int, width: int) -> Pixels:
    """Scale down to less than four times the size by halves, then to a whole multiple, of which blocks are averaged.

    This weighs each pixel of the source about as INTER_AREA does, so that a picture and its scaled copies look alike to
    the model, but all steps are vectorised: it takes a half to a tenth of the time.
    """
    while (rows := image.shape[0] >= 4 * height) | (columns := image.shape[1] >= 4 * width):
        image = _halve(image, 1 + rows, 1 + columns)
    multiple = (width * _multiple(image.shape[1], width), height * _multiple(image.shape[0], height))
    image = cv2.resize(image, multiple, interpolation=cv2.INTER_LINEAR)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _multiple(source: int, target: int) -> int:
    """The multiple of the target to which the bilinear step, which reads only 2 x 2 pixels, can go without skipping too
    many.
    """
    return 3 if source >= 3 * target else 2


def _halve(image: Pixels, rows: int, columns: int) -> Pixels:
    """The means of blocks of 1 or 2 x 1 or 2 pixels. An odd row or column at the edge is omitted: OpenCV is fast only
    for whole blocks, and the row is less than half a pixel of the result.
    """
    height, width = image.shape[0] // rows, image.shape[1] // columns
    return cv2.resize(image[: height * rows, : width * columns], (width, height), interpolation=cv2.INTER_AREA)


def _cut_middle(image: Pixels, height: int, width: int, crop_fraction: float) -> Pixels:
    """A view of the part that `centre_crop` keeps, in the picture's own pixels: at least one pixel in each direction."""
    scale = min(image.shape[0] / height, image.shape[1] / width) * crop_fraction
    rows = _middle(image.shape[0], height * scale, height)
    columns = _middle(image.shape[1], width * scale, width)
    return image[rows, columns]


def _middle(source: int, wanted: float, target: int) -> slice:
    """About `wanted` of `source` pixels, from the exact middle: models are sensitive to an offset of half a pixel.

    If the part will be halved, its size is a multiple of what that needs; otherwise it is even or odd like the
    source's.
    """
    block = 1
    while wanted >= 4 * target * block:
        block *= 2
    part = round(wanted / block) * block if block > 1 else source - 2 * round((source - wanted) / 2)
    part = min(max(1, part), source)
    start = (source - part) // 2
    return slice(start, start + part)


def _letterbox(image: Pixels, height: int, width: int) -> Pixels:
    scaled_height, scaled_width = scaled_size((image.shape[0], image.shape[1]), "letterbox", height, width, 1.0)
    inner_height = min(max(1, round(scaled_height)), height)
    inner_width = min(max(1, round(scaled_width)), width)
    canvas = np.full((height, width, 3), LETTERBOX_GREY, np.uint8)
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    canvas[top : top + inner_height, left : left + inner_width] = scale_to(image, inner_height, inner_width)
    return canvas
