"""The default model becomes an entry of a Triton repository, and stays intact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.models.build import build_model
from executors.models.convert.converters import declared_config, stored_reference
from executors.models.manifest import load_manifest
from executors.models.pbtxt import parameters_from_pbtxt
from executors.models.repository import CONFIG_FILE, check_model
from executors.models.run_onnx import run_in_process
from executors.models.verify import verify_model
from tests.support.models.built_models import (
    DEFAULT,
    MODEL_ID,
    cut_model,
    older_revision,
    visible,
)
from tests.support.models.models import write_entry

MODEL = load_manifest()[DEFAULT]
CONFIG = declared_config(MODEL, DEFAULT)


def test_a_build_makes_a_triton_repository_entry(tmp_path: Path) -> None:
    told: list[str] = []
    report = build_model(DEFAULT, tmp_path / "new" / "models", told.append)
    entry = tmp_path / "new" / "models" / DEFAULT
    files = sorted(str(path.relative_to(entry)) for path in entry.rglob("*"))
    assert files == ["1", "1/model.onnx", CONFIG_FILE, "reference.npz"]
    assert (report.result, report.reason, report.bytes) == ("built", "", (entry / "1" / "model.onnx").stat().st_size)
    text = (entry / CONFIG_FILE).read_text()
    assert text.startswith(CONFIG.rstrip())
    assert parameters_from_pbtxt(text, DEFAULT)["model_id"] == report.model_id
    assert check_model(entry.parent, DEFAULT).model_id == report.model_id
    assert visible(entry.parent) == [DEFAULT]
    assert any("converting" in line for line in told)


def test_the_default_models_id_never_changes_unnoticed(built: Path) -> None:
    assert check_model(built, DEFAULT).model_id == MODEL_ID


def test_an_entry_that_is_up_to_date_is_left_alone(repository: Path) -> None:
    before = {path: path.stat() for path in (repository / DEFAULT).rglob("*")}
    report = build_model(DEFAULT, repository)
    assert report.result == "unchanged"
    assert report.model_id == MODEL_ID
    assert {path: path.stat().st_ino for path in before} == {path: stat.st_ino for path, stat in before.items()}
    assert list(repository.iterdir()) == [repository / DEFAULT], "nothing is written, so a read-only repository will do"


def other_preprocessing(entry: Path) -> None:
    """A configuration and a digest that fit each other, but not the manifest."""
    config = CONFIG.replace('"0.875"', '"0.5"')
    write_entry(entry.parent, (entry / "1" / "model.onnx").read_bytes(), config, DEFAULT)


def renamed_input(entry: Path) -> None:
    text = (entry / CONFIG_FILE).read_text()
    (entry / CONFIG_FILE).write_text(text.replace('name: "image"', 'name: "picture"'))


@pytest.mark.parametrize(
    "damage",
    [
        cut_model,
        older_revision,
        other_preprocessing,
        renamed_input,
        lambda entry: (entry / "1" / "model.onnx").unlink(),
        lambda entry: (entry / CONFIG_FILE).write_text((entry / CONFIG_FILE).read_text() + "garbage {"),
        lambda entry: (entry / CONFIG_FILE).write_text(CONFIG),
        lambda entry: (entry / "reference.npz").unlink(),
        lambda entry: (entry / "reference.npz").write_bytes(b"PK garbage"),
    ],
    ids=[
        *("cut", "older", "other", "renamed", "no model", "garbage", "not finished"),
        *("no reference", "damaged reference"),
    ],
)
def test_a_damaged_or_outdated_entry_is_built_anew(repository: Path, damage: Callable[[Path], object]) -> None:
    damage(repository / DEFAULT)
    report = build_model(DEFAULT, repository)
    assert report.result == "rebuilt"
    assert report.reason
    assert check_model(repository, DEFAULT).model_id == MODEL_ID
    assert (repository / DEFAULT / CONFIG_FILE).read_text().startswith(CONFIG.rstrip())
    assert visible(repository) == [DEFAULT]
    assert build_model(DEFAULT, repository).result == "unchanged"


def test_tuning_by_hand_is_kept(repository: Path) -> None:
    file = repository / DEFAULT / CONFIG_FILE
    text = file.read_text().replace("max_batch_size: 64", "max_batch_size: 256")
    file.write_text(text + "instance_group { count: 2 kind: KIND_GPU gpus: [ 0, 1 ] }\n")
    assert build_model(DEFAULT, repository).result == "unchanged"
    assert "KIND_GPU" in file.read_text()


def test_an_unknown_model_is_told_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(VisualSearchError, match=DEFAULT) as caught:
        build_model("resnet", tmp_path)
    assert caught.value.code == "model_missing"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"checksum": f"sha256:{'0' * 64}"}, "model_invalid"),
        ({"package_path": "no/such.pth"}, "model_missing"),
        ({"package": "no-such-distribution"}, "model_missing"),
    ],
    ids=["damaged", "incomplete", "not installed"],
)
def test_an_entry_survives_weights_that_can_not_be_used(repository: Path, change: dict[str, str], code: str) -> None:
    older_revision(repository / DEFAULT)
    weights = MODEL.files["weights"].model_copy(update=change)
    manifest = {DEFAULT: MODEL.model_copy(update={"files": {"weights": weights}})}
    with pytest.raises(VisualSearchError) as caught:
        build_model(DEFAULT, repository, manifest=manifest)
    assert caught.value.code == code
    assert check_model(repository, DEFAULT).model_id == MODEL_ID
    assert visible(repository) == [DEFAULT]


def test_a_manifest_that_is_not_true_of_the_network_is_refused(tmp_path: Path) -> None:
    manifest = {DEFAULT: MODEL.model_copy(update={"mean": (128.0, 127.0, 127.0), "height": 256})}
    with pytest.raises(VisualSearchError, match="height is 256; mean is") as caught:
        build_model(DEFAULT, tmp_path, manifest=manifest)
    assert caught.value.code == "model_invalid"
    assert visible(tmp_path) == []


def test_a_repository_that_can_not_be_written_is_an_error_of_storage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VisualSearchError) as caught:
        build_model(DEFAULT, tmp_path / "file" / "models")
    assert caught.value.code == "storage_unavailable"
    assert str(tmp_path) not in caught.value.message


def test_the_default_models_reference_is_what_it_computes(built: Path) -> None:
    """The stored file, which comes with the package, was made by this very model."""
    report = verify_model(built, DEFAULT, run_in_process(built))
    assert report.ok, report
    assert report.towers[0].least_cosine == pytest.approx(1, abs=1e-5)
    stored = stored_reference(DEFAULT)
    assert stored is not None
    assert len(stored) < 50_000
    assert (built / DEFAULT / "reference.npz").read_bytes() == stored
