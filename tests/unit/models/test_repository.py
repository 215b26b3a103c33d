from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.models.build import build_model
from executors.models.pbtxt import with_parameter, without_parameter
from executors.models.reference import read_reference, reference_path
from executors.models.repository import (
    CONFIG_FILE,
    check_model,
    check_tower,
    load_spec,
    load_tower,
    load_towers,
    model_id_of,
    model_path,
    tokenizer_path,
    versions_of,
)
from tests.support.models.models import TINY, external_model, tiny_config, tiny_model, write_entry
from tests.support.models.two_towers import TWO_TOWERS, write_two_towers


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


def set_parameter(models_dir: Path, name: str, key: str, value: str | None) -> None:
    file = models_dir / name / CONFIG_FILE
    text = file.read_text()
    file.write_text(without_parameter(text, key) if value is None else with_parameter(text, key, value))


def test_an_image_only_model_has_one_tower(tmp_path: Path) -> None:
    spec = write_entry(tmp_path, tiny_model())
    towers = load_towers(tmp_path, TINY)
    assert (towers.image, towers.text, list(towers)) == (spec, None, [spec])


def test_two_towers_are_loaded_as_a_pair(tmp_path: Path) -> None:
    towers = write_two_towers(tmp_path)
    assert towers.text is not None
    assert (towers.text.context_length, towers.text.input_type, towers.text.dimension) == (16, "INT32", 8)
    assert load_tower(tmp_path, towers.text.name) == towers.text
    for tower in towers:
        check_tower(tmp_path, tower)
    with pytest.raises(VisualSearchError, match="is a text tower"):
        load_spec(tmp_path, towers.text.name)


@pytest.mark.parametrize(
    ("entry", "key", "value", "fault"),
    [
        (TWO_TOWERS, "text_model_id", None, "has no parameter text_model_id"),
        (TWO_TOWERS, "text_model_id", "other@0123456789abcdef", "expected other@0123456789abcdef"),
        (TWO_TOWERS, "text_model", TWO_TOWERS, "kind is not 'text'"),
        (TWO_TOWERS, "text_model", "absent", "'absent' is not in VS_MODELS_DIR"),
        (f"{TWO_TOWERS}-text", "model_id", None, "it is without a model_id"),
        (f"{TWO_TOWERS}-text", "model_id", "other@0123456789abcdef", "it is model_id|it is other"),
    ],
    ids=["no id", "other id", "not text", "absent", "not built", "other weights"],
)
def test_a_text_tower_that_is_not_the_models_is_refused(
    tmp_path: Path, entry: str, key: str, value: str | None, fault: str
) -> None:
    write_two_towers(tmp_path)
    set_parameter(tmp_path, entry, key, value)
    with pytest.raises(VisualSearchError, match=fault) as caught:
        load_towers(tmp_path, TWO_TOWERS)
    assert caught.value.code == ("model_missing" if value == "absent" else "model_invalid")


def test_everything_that_keeps_two_towers_apart_is_named_at_once(tmp_path: Path) -> None:
    write_two_towers(tmp_path)
    file = tmp_path / f"{TWO_TOWERS}-text" / CONFIG_FILE
    text = file.read_text().replace("dims: [ 8 ]", "dims: [ 9 ]")
    file.write_text(with_parameter(text, "dimension", "9"))
    set_parameter(tmp_path, TWO_TOWERS, "text_model_id", "other@0123456789abcdef")
    with pytest.raises(VisualSearchError, match="9 numbers, expected 8") as caught:
        load_towers(tmp_path, TWO_TOWERS)
    assert "expected other@0123456789abcdef" in caught.value.message
    assert len(caught.value.details["faults"]) == 2


def test_a_changed_tokenizer_is_another_model(tmp_path: Path) -> None:
    """The same weights turn the same text into another vector."""
    text = write_two_towers(tmp_path).text
    assert text is not None
    file = tokenizer_path(tmp_path, text)
    file.write_text(file.read_text("utf-8").replace("Lowercase", "Strip"), "utf-8")
    with pytest.raises(VisualSearchError, match="does not fit its configuration") as caught:
        check_tower(tmp_path, text)
    assert caught.value.code == "model_invalid"
    file.unlink()
    with pytest.raises(VisualSearchError, match="no tokenizer file") as caught:
        check_tower(tmp_path, text)
    assert caught.value.code == "model_missing"


def test_a_version_is_chosen_by_its_number(tmp_path: Path) -> None:
    first = write_entry(tmp_path, tiny_model())
    file = model_path(tmp_path, TINY, 2)
    file.parent.mkdir()
    file.write_bytes(tiny_model(seed=1))
    assert versions_of(tmp_path, TINY) == [1, 2]
    with pytest.raises(VisualSearchError, match="no parameter model_id_v2") as caught:
        load_spec(tmp_path, f"{TINY}:2")
    assert caught.value.code == "model_invalid"
    identity = model_id_of(first, file)
    set_parameter(tmp_path, TINY, "model_id_v2", identity)
    assert load_spec(tmp_path, f"{TINY}:2") == replace(first, model_id=identity, version=2)
    assert load_spec(tmp_path, f"{TINY}:1") == load_spec(tmp_path, TINY) == first
    check_model(tmp_path, f"{TINY}:2")
    with pytest.raises(VisualSearchError, match="versions that it has: 1, 2") as caught:
        load_spec(tmp_path, f"{TINY}:3")
    assert caught.value.code == "model_missing"


@pytest.mark.parametrize("choice", ["tiny:0", "tiny:", "tiny:x", "tiny:1:2", "tiny:-1", ":2", "tiny:01"])
def test_what_is_no_version_is_no_model(tmp_path: Path, choice: str) -> None:
    write_entry(tmp_path, tiny_model())
    with pytest.raises(VisualSearchError, match="is not the name of a model") as caught:
        load_spec(tmp_path, choice)
    assert caught.value.code == "model_missing"


def test_weights_in_a_file_of_their_own_are_part_of_the_model(tmp_path: Path) -> None:
    """The file model.onnx is the same for all of them."""
    spec = write_entry(tmp_path, tiny_model())
    file = model_path(tmp_path, TINY)
    alone = model_id_of(spec, file)
    ids = []
    for seed in (0, 1, 0):
        external_model(file.parent, seed=seed)
        ids.append(model_id_of(spec, file))
    assert ids[0] == ids[2] != ids[1]
    assert alone not in ids
    set_parameter(tmp_path, TINY, "model_id", ids[0])
    check_model(tmp_path, TINY)
    weights = file.parent / "weights.bin"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(VisualSearchError, match="does not fit its configuration") as caught:
        check_model(tmp_path, TINY)
    assert caught.value.code == "model_invalid"
    weights.rename(weights.with_name("other.bin"))
    assert model_id_of(spec, file) not in ids, "its name counts, too"


def test_a_text_towers_own_weights_are_part_of_it(tmp_path: Path) -> None:
    text = write_two_towers(tmp_path).text
    assert text is not None
    folder = model_path(tmp_path, text.name).parent
    (folder / "inner").mkdir()
    (folder / "inner" / "weights.bin").write_bytes(b"weights")
    with pytest.raises(VisualSearchError, match="does not fit its configuration"):
        check_tower(tmp_path, text)


def test_a_model_file_without_a_configuration_is_told_so(tmp_path: Path) -> None:
    write_entry(tmp_path, tiny_model())
    (tmp_path / TINY / CONFIG_FILE).unlink()
    with pytest.raises(VisualSearchError, match=r"the folder of the model 'tiny' has no config\.pbtxt") as caught:
        load_spec(tmp_path, TINY)
    assert caught.value.code == "model_missing"


def test_an_entry_whose_version_1_was_removed_says_which_there_are(tmp_path: Path) -> None:
    spec = write_entry(tmp_path, tiny_model())
    model_path(tmp_path, TINY).parent.rename(tmp_path / TINY / "2")
    with pytest.raises(VisualSearchError, match=r"has no version 1 .*: 2 \(tiny:2\)") as caught:
        check_tower(tmp_path, spec)
    assert caught.value.code == "model_missing"
    set_parameter(tmp_path, TINY, "model_id", None)
    with pytest.raises(VisualSearchError, match=r"has no version 1 .*: 2 \(tiny:2\)"):
        load_spec(tmp_path, TINY)


@pytest.mark.parametrize("name", ["1/model.onnx", "1/weights.bin"])
@pytest.mark.parametrize("is_pipe", [True, False])
def test_a_pipe_or_device_in_place_of_a_file_is_told_and_not_waited_for(
    tmp_path: Path, name: str, is_pipe: bool
) -> None:
    write_entry(tmp_path, tiny_model())
    put_no_file(tmp_path / TINY / name, is_pipe)
    for call in (lambda: check_model(tmp_path, TINY), lambda: build_model(TINY, tmp_path)):
        with pytest.raises(VisualSearchError) as caught:
            call()
        assert caught.value.code == "model_invalid"
        assert Path(name).name in caught.value.message
        assert "not a regular file" in caught.value.message


@pytest.mark.parametrize("is_pipe", [True, False])
def test_a_reference_that_is_a_pipe_or_device_is_made_anew(tmp_path: Path, is_pipe: bool) -> None:
    write_entry(tmp_path, tiny_model())
    tower = load_tower(tmp_path, TINY)
    put_no_file(reference_path(tmp_path, tower), is_pipe)
    with pytest.raises(VisualSearchError) as caught:
        read_reference(tmp_path, tower)
    assert caught.value.code == "model_invalid"
    build_model(TINY, tmp_path)
    assert read_reference(tmp_path, tower) is not None


def put_no_file(path: Path, is_pipe: bool) -> None:
    """Put a pipe without a writer, or a link to a device without an end, in the place of a file."""
    path.unlink(missing_ok=True)
    if is_pipe:
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
