from __future__ import annotations

import pytest

from executors.errors import VisualSearchError
from executors.models.pbtxt import (
    added_settings,
    parameters_from_pbtxt,
    spec_from_pbtxt,
    tower_from_pbtxt,
    with_parameter,
    with_settings,
    without_parameter,
)
from executors.models.spec import TextSpec
from tests.support.models.models import TINY, tiny_config


def test_everything_that_does_not_fit_is_named_at_once() -> None:
    config = tiny_config(backend='"tensorrt"', fit='"stretch"', data_type="TYPE_FP32", max_batch_size="0")
    with pytest.raises(VisualSearchError) as caught:
        spec_from_pbtxt(config, TINY)
    assert caught.value.code == "model_invalid"
    for part in ("backend is 'tensorrt'", "fit is 'stretch'", "not TYPE_UINT8", "max_batch_size is 0"):
        assert part in caught.value.message
    assert len(caught.value.details["faults"]) == 4


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ('parameters { key: "crop_fraction" value { string_value: "0" } }', "crop_fraction"),
        ('parameters { key: "crop_fraction" value { string_value: "1.01" } }', "crop_fraction"),
        ('parameters { key: "crop_fraction" value { string_value: "nan" } }', "crop_fraction"),
        ('parameters { key: "dimension" value { string_value: "4" } }', "dimension"),
        ('parameters { key: "model_id" value { string_value: "tiny@xyz" } }', "model_id"),
        ('output { name: "more" data_type: TYPE_FP32 dims: [ 3 ] }', "2 outputs"),
        ('input { name: "more" data_type: TYPE_FP32 dims: [ 3 ] }', "2 inputs"),
        ("no such field", "can't be read"),
        ("{", "can't be read"),
    ],
)
def test_a_configuration_is_refused_for_one_fault(change: str, fault: str) -> None:
    spec_from_pbtxt(tiny_config(), TINY)
    with pytest.raises(VisualSearchError, match=fault) as caught:
        spec_from_pbtxt(tiny_config() + change, TINY)
    assert caught.value.code == "model_invalid"


def test_a_configuration_of_another_folder_is_refused() -> None:
    with pytest.raises(VisualSearchError, match="name is 'tiny', expected 'other'"):
        spec_from_pbtxt(tiny_config(), "other")


def test_an_added_parameter_keeps_the_comments() -> None:
    text = "# why\n" + tiny_config()
    added = with_parameter(text, "model_id", 'tiny@0123456789ab"\n')
    assert added.startswith(text.rstrip())
    assert parameters_from_pbtxt(added, TINY) == {"fit": "squash", "model_id": 'tiny@0123456789ab"\n'}


TEXT = """name: "words" backend: "onnxruntime" max_batch_size: 16
input { name: "tokens" data_type: TYPE_INT32 dims: [ 12 ] }
output { name: "embedding" data_type: TYPE_FP32 dims: [ 3 ] }
parameters { key: "kind" value { string_value: "text" } }
"""


def test_a_text_tower_is_told_by_its_kind() -> None:
    tower = tower_from_pbtxt(
        TEXT + 'parameters { key: "model_id_v2" value { string_value: "w@0123456789ab" } }', "words", 2
    )
    assert tower == TextSpec("words", "w@0123456789ab", 3, 12, "INT32", max_batch_size=16, version=2)
    with pytest.raises(VisualSearchError, match="is a text tower") as caught:
        spec_from_pbtxt(TEXT, "words")
    assert caught.value.code == "model_invalid"


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("TYPE_INT32", "TYPE_FP32", "neither TYPE_INT32 nor TYPE_INT64"),
        ("[ 12 ]", "[ 12, 2 ]", r"dims \[12, 2\], expected \[tokens\]"),
        ("[ 12 ]", "[ -1 ]", r"dims \[-1\]"),
        ('"text" }', '"sound" }', "kind is 'sound'"),
        ("TYPE_FP32", "TYPE_FP16", "output is not TYPE_FP32"),
    ],
)
def test_a_text_tower_is_refused_for_one_fault(old: str, new: str, fault: str) -> None:
    tower_from_pbtxt(TEXT, "words")
    with pytest.raises(VisualSearchError, match=fault) as caught:
        tower_from_pbtxt(TEXT.replace(old, new), "words")
    assert caught.value.code == "model_invalid"


@pytest.mark.parametrize("name", ["../other", "", "a/b"])
def test_a_text_tower_is_never_outside_of_the_repository(name: str) -> None:
    config = with_parameter(tiny_config(), "text_model", name)
    with pytest.raises(VisualSearchError, match="text_model") as caught:
        spec_from_pbtxt(config, TINY)
    assert caught.value.code == "model_invalid"


@pytest.mark.parametrize(
    "older",
    [
        'parameters { key: "model_id" value { string_value: "a@0123456789ab" } }',
        'parameters: {\n  key: "model_id"\n  value: {\n    string_value: "a\\"@b"\n  }\n}',
        '  parameters{key:"model_id",value{string_value:"x"}}',
    ],
    ids=["ours", "lines", "tight"],
)
def test_a_parameter_is_replaced_and_its_neighbours_are_kept(older: str) -> None:
    text = f"# why\n{tiny_config()}{older}\n# end\n"
    removed = without_parameter(text, "model_id")
    assert "model_id" not in removed
    assert removed.startswith("# why")
    assert removed.rstrip().endswith("# end")
    replaced = with_parameter(text, "model_id", "tiny@fedcba987654")
    assert replaced.count("model_id") == 1
    assert parameters_from_pbtxt(replaced, TINY) == {"fit": "squash", "model_id": "tiny@fedcba987654"}


def test_the_last_parameter_of_a_name_counts() -> None:
    odd = 'parameters [ { key: "model_id" value { string_value: "old@0123456789ab" } } ]\n'
    text = with_parameter(tiny_config() + odd, "model_id", "tiny@fedcba987654")
    assert parameters_from_pbtxt(text, TINY)["model_id"] == "tiny@fedcba987654"


@pytest.mark.parametrize(
    ("text", "old", "new", "fault"),
    [
        (tiny_config(), "[ 8, 8, 3 ]", "[ 4097, 8, 3 ]", "sides of at most 4,096"),
        (tiny_config(), "[ 8, 8, 3 ]", "[ 200000, 200000, 3 ]", "sides of at most 4,096"),
        (tiny_config(), "dims: [ 3 ]", "dims: [ 65537 ]", "at most 65,536"),
        (TEXT.replace("words", TINY), "[ 12 ]", "[ 8193 ]", "at most 8,192 tokens"),
    ],
)
def test_a_size_that_no_model_has_is_refused(text: str, old: str, new: str, fault: str) -> None:
    assert old in text
    with pytest.raises(VisualSearchError, match=fault) as caught:
        tower_from_pbtxt(text.replace(old, new), TINY)
    assert caught.value.code == "model_invalid"


def test_what_a_person_added_is_told_from_what_is_ours() -> None:
    group = "instance_group { count: 2 kind: KIND_CPU }\n"
    declared = tiny_config()
    text = (
        declared.replace("input {", group + "input {") + 'parameters { key: "revision" value { string_value: "1" } }\n'
    )
    added, changed = added_settings(with_parameter(text, "model_id", "tiny@0123456789ab"), declared, TINY)
    assert (list(added), changed) == (["instance_group"], "")
    kept = with_settings(declared, added)
    assert kept.startswith(declared.rstrip())
    assert added_settings(kept, declared, TINY) == (added, "")
    assert added_settings(declared.replace("16", "32"), declared, TINY) == ({}, "has other values of max_batch_size")
    assert added_settings("{", declared, TINY) == ({}, "can't be read")
