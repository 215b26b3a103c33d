"""An image and a text model that belong to each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.models.build import build_model
from executors.models.repository import load_towers, model_path, tokenizer_path
from executors.models.run_onnx import run_in_process
from executors.models.verify import verify_model
from tests.support.models.built_models import (
    visible,
    write_own,
)
from tests.support.models.models import TINY, tiny_config, tiny_model
from tests.support.models.two_towers import TWO_TOWERS, place_files, two_tower_model, write_two_towers


def test_two_towers_are_built_and_bound_to_each_other(tmp_path: Path) -> None:
    towers = write_two_towers(tmp_path / "models")
    assert visible(tmp_path / "models") == [TWO_TOWERS, f"{TWO_TOWERS}-text"]
    assert towers.text is not None
    assert towers.image.text_model == towers.text.name == f"{TWO_TOWERS}-text"
    assert verify_model(tmp_path / "models", TWO_TOWERS, run_in_process(tmp_path / "models")).ok


def test_two_towers_are_built_once_and_again_when_one_is_damaged(tmp_path: Path) -> None:
    model = two_tower_model(tmp_path / "files")
    models_dir = tmp_path / "models"
    place_files(model, tmp_path / "files", models_dir)
    manifest = {TWO_TOWERS: model}
    first = build_model(TWO_TOWERS, models_dir, manifest=manifest)
    assert (first.result, build_model(TWO_TOWERS, models_dir, manifest=manifest).result) == ("built", "unchanged")
    text = load_towers(models_dir, TWO_TOWERS).text
    assert text is not None
    tokenizer = tokenizer_path(models_dir, text)
    tokenizer.write_text(tokenizer.read_text("utf-8").replace("Lowercase", "Lowercase "), "utf-8")
    again = build_model(TWO_TOWERS, models_dir, manifest=manifest)
    assert (again.result, again.model_id) == ("rebuilt", first.model_id)
    assert load_towers(models_dir, TWO_TOWERS).text == text


def test_an_own_text_tower_is_bound_to_its_image_model(tmp_path: Path) -> None:
    towers = write_two_towers(tmp_path)
    assert towers.text is not None
    config = tiny_config("mine", side=towers.image.height, dimension=towers.image.dimension)
    config += f'parameters {{ key: "text_model" value {{ string_value: "{towers.text.name}" }} }}\n'
    image = tiny_model(side=towers.image.height, dimension=towers.image.dimension)
    write_own(tmp_path, image, config, "mine")
    assert build_model("mine", tmp_path).result == "built"
    assert load_towers(tmp_path, "mine").text == towers.text
    # The text tower is changed; the image model has to notice, and to be bound again.
    file = model_path(tmp_path, towers.text.name)
    other = write_two_towers(tmp_path / "other", seed=3)
    assert other.text is not None
    file.write_bytes(model_path(tmp_path / "other", other.text.name).read_bytes())
    build_model(towers.text.name, tmp_path)
    with pytest.raises(VisualSearchError, match=r"does not belong to the model 'mine'.*models build mine") as caught:
        load_towers(tmp_path, "mine")
    assert caught.value.code == "model_invalid"
    build_model("mine", tmp_path)
    bound = load_towers(tmp_path, "mine").text
    assert bound is not None
    assert bound.model_id != towers.text.model_id


def test_a_text_tower_of_another_dimension_is_refused(tmp_path: Path) -> None:
    towers = write_two_towers(tmp_path)
    assert towers.text is not None
    config = tiny_config() + f'parameters {{ key: "text_model" value {{ string_value: "{towers.text.name}" }} }}\n'
    write_own(tmp_path, None, config)
    with pytest.raises(VisualSearchError, match="vectors have 8 numbers, expected 3") as caught:
        build_model(TINY, tmp_path)
    assert caught.value.code == "model_invalid"
