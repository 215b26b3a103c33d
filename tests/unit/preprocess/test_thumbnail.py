"""A thumbnail is small in pixels and bytes, and shows the picture."""

from __future__ import annotations

import io

import numpy as np
import pytest
import skimage.data
from PIL import Image

from executors.preprocess.thumbnail import MAX_BYTES, MAX_SIDE, make_thumbnail


def opened(thumbnail: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(thumbnail))
    assert image.format == "JPEG"
    return image


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket", "retina"])
def test_a_thumbnail_shows_the_picture(name: str) -> None:
    picture = getattr(skimage.data, name)()
    image = opened(make_thumbnail(picture))
    height, width = picture.shape[:2]
    assert max(image.size) == MAX_SIDE
    assert image.width / image.height == pytest.approx(width / height, rel=0.02)
    expected = Image.fromarray(picture).resize(image.size, Image.Resampling.BICUBIC)
    assert np.abs(np.asarray(image).astype(int) - np.asarray(expected)).mean() < 8


@pytest.mark.parametrize(("limit", "side"), [(MAX_BYTES, MAX_SIDE), (4_000, 256), (1_500, 256), (16_384, 1_000)])
def test_the_limit_on_bytes_holds_even_for_noise(limit: int, side: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
    thumbnail = make_thumbnail(noise, max_side=side, max_bytes=limit)
    assert len(thumbnail) <= limit
    assert max(opened(thumbnail).size) >= 24


def test_quality_gives_way_before_size() -> None:
    picture = skimage.data.coffee()
    best = make_thumbnail(picture)
    lower = make_thumbnail(picture, max_bytes=len(best) - 1)
    assert len(lower) < len(best)
    assert opened(lower).size == opened(best).size


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1), (3, 5_000)])
def test_extreme_shapes_keep_a_pixel(size: tuple[int, int]) -> None:
    image = opened(make_thumbnail(np.full((*size, 3), 80, np.uint8)))
    assert min(image.size) >= 1
    assert max(image.size) == min(max(size), MAX_SIDE)
    assert np.abs(np.asarray(image.convert("RGB")).astype(int) - 80).max() <= 2


def test_a_small_picture_is_not_enlarged() -> None:
    assert opened(make_thumbnail(np.zeros((30, 40, 3), np.uint8))).size == (40, 30)


def test_a_limit_that_cannot_be_kept_ends_with_the_smallest_thumbnail() -> None:
    assert opened(make_thumbnail(np.zeros((30, 40, 3), np.uint8), max_bytes=10)).size == (1, 1)
