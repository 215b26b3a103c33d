"""The comparison of a server's model with the local configuration, on Triton's own messages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tritonclient.grpc import model_config_pb2

from executors.embed.triton.handshake import check_config, generated_row
from executors.errors import VisualSearchError
from tests.support.triton.triton_stand_in import IMAGE, TEXT, config_of


def refused(config: Any) -> VisualSearchError:
    with pytest.raises(VisualSearchError) as caught:
        check_config(config, IMAGE)
    return caught.value


@pytest.mark.parametrize("tower", [IMAGE, TEXT])
def test_the_model_itself_passes(tower: Any) -> None:
    check_config(config_of(tower), tower)


def test_more_outputs_and_sizes_that_the_server_leaves_open_are_fine() -> None:
    config = config_of(IMAGE)
    config.output.add(name="logits", data_type=model_config_pb2.TYPE_FP32, dims=[1000])
    config.output[0].dims[0] = -1
    config.input.add(name="mask", data_type=model_config_pb2.TYPE_FP32, dims=[1], optional=True)
    check_config(config, IMAGE)


def test_another_id_names_both() -> None:
    config = config_of(IMAGE)
    config.parameters["model_id"].string_value = "tiny@abc"
    error = refused(config)
    assert error.code == "model_mismatch"
    assert (error.details["expected"], error.details["actual"]) == (IMAGE.model_id, "tiny@abc")
    assert IMAGE.model_id in error.message
    assert "tiny@abc" in error.message


def test_no_id_says_how_to_add_it() -> None:
    config = config_of(IMAGE)
    del config.parameters["model_id"]
    error = refused(config)
    assert error.code == "model_invalid"
    assert "visual-search models build tiny" in error.message


def test_every_difference_is_named_at_once() -> None:
    config = config_of(IMAGE)
    config.input[0].data_type = model_config_pb2.TYPE_FP32
    config.input[0].dims[0] = 9
    config.output[0].dims[0] = 4
    config.output[0].data_type = model_config_pb2.TYPE_FP16
    config.max_batch_size = 0
    error = refused(config)
    assert error.code == "model_invalid"
    assert error.details["faults"] == [
        "image is TYPE_FP32, expected TYPE_UINT8",
        "image has the dims [9, 8, 3], expected [8, 8, 3]",
        "embedding is TYPE_FP16, expected TYPE_FP32",
        "embedding has the dims [4], expected [3]",
        "max_batch_size is 0, expected at least 1",
    ]
    assert all(fault in error.message for fault in error.details["faults"])


def test_other_tensors_are_named() -> None:
    config = config_of(IMAGE)
    config.input[0].name = "pixels"
    config.output[0].name = "vector"
    config.input.add(name="length", data_type=model_config_pb2.TYPE_FP32, dims=[1])
    error = refused(config)
    assert error.details["faults"] == [
        "its inputs are pixels, length, expected image",
        "its outputs are vector, expected embedding",
    ]


def test_another_model_with_another_dimension_says_both() -> None:
    config = config_of(IMAGE)
    config.parameters["model_id"].string_value = "tiny@abc"
    config.output[0].dims[0] = 4
    error = refused(config)
    assert error.code == "model_mismatch"
    assert "embedding has the dims [4], expected [3]" in error.message


def test_each_version_has_an_id_of_its_own() -> None:
    second = replace(IMAGE, version=2, model_id="tiny@" + "3" * 16)
    config = config_of(IMAGE)
    with pytest.raises(VisualSearchError, match="model_id_v2"):
        check_config(config, second)
    config.parameters["model_id_v2"].string_value = second.model_id
    check_config(config, second)
    check_config(config, IMAGE)


def test_a_generated_picture_is_nowhere_black() -> None:
    row = generated_row(IMAGE)
    assert row.shape == (1, 8, 8, 3)
    assert row.min() >= 1
    assert generated_row(TEXT).shape == (1, 5)
