from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from executors.errors import VisualSearchError
from executors.models.convert.converters import declared_tower
from executors.models.convert.efficientnet_lite import IR_VERSION, OPSET, build_graph, same_padding
from executors.models.convert.weights import read_checkpoint
from executors.models.fetch.sources import local_file
from executors.models.manifest import load_manifest
from executors.models.spec import ModelSpec
from executors.preprocess.header import ImageLimits
from executors.preprocess.pipeline import ImagePipeline
from tests.support.pictures.pictures import scene

NAME = "efficientnet-lite0"
MODEL = load_manifest()[NAME]


@pytest.fixture(scope="module")
def weights() -> Mapping[str, NDArray[Any]]:
    return read_checkpoint(local_file(MODEL.files["weights"], Path("nowhere")))


@pytest.fixture(scope="module")
def classifier(weights: Mapping[str, NDArray[Any]]) -> onnxruntime.InferenceSession:
    model = build_graph(weights, classifier=True)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def prepared(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture as the project's own preprocessing fits it to the model, sent as a lossless file."""
    colour = np.dstack([picture] * 3) if picture.ndim == 2 else picture
    blob = cv2.imencode(".png", colour[:, :, ::-1])[1].tobytes()
    spec = declared_tower(MODEL, NAME)
    assert isinstance(spec, ModelSpec)
    pipeline = ImagePipeline(spec, ImageLimits(20_000_000, 50_000_000, 16_384), thumbnails=False)
    return pipeline.prepare(blob).tensor


@pytest.mark.parametrize(
    ("picture", "expected_class", "probability"),
    [("coffee", 967, 0.956), ("camera", 872, 0.957), ("chelsea", 282, 0.39), ("rocket", 657, 0.37)],
    ids=["espresso", "tripod", "tiger cat", "missile"],
)
def test_the_converted_classifier_recognises_known_pictures(
    classifier: onnxruntime.InferenceSession, picture: str, expected_class: int, probability: float
) -> None:
    data = pytest.importorskip("skimage.data", reason="scikit-image has the pictures")
    (answer,) = classifier.run(["probabilities"], {"image": prepared(getattr(data, picture)())[None]})[0]
    assert answer.argmax() == expected_class
    assert answer[expected_class] == pytest.approx(probability, abs=0.03)
    assert answer.sum() == pytest.approx(1, abs=1e-5)


def test_the_classifier_changes_nothing_about_the_embedding(
    classifier: onnxruntime.InferenceSession, weights: Mapping[str, NDArray[Any]]
) -> None:
    plain = onnxruntime.InferenceSession(build_graph(weights).SerializeToString(), providers=["CPUExecutionProvider"])
    pictures = np.stack([scene(seed, 224, 224) for seed in range(2)])
    (alone,), (beside,) = (each.run(["embedding"], {"image": pictures}) for each in (plain, classifier))
    assert alone.shape == (2, 1280)
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(alone, beside, atol=1e-6)


def test_two_processes_make_the_same_bytes(weights: Mapping[str, NDArray[Any]]) -> None:
    program = (
        "import hashlib; from pathlib import Path; from executors.models import manifest;"
        "from executors.models.convert import converters; from executors.models.fetch import sources;"
        "model = manifest.load_manifest()['efficientnet-lite0'];"
        "weights = sources.local_file(model.files['weights'], Path('nowhere'));"
        "(draft,) = converters.convert(model, {'weights': weights});"
        "print(hashlib.sha256(draft.model).hexdigest())"
    )
    root = Path(__file__).resolve().parents[4]
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONHASHSEED": "7"}
    other = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    here = build_graph(weights).SerializeToString(deterministic=True)
    assert other.stdout.strip() == hashlib.sha256(here).hexdigest()


def test_the_model_is_old_enough_for_the_servers_that_run_it(weights: Mapping[str, NDArray[Any]]) -> None:
    model = build_graph(weights)
    assert (model.ir_version, [(each.domain, each.version) for each in model.opset_import]) == (8, [("", 17)])
    assert (IR_VERSION, OPSET) == (8, 17)


@pytest.mark.parametrize("damage", ["missing", "shape", "nan"])
def test_weights_that_do_not_fit_are_named(weights: Mapping[str, NDArray[Any]], damage: str) -> None:
    name = "_blocks.3._project_conv.weight"
    damaged = dict(weights)
    if damage == "missing":
        del damaged[name]
    elif damage == "shape":
        damaged[name] = damaged[name][:-1]
    else:
        damaged[name] = np.full_like(damaged[name], np.nan)
    with pytest.raises(VisualSearchError, match=name) as caught:
        build_graph(damaged)
    assert caught.value.code == "model_invalid"


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "expected"),
    [(224, 3, 2, (0, 1)), (112, 5, 2, (1, 2)), (7, 5, 1, (2, 2)), (7, 3, 2, (1, 1)), (8, 1, 1, (0, 0))],
)
def test_padding_is_tensorflows(side: int, kernel: int, stride: int, expected: tuple[int, int]) -> None:
    assert same_padding(side, kernel, stride) == expected
