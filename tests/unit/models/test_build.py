from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.models.build import build_model, list_models
from executors.models.catalogue import CATALOGUE
from executors.models.pbtxt import parameters_from_pbtxt
from executors.models.repository import CONFIG_FILE, check_model, model_path
from tests.support.models import tiny_model, write_entry

NAME = "efficientnet-lite0"
# Vectors of an index are bound to it. A change here needs a higher `revision` in the model's config.pbtxt, and a word in
# the release notes: every index that was made before refuses the new model.
MODEL_ID = "efficientnet-lite0@ed7cae0d016a9a79"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that this very code built; the one that other tests share may be older."""
    folder = tmp_path_factory.mktemp("built")
    build_model(NAME, folder)
    return folder


@pytest.fixture
def repository(built: Path, tmp_path: Path) -> Path:
    """A repository of one's own with the default model in it."""
    shutil.copytree(built / NAME, tmp_path / "models" / NAME)
    return tmp_path / "models"


def run_python(program: str, folder: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, str(folder)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_a_build_makes_a_triton_repository_entry(tmp_path: Path) -> None:
    told: list[str] = []
    report = build_model(NAME, tmp_path / "new" / "models", told.append)
    entry = tmp_path / "new" / "models" / NAME
    assert sorted(str(path.relative_to(entry)) for path in entry.rglob("*")) == ["1", "1/model.onnx", CONFIG_FILE]
    assert (report.result, report.reason, report.bytes) == ("built", "", (entry / "1" / "model.onnx").stat().st_size)
    text = (entry / CONFIG_FILE).read_text()
    assert text.startswith(CATALOGUE[NAME].config.rstrip())
    assert parameters_from_pbtxt(text, NAME)["model_id"] == report.model_id
    assert check_model(entry.parent, NAME).model_id == report.model_id
    assert visible(entry.parent) == [NAME]
    assert any("converting" in line for line in told)


def test_the_default_models_id_never_changes_unnoticed(built: Path) -> None:
    assert check_model(built, NAME).model_id == MODEL_ID


def test_an_entry_that_is_up_to_date_is_left_alone(repository: Path) -> None:
    before = {path: path.stat() for path in (repository / NAME).rglob("*")}
    report = build_model(NAME, repository)
    assert report.result == "unchanged"
    assert report.model_id == MODEL_ID
    assert {path: path.stat().st_ino for path in before} == {path: stat.st_ino for path, stat in before.items()}
    assert list(repository.iterdir()) == [repository / NAME], "nothing is written, so a read-only repository will do"


def cut_model(entry: Path) -> None:
    with (entry / "1" / "model.onnx").open("r+b") as file:
        file.truncate(1_000_000)


def older_revision(entry: Path) -> None:
    text = (entry / CONFIG_FILE).read_text()
    (entry / CONFIG_FILE).write_text(
        text.replace('"revision" value { string_value: "1"', '"revision" value { string_value: "0"')
    )


def other_preprocessing(entry: Path) -> None:
    """A configuration and a digest that fit each other, but not the catalogue."""
    config = CATALOGUE[NAME].config.replace('"0.875"', '"0.5"')
    write_entry(entry.parent, (entry / "1" / "model.onnx").read_bytes(), config, NAME)


def renamed_input(entry: Path) -> None:
    text = (entry / CONFIG_FILE).read_text()
    (entry / CONFIG_FILE).write_text(text.replace('name: "image"', 'name: "picture"'))


def plain_file(entry: Path) -> None:
    shutil.rmtree(entry)
    entry.write_text("not a folder")


@pytest.mark.parametrize(
    "damage",
    [
        cut_model,
        older_revision,
        other_preprocessing,
        renamed_input,
        plain_file,
        lambda entry: (entry / "1" / "model.onnx").unlink(),
        lambda entry: (entry / CONFIG_FILE).unlink(),
        lambda entry: (entry / CONFIG_FILE).write_text("garbage {"),
        lambda entry: (entry / CONFIG_FILE).write_text(CATALOGUE[NAME].config),
    ],
    ids=["cut", "older", "other", "renamed", "file", "no model", "no config", "garbage", "not finished"],
)
def test_a_damaged_or_outdated_entry_is_built_anew(repository: Path, damage: Callable[[Path], object]) -> None:
    damage(repository / NAME)
    report = build_model(NAME, repository)
    assert report.result == "rebuilt"
    assert report.reason
    assert check_model(repository, NAME).model_id == MODEL_ID
    assert (repository / NAME / CONFIG_FILE).read_text().startswith(CATALOGUE[NAME].config.rstrip())
    assert visible(repository) == [NAME]
    assert build_model(NAME, repository).result == "unchanged"


def test_tuning_by_hand_is_kept(repository: Path) -> None:
    file = repository / NAME / CONFIG_FILE
    text = file.read_text().replace("max_batch_size: 64", "max_batch_size: 256")
    file.write_text(text + "instance_group { count: 2 kind: KIND_GPU gpus: [ 0, 1 ] }\n")
    assert build_model(NAME, repository).result == "unchanged"
    assert "KIND_GPU" in file.read_text()


def test_processes_that_build_at_once_do_not_harm_each_other(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from executors.models.build import build_model;"
        f"print(build_model({NAME!r}, Path(sys.argv[1])).result)"
    )
    builders = [run_python(program, tmp_path) for _ in range(3)]
    results = sorted(builder.communicate(timeout=60)[0].strip() for builder in builders)
    assert results == ["built", "unchanged", "unchanged"]
    assert check_model(tmp_path, NAME).model_id == MODEL_ID
    assert visible(tmp_path) == [NAME]


def test_a_builder_killed_half_way_leaves_nothing_that_hurts(tmp_path: Path) -> None:
    program = (
        "import os, shutil, signal, sys; from pathlib import Path; from executors.models import build;"
        "build.with_parameter = lambda *_: os.kill(os.getpid(), signal.SIGKILL);"
        f"build.build_model({NAME!r}, Path(sys.argv[1]))"
    )
    builder = run_python(program, tmp_path)
    builder.communicate(timeout=60)
    assert builder.returncode == -9
    leftovers = visible(tmp_path)
    assert len(leftovers) == 1
    assert leftovers[0].startswith(".")
    assert [model.name for model in list_models(tmp_path)] == [NAME]
    assert build_model(NAME, tmp_path).result == "built"
    assert visible(tmp_path) == [NAME]


def test_an_unknown_model_is_told_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(VisualSearchError, match=NAME) as caught:
        build_model("resnet", tmp_path)
    assert caught.value.code == "model_missing"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"weights_sha256": "0" * 64}, "model_invalid"),
        ({"weights_file": "no/such.pth"}, "model_missing"),
        ({"package": "no-such-distribution"}, "model_missing"),
    ],
    ids=["damaged", "incomplete", "not installed"],
)
def test_an_entry_survives_weights_that_can_not_be_used(
    repository: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, str], code: str
) -> None:
    older_revision(repository / NAME)
    monkeypatch.setitem(CATALOGUE, NAME, replace(CATALOGUE[NAME], **change))
    with pytest.raises(VisualSearchError) as caught:
        build_model(NAME, repository)
    assert caught.value.code == code
    assert check_model(repository, NAME).model_id == MODEL_ID
    assert visible(repository) == [NAME]


def test_a_repository_that_can_not_be_written_is_an_error_of_storage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VisualSearchError) as caught:
        build_model(NAME, tmp_path / "file" / "models")
    assert caught.value.code == "storage_unavailable"
    assert str(tmp_path) not in caught.value.message


def test_the_list_shows_what_can_be_built_and_what_is_there(repository: Path, tmp_path: Path) -> None:
    (missing,) = list_models(tmp_path / "nowhere")
    assert (missing.name, missing.state, missing.dimension, missing.licence) == (NAME, "missing", 1280, "Apache-2.0")
    write_entry(repository, tiny_model())
    write_entry(repository, tiny_model(), name="broken")
    model_path(repository, "broken").unlink()
    listed = {model.name: model for model in list_models(repository)}
    assert {name: model.state for name, model in listed.items()} == {
        NAME: "ready",
        "tiny": "ready",
        "broken": "invalid",
    }
    assert listed[NAME].model_id == MODEL_ID
    assert listed["tiny"].licence is None
