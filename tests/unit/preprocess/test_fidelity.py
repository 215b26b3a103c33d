"""Shortcuts in decoding must not change the model's vectors noticeably."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
import skimage.data
from numpy.typing import NDArray

from executors.models.repository import load_spec, model_path
from executors.models.spec import ModelSpec
from executors.preprocess import pipeline as pipeline_module
from executors.preprocess.decode import configure_opencv, reduction
from executors.preprocess.header import ImageLimits, read_header
from executors.preprocess.pipeline import ImagePipeline
from tests.support.pictures.image_files import pillow

LEAST_COSINE = 0.99
MODEL = "efficientnet-lite0"
PHOTOS = Path(__file__).resolve().parents[4] / "shared" / "data" / "photos"
LIMITS = ImageLimits(max_bytes=20_000_000, max_pixels=50_000_000, max_side=16_384)
SCIKIT_PICTURES = (
    "astronaut",
    "chelsea",
    "coffee",
    "rocket",
    "retina",
    "immunohistochemistry",
    "camera",
    "coins",
    "page",
)


class Model:
    """The default model, fed by the pipeline."""

    def __init__(self, models_dir: Path) -> None:
        configure_opencv()
        self.spec: ModelSpec = load_spec(models_dir, MODEL)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        self._session = onnxruntime.InferenceSession(str(model_path(models_dir, MODEL)), options)
        self._pipeline = ImagePipeline(self.spec, LIMITS, thumbnails=True)

    def cosine_to_full_decoding(self, jpeg: bytes, monkeypatch: pytest.MonkeyPatch) -> float:
        """The cosine of a JPEG's vector, reduced as it may be, to its vector when decoded whole."""
        header = read_header(jpeg)
        needed = self._pipeline.needed_size(*header.upright_size, thumbnail=True)
        assert reduction(header, needed) > 1, "nothing was reduced, nothing is compared"
        reduced = self._pipeline.prepare(jpeg).tensor
        with monkeypatch.context() as patch:
            patch.setattr(pipeline_module, "OVERSAMPLING", 1e6)
            full = self._pipeline.prepare(jpeg).tensor
        assert not np.array_equal(reduced, full)
        inputs = {self.spec.input_name: np.stack([reduced, full])}
        one, other = self._session.run([self.spec.output_name], inputs)[0]
        return float(np.dot(one, other) / np.linalg.norm(one) / np.linalg.norm(other))

    def enlarged(self, pixels: NDArray[np.uint8], margin: float) -> bytes:
        """A JPEG that is just (`margin` 1) large enough to be halved."""
        shorter = 2 * margin * pipeline_module.OVERSAMPLING * self.spec.height / self.spec.crop_fraction
        scale = (shorter + 2) / min(pixels.shape[:2])
        size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
        method = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
        return pillow(cv2.resize(pixels, size, interpolation=method), "JPEG", quality=90)


@pytest.fixture(scope="module")
def model(models_dir: Path) -> Model:
    return Model(models_dir)


@pytest.mark.parametrize("name", SCIKIT_PICTURES)
def test_a_reduced_picture_has_the_vector_of_the_full_one(
    name: str, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = getattr(skimage.data, name)()
    if pixels.ndim == 2:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    assert model.cosine_to_full_decoding(model.enlarged(pixels, 1.0), monkeypatch) >= LEAST_COSINE


def _photo_cosines(model: Model, monkeypatch: pytest.MonkeyPatch, step: int, margins: tuple[float, ...]) -> list[float]:
    if not PHOTOS.is_dir():
        pytest.skip("no photos beside the repository")
    cosines = []
    for path in sorted(PHOTOS.iterdir())[::step]:
        read: Any = cv2.imread(str(path))
        pixels = read[:, :, ::-1].copy()
        for margin in margins:
            # A very long picture would exceed the limits when enlarged.
            if max(pixels.shape[:2]) < 2.5 * min(pixels.shape[:2]):
                cosines.append(model.cosine_to_full_decoding(model.enlarged(pixels, margin), monkeypatch))
    return cosines


def test_reduced_photos_have_the_vectors_of_the_full_ones(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    cosines = _photo_cosines(model, monkeypatch, step=12, margins=(1.0,))
    assert len(cosines) >= 15
    assert min(cosines) >= LEAST_COSINE


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_all_reduced_photos_have_the_vectors_of_the_full_ones(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    cosines = _photo_cosines(model, monkeypatch, step=1, margins=(1.0, 1.13))
    assert len(cosines) >= 400
    assert min(cosines) >= LEAST_COSINE
