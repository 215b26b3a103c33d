"""A user's own model becomes an entry, if it matches its configuration."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from executors.errors import VisualSearchError
from executors.models.build import build_model
from executors.models.reference import read_reference
from executors.models.repository import CONFIG_FILE, check_model, load_tower
from executors.models.run_onnx import run_in_process
from executors.models.verify import verify_model
from tests.support.models.built_models import (
    write_own,
)
from tests.support.models.models import TINY, external_model, tiny_config, tiny_model


def test_an_own_model_gets_its_identity_and_its_reference(tmp_path: Path) -> None:
    entry = write_own(tmp_path, config="# mine\n" + tiny_config())
    report = build_model(TINY, tmp_path)
    assert report.result == "built"
    assert check_model(tmp_path, TINY).model_id == report.model_id
    assert (entry / CONFIG_FILE).read_text().startswith("# mine\n")
    assert verify_model(tmp_path, TINY, run_in_process(tmp_path)).ok
    assert build_model(TINY, tmp_path).result == "unchanged"
    (entry / "1" / "model.onnx").write_bytes(tiny_model(seed=9))
    changed = build_model(TINY, tmp_path)
    assert changed.result == "rebuilt"
    assert changed.model_id != report.model_id
    assert (entry / CONFIG_FILE).read_text().count("model_id") == 1
    assert verify_model(tmp_path, TINY, run_in_process(tmp_path)).ok


@pytest.mark.parametrize(
    ("model", "config", "fault"),
    [
        (tiny_model(dimension=4), tiny_config(), r"embedding has the shape \['batch', 4\], expected \['batch', 3\]"),
        (tiny_model(input_name="picture"), tiny_config(), "its inputs are picture, expected image"),
        (tiny_model(side=9), tiny_config(), r"image has the shape \['batch', 9, 9, 3\]"),
        (tiny_model(batch=1), tiny_config(), r"image has the shape \[1, 8, 8, 3\]"),
        (tiny_model(output_name="vector"), tiny_config(), "its outputs are vector, expected embedding"),
        (b"no model", tiny_config(), "ONNX Runtime can't load it"),
        (tiny_model(), tiny_config(fit='"stretch"'), "fit is 'stretch'"),
    ],
    ids=["dimension", "input", "side", "batch", "output", "garbage", "configuration"],
)
def test_an_own_model_that_does_not_fit_gets_no_identity(tmp_path: Path, model: bytes, config: str, fault: str) -> None:
    entry = write_own(tmp_path, model, config)
    with pytest.raises(VisualSearchError, match=fault) as caught:
        build_model(TINY, tmp_path)
    assert caught.value.code == "model_invalid"
    assert (entry / CONFIG_FILE).read_text() == config
    assert not (entry / "reference.npz").exists()


def with_step(operator: str, constants: dict[str, NDArray[Any]], **attributes: Any) -> bytes:
    """The tiny model with one more step behind its last one."""
    model = onnx.load_from_string(tiny_model(output_name="before"))
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    model.graph.node.append(helper.make_node(operator, ["before", *constants], ["embedding"], **attributes))
    model.graph.output[0].name = "embedding"
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        (with_step("MeanVarianceNormalization", {}, axes=[0]), "a vector depends on the rest of the batch"),
        (with_step("Reshape", {"shape": np.array([1, 3])}), r"embedding has the shape \[1, 3\]"),
        (with_step("Mul", {"zero": np.zeros(1, np.float32)}), "not finite, or are zero"),
        (with_step("Sub", {"much": np.full(1, np.inf, np.float32)}), "not finite"),
    ],
    ids=["mixes the batch", "batch of one inside", "zero", "not a number"],
)
def test_an_own_model_that_runs_wrongly_gets_no_identity(tmp_path: Path, model: bytes, fault: str) -> None:
    entry = write_own(tmp_path, model)
    with pytest.raises(VisualSearchError, match=fault) as caught:
        build_model(TINY, tmp_path)
    assert caught.value.code == "model_invalid"
    assert "model_id" not in (entry / CONFIG_FILE).read_text()


def test_an_own_model_without_its_file_is_missing(tmp_path: Path) -> None:
    entry = write_own(tmp_path)
    shutil.rmtree(entry / "1")
    with pytest.raises(VisualSearchError, match=r"1/model\.onnx") as caught:
        build_model(TINY, tmp_path)
    assert caught.value.code == "model_missing"


def test_a_damaged_file_is_told_with_the_runtimes_own_reason(tmp_path: Path) -> None:
    write_own(tmp_path, b"garbage" * 100)
    with pytest.raises(VisualSearchError, match=r"Load model from model\.onnx failed") as caught:
        build_model(TINY, tmp_path)
    assert str(tmp_path) not in caught.value.message
    assert "/" not in caught.value.message


def test_replaced_weights_beside_the_model_file_make_another_model(tmp_path: Path) -> None:
    entry = write_own(tmp_path)
    external_model(entry / "1")
    first = build_model(TINY, tmp_path)
    assert first.bytes == sum(path.stat().st_size for path in (entry / "1").iterdir())
    external_model(entry / "1", seed=3)
    with pytest.raises(VisualSearchError, match="does not fit its configuration"):
        check_model(tmp_path, TINY)
    second = build_model(TINY, tmp_path)
    assert (second.result, second.model_id == first.model_id) == ("rebuilt", False)
    assert verify_model(tmp_path, TINY, run_in_process(tmp_path)).ok


def test_a_reference_of_other_weights_does_not_stay(tmp_path: Path) -> None:
    entry = write_own(tmp_path)
    build_model(TINY, tmp_path)
    (entry / "1" / "model.onnx").write_bytes(tiny_model(seed=9))
    before = (entry / "reference.npz").read_bytes()
    build_model(TINY, tmp_path)
    assert (entry / "reference.npz").read_bytes() != before
    assert read_reference(tmp_path, load_tower(tmp_path, TINY)) is not None
