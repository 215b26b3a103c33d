from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.models.repository import CONFIG_FILE, check_model, load_spec, model_id_of, model_path
from tests.support.models import TINY, tiny_config, tiny_model, write_entry


def test_the_default_models_spec_is_read_from_its_configuration(models_dir: Path) -> None:
    spec = load_spec(models_dir, "efficientnet-lite0")
    assert (spec.height, spec.width, spec.dimension, spec.max_batch_size) == (224, 224, 1280, 64)
    assert (spec.fit, spec.crop_fraction, spec.input_name, spec.output_name) == (
        "centre_crop",
        0.875,
        "image",
        "embedding",
    )
    assert check_model(models_dir, "efficientnet-lite0") == spec


@pytest.mark.parametrize("name", ["absent", "../absent", "a/b", "", ".hidden"])
def test_a_missing_model_is_told_with_the_command_that_makes_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(VisualSearchError) as caught:
        load_spec(tmp_path / "a", name)
    assert caught.value.code == "model_missing"
    if name == "absent":
        assert caught.value.details["command"] == "visual-search models build absent"
        assert caught.value.details["command"] in caught.value.message
    assert str(tmp_path) not in caught.value.message


def test_a_name_never_leads_out_of_the_repository(tmp_path: Path) -> None:
    write_entry(tmp_path / "outside", tiny_model())
    (tmp_path / "models").mkdir()
    with pytest.raises(VisualSearchError) as caught:
        load_spec(tmp_path / "models", f"../outside/{TINY}")
    assert caught.value.code == "model_missing"


def test_a_model_without_its_file_is_missing(tmp_path: Path) -> None:
    write_entry(tmp_path, tiny_model())
    model_path(tmp_path, TINY).unlink()
    assert load_spec(tmp_path, TINY).dimension == 3
    with pytest.raises(VisualSearchError, match="no model file") as caught:
        check_model(tmp_path, TINY)
    assert caught.value.code == "model_missing"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"{{{"], ids=["not text", "empty", "not a configuration"])
def test_an_unreadable_configuration_is_invalid(tmp_path: Path, content: bytes) -> None:
    write_entry(tmp_path, tiny_model())
    (tmp_path / TINY / CONFIG_FILE).write_bytes(content)
    with pytest.raises(VisualSearchError) as caught:
        load_spec(tmp_path, TINY)
    assert caught.value.code == "model_invalid"


def test_a_configuration_that_was_not_built_is_invalid(tmp_path: Path) -> None:
    write_entry(tmp_path, tiny_model())
    (tmp_path / TINY / CONFIG_FILE).write_text(tiny_config())
    with pytest.raises(VisualSearchError, match="no parameter model_id") as caught:
        load_spec(tmp_path, TINY)
    assert caught.value.code == "model_invalid"


def test_one_changed_byte_of_the_model_is_noticed(tmp_path: Path) -> None:
    spec = write_entry(tmp_path, tiny_model())
    file = model_path(tmp_path, TINY)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(VisualSearchError) as caught:
        check_model(tmp_path, TINY)
    assert caught.value.code == "model_invalid"
    assert caught.value.details["expected"] == spec.model_id != caught.value.details["actual"]


def test_whatever_changes_the_vectors_changes_the_model_id(tmp_path: Path) -> None:
    spec = write_entry(tmp_path, tiny_model())
    file = model_path(tmp_path, TINY)
    ids = [
        model_id_of(other, file)
        for other in (
            spec,
            replace(spec, fit="letterbox"),
            replace(spec, fit="centre_crop"),
            replace(spec, fit="centre_crop", crop_fraction=0.875),
            replace(spec, height=16),
            replace(spec, width=16),
        )
    ]
    ids.append(write_entry(tmp_path, tiny_model(seed=1)).model_id)
    assert len(set(ids)) == len(ids)


def test_what_does_not_change_the_vectors_keeps_the_model_id(tmp_path: Path) -> None:
    spec = write_entry(tmp_path, tiny_model())
    assert model_id_of(replace(spec, max_batch_size=1, crop_fraction=0.5), model_path(tmp_path, TINY)) == spec.model_id
