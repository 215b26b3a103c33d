from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from executors.models.spec import ModelSpec
from executors.preprocess.cost import cost_of
from executors.preprocess.header import ImageLimits, read_header
from executors.preprocess.pipeline import ImagePipeline
from executors.scheduling.fair_threads import Cost
from tests.support.models.models import TINY, tiny_model, write_entry
from tests.support.pictures.image_files import pillow
from tests.support.pictures.pictures import encode, scene

FOUND = Path(__file__).resolve().parents[4] / "shared" / "data" / "pictures" / "found"


@pytest.fixture
def pipeline(tmp_path: Path) -> ImagePipeline:
    from executors.models.repository import load_spec

    write_entry(tmp_path, tiny_model())
    spec: ModelSpec = load_spec(tmp_path, TINY)
    return ImagePipeline(spec, ImageLimits(20_000_000, 50_000_000, 16_384), thumbnails=True)


def test_a_large_jpeg_is_cheap_because_it_is_decoded_at_a_fraction(pipeline: ImagePipeline) -> None:
    picture = encode(cv2.resize(scene(1), (4000, 3000)))
    cost = cost_of(picture, pipeline, thumbnail=True)
    assert not cost.expensive
    assert cost.size == read_header(picture).decoded_bytes // 64


def test_a_png_takes_all_of_its_pixels(pipeline: ImagePipeline) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (800, 600, 3), dtype=np.uint8)
    picture = encode(noise, ".png")
    assert cost_of(picture, pipeline, thumbnail=True).size == read_header(picture).decoded_bytes


def test_few_bytes_that_become_many_are_dear(pipeline: ImagePipeline) -> None:
    flat = np.full((4000, 5000, 3), 7, np.uint8)
    assert cost_of(encode(flat, ".png"), pipeline, thumbnail=True).expensive
    assert not cost_of(encode(flat[:500, :500], ".png"), pipeline, thumbnail=True).expensive


@pytest.mark.skipif(not FOUND.is_dir(), reason=f"the shared pictures are not at {FOUND}")
def test_the_bomb_that_was_found_is_dear(pipeline: ImagePipeline) -> None:
    assert cost_of((FOUND / "bomb-gray1.png").read_bytes(), pipeline, thumbnail=True).expensive


@pytest.mark.parametrize("blob", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_what_has_no_header_costs_nothing_yet(pipeline: ImagePipeline, blob: bytes) -> None:
    assert (cost_of(blob, pipeline, thumbnail=True).size, cost_of(blob, pipeline, thumbnail=True).expensive) == (
        0,
        False,
    )


def refused(pipeline: ImagePipeline, **limits: int) -> ImagePipeline:
    return ImagePipeline(pipeline.spec, replace(pipeline.limits, **limits), thumbnails=True)


@pytest.mark.parametrize("limits", [{"max_bytes": 1_000}, {"max_pixels": 1_000}, {"max_side": 100}])
def test_a_picture_that_will_be_refused_costs_nothing(pipeline: ImagePipeline, limits: dict[str, int]) -> None:
    picture = encode(scene(1), ".png")
    assert cost_of(picture, pipeline, thumbnail=True).size > 0
    assert cost_of(picture, refused(pipeline, **limits), thumbnail=True) == Cost()


@pytest.mark.parametrize(
    ("image_format", "options"),
    [("JPEG", {"quality": 60, "progressive": True}), ("JXL", {"quality": 80, "effort": 3})],
)
def test_a_photo_of_twelve_megapixels_is_not_dear(
    pipeline: ImagePipeline, image_format: str, options: dict[str, Any]
) -> None:
    photo = cv2.resize(scene(1), (4000, 3000)).astype(np.int16)
    photo += np.random.default_rng(1).integers(-20, 21, photo.shape, np.int16)
    picture = pillow(np.clip(photo, 0, 255).astype(np.uint8), image_format, **options)
    cost = cost_of(picture, pipeline, thumbnail=True)
    assert cost.size == read_header(picture).decoded_bytes > 128_000_000
    assert not cost.expensive


def test_a_jpeg2000_takes_what_is_left_of_it_when_it_is_decoded_at_a_fraction(pipeline: ImagePipeline) -> None:
    for resolutions, divisor in ((6, 16), (1, 1)):
        picture = pillow(scene(1, 900, 1200), "JPEG2000", num_resolutions=resolutions)
        header = read_header(picture)
        # The parts into which it is divided take memory at any scale.
        expected = header.decoded_bytes // divisor + header.structure_bytes
        assert cost_of(picture, pipeline, thumbnail=False).size == expected
