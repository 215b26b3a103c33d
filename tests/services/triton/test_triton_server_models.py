"""A managed Triton and its models: versions, sizes, damage, and pictures that fail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import tritonclient.grpc as triton
from onnx import TensorProto, helper

from tests.support.triton.managed_triton import (
    Start,
    embed,
    infer_at_once,
    metric,
    until,
    wait_ready,
    write_scaling_entry,
)

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]


def test_two_versions_of_a_users_model_are_served_beside_each_other(start: Start, tmp_path: Path) -> None:
    repository = tmp_path / "models"
    write_scaling_entry(repository, "mine", scale={1: 1.0, 2: 10.0}, config="version_policy { all { } }\n")
    write_scaling_entry(repository, "unwanted", scale={1: 1.0})
    server = start(repository, ("mine",))
    wait_ready(server.url, "mine")
    picture = np.full((2, 8, 8, 3), 5, np.uint8)
    assert embed(server.url, picture, "mine", "1").tolist() == [[5.0] * 3] * 2
    assert embed(server.url, picture, "mine", "2").tolist() == [[50.0] * 3] * 2
    with triton.InferenceServerClient(server.url) as client:
        assert not client.is_model_ready("unwanted")


def write_lookup(repository: Path, name: str) -> None:
    """An entry whose model fails on the values of one picture (a look-up beyond its table of ten), not on its shape."""
    nodes = [
        helper.make_node("Cast", ["image"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "look-up",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 1])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor("table", TensorProto.FLOAT, [10], [float(number) for number in range(10)])],
    )
    file = repository / name / "1" / "model.onnx"
    file.parent.mkdir(parents=True)
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), str(file))
    (repository / name / "config.pbtxt").write_text(f"""name: "{name}"
backend: "onnxruntime"
max_batch_size: 64
input {{ name: "image" data_type: TYPE_UINT8 dims: [ 1 ] }}
output {{ name: "embedding" data_type: TYPE_FP32 dims: [ 1 ] }}
dynamic_batching {{ preferred_batch_size: [ 40 ] max_queue_delay_microseconds: 300000 }}
""")


def test_a_picture_that_fails_in_the_model_does_not_fail_its_neighbours(start: Start, tmp_path: Path) -> None:
    write_lookup(tmp_path / "models", "table")
    server = start(tmp_path / "models", ("table",))
    wait_ready(server.url, "table")
    values = [number % 10 if number % 8 else 200 for number in range(40)]
    answers = infer_at_once(server.url, "table", [np.full((1, 1), value, np.uint8) for value in values])
    for value, answer in zip(values, answers, strict=True):
        if value == 200:
            assert "out of data bounds" in str(answer)
        else:
            assert np.array_equal(answer, [[value]])
    until(lambda: metric(server, "nv_inference_exec_count", "table"))
    assert metric(server, "nv_inference_exec_count", "table") < 20, "they ran in batches"


def test_a_size_that_the_model_refuses_is_that_requests_error(start: Start, tmp_path: Path) -> None:
    repository = tmp_path / "models"
    write_scaling_entry(repository, "mine", scale={1: 1.0})
    config = repository / "mine" / "config.pbtxt"
    config.write_text(config.read_text().replace("dims: [ 8, 8, 3 ]", "dims: [ -1, -1, 3 ]"))
    server = start(repository, ("mine",))
    wait_ready(server.url, "mine")
    pictures = [np.full((1, side, side, 3), side, np.uint8) for side in [8, 9, 8, 8, 7, 8] * 4]
    for picture, answer in zip(pictures, infer_at_once(server.url, "mine", pictures), strict=True):
        if picture.shape[1] == 8:
            assert np.array_equal(answer, [[8.0] * 3])
        else:
            assert "invalid dimensions" in str(answer).lower()


def test_a_damaged_model_is_named_and_a_repaired_one_is_served_without_a_new_start(
    start: Start, tmp_path: Path
) -> None:
    repository = tmp_path / "models"
    write_scaling_entry(repository, "mine", scale={1: 1.0})
    file = repository / "mine" / "1" / "model.onnx"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    server = start(repository, ("mine",))
    failure = until(server.failure)
    assert failure.code == "triton_failed"
    assert "model 'mine' version 1: mine/1/model.onnx can't be loaded" in failure.message
    assert str(tmp_path) not in failure.message
    file.write_bytes(whole)
    wait_ready(server.url, "mine")
    assert server.failure() is None


def test_an_entry_that_is_not_there_is_named(start: Start, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    server = start(tmp_path / "models", ("nowhere",))
    assert "'nowhere': model not found" in until(server.failure).message


def test_a_model_of_another_shape_than_its_configuration_says_what_differs(start: Start, tmp_path: Path) -> None:
    repository = tmp_path / "models"
    write_scaling_entry(repository, "mine", scale={1: 1.0})
    config = repository / "mine" / "config.pbtxt"
    config.write_text(config.read_text().replace("dims: [ 3 ]", "dims: [ 4 ]"))
    message = until(start(repository, ("mine",)).failure).message
    assert "output 'embedding' of mine/1/model.onnx has the shape [-1, 3], the configuration says [-1, 4]" in message
