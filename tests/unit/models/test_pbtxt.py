from __future__ import annotations

import pytest

from executors.errors import VisualSearchError
from executors.models.pbtxt import parameters_from_pbtxt, spec_from_pbtxt, with_parameter
from tests.support.models import TINY, tiny_config


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
