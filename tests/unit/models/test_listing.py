from __future__ import annotations

from pathlib import Path

import pytest

from executors.models.build import build_model
from executors.models.listing import list_models
from executors.models.manifest import load_manifest
from executors.models.repository import CONFIG_FILE, load_tower, model_path
from tests.support.models.models import TINY, tiny_model, write_entry
from tests.support.models.two_towers import TWO_TOWERS, two_tower_model, write_two_towers

NAME = "efficientnet-lite0"


def test_the_list_shows_what_can_be_built_and_what_is_there(tmp_path: Path) -> None:
    missing = {model.name: model for model in list_models(tmp_path / "nowhere")}
    assert set(missing) == set(load_manifest())
    default = missing[NAME]
    assert (default.state, default.dimension, default.licence, default.run_here) == (
        "missing",
        1280,
        "Apache-2.0",
        True,
    )
    assert missing["clip-vit-b32"].run_here is False
    assert missing["clip-vit-b32"].towers == "image + text"
    build_model(NAME, tmp_path)
    write_entry(tmp_path, tiny_model())
    write_entry(tmp_path, tiny_model(), name="broken")
    model_path(tmp_path, "broken").unlink()
    write_entry(tmp_path, tiny_model(), name="garbage")
    (tmp_path / "garbage" / CONFIG_FILE).write_text("{")
    listed = {model.name: model for model in list_models(tmp_path)}
    states = {name: listed[name].state for name in (NAME, TINY, "broken", "garbage", "clip-vit-b32")}
    assert states == {
        NAME: "ready",
        TINY: "ready",
        "broken": "invalid",
        "garbage": "invalid",
        "clip-vit-b32": "missing",
    }
    assert listed[NAME].input == "224 x 224 x 3 uint8"
    assert listed[TINY].licence is None
    assert listed[TINY].run_here is None


def test_both_towers_are_listed(tmp_path: Path) -> None:
    towers = write_two_towers(tmp_path / "models")
    manifest = {TWO_TOWERS: two_tower_model(tmp_path / "files")}
    image, text = list_models(tmp_path / "models", manifest)
    assert (image.name, image.towers, image.model_id, image.versions) == (
        TWO_TOWERS,
        "image + text",
        towers.image.model_id,
        (1,),
    )
    assert (text.name, text.towers, text.input, text.licence) == (
        f"{TWO_TOWERS}-text",
        "text",
        "16 int32",
        "Apache-2.0",
    )


@pytest.mark.parametrize("damage", [CONFIG_FILE, "1/model.onnx"])
def test_a_model_whose_text_tower_is_broken_is_not_ready(tmp_path: Path, damage: str) -> None:
    write_two_towers(tmp_path)
    (tmp_path / f"{TWO_TOWERS}-text" / damage).unlink()
    listed = {model.name: model for model in list_models(tmp_path, {})}
    assert listed[TWO_TOWERS].state == "invalid"
    assert f"{TWO_TOWERS}-text" in listed[TWO_TOWERS].detail


def test_a_model_whose_version_1_was_removed_is_ready_in_its_lowest(tmp_path: Path) -> None:
    write_entry(tmp_path, tiny_model())
    (tmp_path / TINY / "1").rename(tmp_path / TINY / "2")
    build_model(TINY, tmp_path)
    listed = {model.name: model for model in list_models(tmp_path, {})}[TINY]
    assert (listed.state, listed.versions) == ("ready", (2,))
    assert listed.model_id == load_tower(tmp_path, f"{TINY}:2").model_id
    assert "tiny:2" in listed.detail


def test_a_folder_with_a_model_but_no_configuration_is_listed_with_what_is_wrong(tmp_path: Path) -> None:
    write_entry(tmp_path, tiny_model())
    (tmp_path / TINY / CONFIG_FILE).unlink()
    (listed,) = list_models(tmp_path, {})
    assert (listed.name, listed.state) == (TINY, "invalid")
    assert "has no config.pbtxt" in listed.detail
