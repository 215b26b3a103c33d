"""The parts of an existing entry that a build keeps, and the entries that it does not touch."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.models.build import build_model
from executors.models.manifest import load_manifest
from executors.models.repository import CONFIG_FILE, check_model
from tests.support.models.built_models import DEFAULT, cut_model, visible
from tests.support.models.models import TINY, tiny_config, tiny_model
from tests.support.models.two_towers import TWO_TOWERS, place_files, two_tower_model

MODEL = load_manifest()[DEFAULT]


@pytest.fixture
def model_id(built: Path) -> str:
    return check_model(built, DEFAULT).model_id


def write_own(models_dir: Path, name: str = TINY) -> Path:
    """An entry that a user wrote: a configuration, and a file."""
    entry = models_dir / name
    (entry / "1").mkdir(parents=True)
    (entry / "1" / "model.onnx").write_bytes(tiny_model())
    (entry / CONFIG_FILE).write_text(tiny_config(name))
    return entry


def test_a_rebuild_keeps_what_was_added_to_the_entry(repository: Path, model_id: str) -> None:
    entry = repository / DEFAULT
    file = entry / CONFIG_FILE
    file.write_text(file.read_text() + "instance_group { count: 2 kind: KIND_CPU }\n")
    (entry / "labels.txt").write_text("mine")
    (entry / "notes").mkdir()
    (entry / "notes" / "why.md").write_text("because")
    (entry / "3").mkdir()
    (entry / "3" / "model.plan").write_text("of another backend")
    cut_model(entry)
    told: list[str] = []
    assert build_model(DEFAULT, repository, told.append).model_id == model_id
    assert "KIND_CPU" in file.read_text()
    assert (entry / "labels.txt").read_text() == "mine"
    assert (entry / "notes" / "why.md").read_text() == "because"
    assert (entry / "3" / "model.plan").exists()
    assert any("kept from its config.pbtxt: instance_group" in line for line in told)
    assert not (entry / "config.pbtxt.old").exists()
    cut_model(entry)
    build_model(DEFAULT, repository)
    assert file.read_text().count("instance_group {") == file.read_text().count("count: 2 kind: KIND_GPU") + 3
    assert build_model(DEFAULT, repository).result == "unchanged"


def test_a_rebuild_puts_aside_a_configuration_that_it_can_not_take_over(repository: Path) -> None:
    entry = repository / DEFAULT
    file = entry / CONFIG_FILE
    mine = file.read_text().replace("max_batch_size: 64", "max_batch_size: 256")
    for number, aside in enumerate(("config.pbtxt.old", "config.pbtxt.old-2")):
        file.write_text(f"{mine}# {number}\n")
        cut_model(entry)
        told: list[str] = []
        build_model(DEFAULT, repository, told.append)
        assert (entry / aside).read_text() == f"{mine}# {number}\n"
        assert any("other values of max_batch_size" in line and aside in line for line in told)


def test_what_lies_beside_the_model_file_is_put_aside_and_not_lost(repository: Path, model_id: str) -> None:
    entry = repository / DEFAULT
    (entry / "1" / "notes.txt").write_text("mine")
    assert build_model(DEFAULT, repository).model_id == model_id
    assert sorted(path.name for path in (entry / "1").iterdir()) == ["model.onnx"]
    assert (entry / "old-1" / "notes.txt").read_text() == "mine"
    assert build_model(DEFAULT, repository).result == "unchanged"


def own_entry(entry: Path) -> None:
    shutil.rmtree(entry)
    write_own(entry.parent, name=DEFAULT)


def built_own_entry(entry: Path) -> None:
    own_entry(entry)
    build_model(DEFAULT, entry.parent, manifest={})


def copied_entry(entry: Path) -> None:
    """An entry that a user copied from ours, with another source."""
    text = (entry / CONFIG_FILE).read_text()
    (entry / CONFIG_FILE).write_text(text.replace(MODEL.source, "https://example.org/mine"))


def plain_file(entry: Path) -> None:
    shutil.rmtree(entry)
    entry.write_text("not a folder")


@pytest.mark.parametrize(
    "make",
    [own_entry, built_own_entry, copied_entry, plain_file, lambda entry: (entry / CONFIG_FILE).unlink()],
    ids=["own", "own and built", "copied", "file", "no configuration"],
)
def test_an_entry_that_is_not_ours_is_never_built_over(repository: Path, make: Callable[[Path], object]) -> None:
    entry = repository / DEFAULT
    make(entry)
    before = {path: path.read_bytes() for path in [entry, *entry.rglob("*")] if path.is_file()}
    with pytest.raises(VisualSearchError, match=r"not built from the manifest's model.*remove it, then run") as caught:
        build_model(DEFAULT, repository)
    assert caught.value.code == "model_invalid"
    assert {path: path.read_bytes() for path in [entry, *entry.rglob("*")] if path.is_file()} == before
    assert visible(repository) == [DEFAULT]


def test_an_own_entry_of_a_text_towers_name_is_never_built_over(tmp_path: Path) -> None:
    model = two_tower_model(tmp_path / "files")
    entry = write_own(tmp_path / "models", name=f"{TWO_TOWERS}-text")
    place_files(model, tmp_path / "files", tmp_path / "models")
    with pytest.raises(VisualSearchError, match=f"has '{TWO_TOWERS}-text' already"):
        build_model(TWO_TOWERS, tmp_path / "models", manifest={TWO_TOWERS: model})
    assert (entry / "1" / "model.onnx").read_bytes() == tiny_model()


def test_a_model_is_built_into_an_empty_folder(tmp_path: Path, model_id: str) -> None:
    (tmp_path / DEFAULT).mkdir()
    assert build_model(DEFAULT, tmp_path).model_id == model_id


def test_an_entry_of_the_first_release_is_ours(repository: Path, model_id: str) -> None:
    copied_entry(repository / DEFAULT)
    file = repository / DEFAULT / CONFIG_FILE
    file.write_text(
        file.read_text().replace('"revision" value { string_value: "2"', '"revision" value { string_value: "1"')
    )
    assert build_model(DEFAULT, repository).model_id == model_id
