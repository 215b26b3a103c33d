"""For any shape of picture, the model gets its input shape, with the content in the right place."""

from __future__ import annotations

import tracemalloc

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image

from executors.models.spec import Fit
from executors.preprocess.resize import LETTERBOX_GREY, fit, scale_to, scaled_size

FITS: tuple[Fit, ...] = ("centre_crop", "letterbox", "squash")


@pytest.mark.parametrize("how", FITS)
@pytest.mark.parametrize(
    "size", [(1, 1), (1, 10_000), (10_000, 1), (2, 3), (224, 224), (223, 225), (448, 448), (1000, 37)]
)
@pytest.mark.parametrize("target", [(224, 224), (1, 1), (64, 320), (7, 7)])
def test_any_shape_becomes_the_models_input(how: Fit, size: tuple[int, int], target: tuple[int, int]) -> None:
    image = np.full((*size, 3), (10, 200, 90), np.uint8)
    tensor = fit(image, how, *target, crop_fraction=0.875)
    assert tensor.shape == (*target, 3)
    assert tensor.dtype == np.uint8
    assert tensor.flags.c_contiguous
    assert not np.shares_memory(tensor, image)
    colours = {tuple(colour) for colour in np.unique(tensor.reshape(-1, 3), axis=0).tolist()}
    assert (10, 200, 90) in colours
    assert colours <= {(10, 200, 90), (LETTERBOX_GREY,) * 3}


@pytest.mark.parametrize("how", FITS)
def test_extreme_shapes_make_no_giant_intermediate(how: Fit) -> None:
    for size in ((1, 16_384), (16_384, 1), (3, 16_000)):
        image = np.zeros((*size, 3), np.uint8)
        tracemalloc.start()
        fit(image, how, 224, 224, crop_fraction=0.875)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 30_000_000


@pytest.mark.parametrize(("fraction", "kept"), [(1.0, 100), (0.5, 50), (0.875, 88)])
def test_centre_crop_keeps_the_middle(fraction: float, kept: int) -> None:
    image = np.zeros((100, 300, 3), np.uint8)
    top, left = (100 - kept) // 2, (300 - kept) // 2
    image[top : top + kept, left : left + kept] = 255
    assert (fit(image, "centre_crop", 50, 50, fraction) == 255).all()
    image[top, left : left + kept] = 0
    image[top : top + kept, left + kept - 1] = 0
    tensor = fit(image, "centre_crop", 50, 50, fraction)
    assert (tensor[0] < 255).all()
    assert (tensor[:, -1] < 255).all()
    assert (tensor[2:, :-2] == 255).all()


def test_centre_crop_has_the_models_aspect_ratio() -> None:
    image = np.zeros((120, 120, 3), np.uint8)
    image[30:90] = 255
    assert (fit(image, "centre_crop", 32, 64) == 255).all()


def test_letterbox_keeps_everything_on_grey() -> None:
    image = np.full((100, 200, 3), 255, np.uint8)
    image[0] = 0
    tensor = fit(image, "letterbox", 64, 64)
    assert (tensor[:16] == LETTERBOX_GREY).all()
    assert (tensor[48:] == LETTERBOX_GREY).all()
    assert (tensor[16] < 255).all()
    assert (tensor[17:48] == 255).all()


def test_squash_keeps_everything_without_a_frame() -> None:
    image = np.zeros((100, 400, 3), np.uint8)
    image[:, 200:] = 255
    tensor = fit(image, "squash", 64, 64)
    assert (tensor[:, :31] == 0).all()
    assert (tensor[:, 33:] == 255).all()


@pytest.mark.parametrize("period", [2, 3, 4])
@pytest.mark.parametrize("side", [250, 279, 300, 336, 400, 440, 500, 800, 1_000, 1_500])
def test_shrinking_averages_and_makes_little_moire(side: int, period: int) -> None:
    lines = np.zeros((side, side, 3), np.uint8)
    lines[::period] = 255
    ripple = np.abs(scale_to(lines, 112, 112).astype(float) - lines.mean()).max()
    sampled = np.abs(cv2.resize(lines, (112, 112)).astype(float) - lines.mean()).max()
    assert ripple <= sampled / 2


@pytest.mark.parametrize("side", [30, 60, 100, 150, 200, 224, 300, 500])
def test_scaling_is_close_to_pillows_filters(side: int) -> None:
    image = skimage.data.astronaut()
    expected = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
    assert np.abs(scale_to(image, side, side).astype(int) - expected).mean() < 4.5


def test_growing_is_smooth() -> None:
    image = cv2.resize(skimage.data.astronaut(), (64, 64), interpolation=cv2.INTER_AREA)
    expected = np.asarray(Image.fromarray(image).resize((224, 224), Image.Resampling.BICUBIC))
    assert np.abs(scale_to(image, 224, 224).astype(int) - expected).mean() < 2


def test_a_picture_that_grows_one_way_is_still_averaged_the_other_way() -> None:
    lines = np.zeros((10, 1_000, 3), np.uint8)
    lines[:, ::2] = 255
    tensor = scale_to(lines, 100, 100)
    assert np.abs(tensor.astype(int) - 127).max() <= 16


@pytest.mark.parametrize("how", FITS)
def test_the_scaled_size_is_that_of_the_whole_picture(how: Fit) -> None:
    height, width = scaled_size((300, 600), how, 100, 100, 0.5)
    assert (height, width) == {"centre_crop": (200, 400), "letterbox": (50, 100), "squash": (100, 100)}[how]
