"""ONNX Runtime opened as a Triton configuration says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from executors.triton_server.onnxruntime.ort_session import (
    CPU,
    CUDA,
    TENSORRT,
    ModelError,
    open_session,
    parse_config,
    providers_for,
    threads_for,
)

CONFIG: dict[str, Any] = {
    "max_batch_size": 8,
    "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": ["3"]}],
    "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": ["3"]}],
    "instance_group": [{"count": 2, "kind": "KIND_CPU"}],
    "default_model_filename": "",
    "parameters": {"model_id": {"string_value": "x@1"}},
}
ON_CPU: list[tuple[str, dict[str, str]]] = [(CPU, {})]


def write_model(folder: Path, shape: list[int | str], type_: int = TensorProto.FLOAT) -> Path:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "identity",
        [helper.make_tensor_value_info("x", type_, shape)],
        [helper.make_tensor_value_info("y", type_, shape)],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    file = folder / "identity" / "1" / "model.onnx"
    file.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(file))
    return file


def with_accelerator(name: str, **parameters: str) -> dict[str, Any]:
    entry = {"name": name, "parameters": parameters}
    return CONFIG | {"optimization": {"execution_accelerators": {"gpu_execution_accelerator": [entry]}}}


def test_a_model_that_fits_its_configuration_opens(tmp_path: Path) -> None:
    session, notes = open_session(write_model(tmp_path, ["n", 3]), parse_config(CONFIG), ON_CPU, 1)
    assert isinstance(session, onnxruntime.InferenceSession)
    assert notes == []


@pytest.mark.parametrize(
    ("shape", "changes", "says"),
    [
        (["n", 4], {}, r"input 'x' of identity/1/model.onnx has the shape \[-1, 4\], the configuration says \[-1, 3\]"),
        (["n", 3, 1], {}, "has the shape"),
        ([8, 3], {}, "any batch"),
        (["n", 3], {"max_batch_size": 0}, "has the shape"),
        (
            ["n", 3],
            {"output": [{"name": "z", "data_type": "TYPE_FP32", "dims": ["3"]}]},
            "has no output 'z'; it has 'y'",
        ),
        (
            ["n", 3],
            {"input": [{"name": "x", "data_type": "TYPE_UINT8", "dims": ["3"]}]},
            "the configuration says TYPE_UINT8",
        ),
        (["n", 3], {"input": []}, "an input that the configuration does not name: x"),
    ],
)
def test_another_model_than_the_configuration_says_is_refused_with_what_differs(
    tmp_path: Path, shape: list[int | str], changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ModelError, match=says):
        open_session(write_model(tmp_path, shape), parse_config(CONFIG | changes), ON_CPU, 1)


def test_lengths_that_either_side_leaves_open_fit(tmp_path: Path) -> None:
    open_dims = [{"name": "x", "data_type": "TYPE_FP32", "dims": ["-1"]}]
    open_session(write_model(tmp_path, ["n", 3]), parse_config(CONFIG | {"input": open_dims}), ON_CPU, 1)
    open_session(write_model(tmp_path, ["n", "m"]), parse_config(CONFIG), ON_CPU, 1)


def test_a_missing_or_damaged_file_is_named_without_the_rest_of_its_path(tmp_path: Path) -> None:
    file = tmp_path / "lite" / "1" / "model.onnx"
    with pytest.raises(ModelError, match=r"^lite/1/model.onnx is missing"):
        open_session(file, parse_config(CONFIG), ON_CPU, 1)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"^lite/1/model.onnx can't be loaded: ") as caught:
        open_session(file, parse_config(CONFIG), ON_CPU, 1)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    "tensor",
    [
        {"name": "x", "data_type": "TYPE_STRING", "dims": ["1"]},
        {"name": "x", "data_type": "TYPE_FP32", "dims": ["1"], "reshape": {"shape": []}},
    ],
)
def test_what_this_backend_does_not_do_is_said_at_once(tensor: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="not supported by this backend"):
        parse_config(CONFIG | {"input": [tensor]})


@pytest.mark.parametrize(("given", "threads"), [("4", 2), ("1", 1), ("2", 1), ("0", 0), ("", 0), (None, 0)])
def test_the_instances_of_a_model_share_its_threads(given: str | None, threads: int) -> None:
    assert threads_for(parse_config(CONFIG), given) == threads


def test_the_configurations_own_threads_win() -> None:
    parameters = {"intra_op_thread_count": {"string_value": "3"}}
    assert threads_for(parse_config(CONFIG | {"parameters": parameters}), "8") == 3


def test_a_gpu_instance_computes_with_cuda_on_the_device_that_it_was_given() -> None:
    providers, notes = providers_for(parse_config(CONFIG), "GPU", 1, [TENSORRT, CUDA, CPU])
    assert [name for name, _ in providers] == [CUDA, CPU]
    assert providers[0][1]["device_id"] == "1"
    assert notes == []


def test_a_cpu_instance_never_takes_a_gpu() -> None:
    assert providers_for(parse_config(CONFIG), "CPU", 0, [TENSORRT, CUDA, CPU]) == (ON_CPU, [])


def test_a_gpu_instance_without_cuda_says_so() -> None:
    providers, notes = providers_for(parse_config(CONFIG), "GPU", 0, [CPU])
    assert providers == ON_CPU
    assert "runs on the CPU" in notes[0]


def test_tensorrt_is_used_as_the_execution_accelerator_says() -> None:
    config = parse_config(with_accelerator("tensorrt", precision_mode="FP16", max_workspace_size_bytes="1000"))
    providers, _ = providers_for(config, "GPU", 0, [TENSORRT, CUDA, CPU])
    assert [name for name, _ in providers] == [TENSORRT, CUDA, CPU]
    assert providers[0][1] == {"device_id": "0", "trt_fp16_enable": "True", "trt_max_workspace_size": "1000"}
    providers, notes = providers_for(config, "GPU", 0, [CUDA, CPU])
    assert [name for name, _ in providers] == [CUDA, CPU]
    assert "no TensorRT" in notes[0]


def test_an_accelerator_that_is_not_known_is_left_out_and_said() -> None:
    providers, notes = providers_for(parse_config(with_accelerator("openvino")), "GPU", 0, [CUDA, CPU])
    assert [name for name, _ in providers] == [CUDA, CPU]
    assert "'openvino'" in notes[0]
