from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from executors.models.spec import ModelSpec
from executors.preprocess.cost import cost_of
from executors.preprocess.header import ImageLimits, read_header
from executors.preprocess.pipeline import ImagePipeline
from tests.support.models import TINY, tiny_model, write_entry
from tests.support.pictures import encode, scene

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
    assert not cost.dear
    assert cost.size == read_header(picture).decoded_bytes // 64


def test_a_png_takes_all_of_its_pixels(pipeline: ImagePipeline) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (800, 600, 3), dtype=np.uint8)
    picture = encode(noise, ".png")
    assert cost_of(picture, pipeline, thumbnail=True).size == read_header(picture).decoded_bytes


def test_few_bytes_that_become_many_are_dear(pipeline: ImagePipeline) -> None:
    flat = np.full((4000, 5000, 3), 7, np.uint8)
    assert cost_of(encode(flat, ".png"), pipeline, thumbnail=True).dear
    assert not cost_of(encode(flat[:500, :500], ".png"), pipeline, thumbnail=True).dear


@pytest.mark.skipif(not FOUND.is_dir(), reason=f"the shared pictures are not at {FOUND}")
def test_the_bomb_that_was_found_is_dear(pipeline: ImagePipeline) -> None:
    assert cost_of((FOUND / "bomb-gray1.png").read_bytes(), pipeline, thumbnail=True).dear


@pytest.mark.parametrize("blob", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_what_has_no_header_costs_nothing_yet(pipeline: ImagePipeline, blob: bytes) -> None:
    assert (cost_of(blob, pipeline, thumbnail=True).size, cost_of(blob, pipeline, thumbnail=True).dear) == (0, False)
