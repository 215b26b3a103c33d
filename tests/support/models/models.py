"""Entries of a model repository that tests make themselves: tiny models, sound or wrong in one respect.

The two-tower model of CLIP's shape is in `two_towers.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from executors.models.pbtxt import spec_from_pbtxt, with_parameter
from executors.models.repository import CONFIG_FILE, MODEL_FILE, load_spec, model_id_of
from executors.models.spec import ModelSpec

TINY = "tiny"
TINY_SIDE = 8
TINY_DIMENSION = 3


def tiny_model(
    *,
    seed: int = 0,
    input_name: str = "image",
    output_name: str = "embedding",
    input_type: int = TensorProto.UINT8,
    batch: int | str = "batch",
    side: int = TINY_SIDE,
    dimension: int = TINY_DIMENSION,
    extra_input: bool = False,
) -> bytes:
    """A model that divides a picture's mean colour by its brightness and mixes it: a black picture gives NaN."""
    mixer = np.random.default_rng(seed).uniform(0.5, 1.0, (3, dimension)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", [input_name], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["colour"], axes=[1, 2], keepdims=0),
        helper.make_node("ReduceL2", ["colour"], ["brightness"], axes=[1], keepdims=1),
        helper.make_node("Div", ["colour", "brightness"], ["pure"]),
        helper.make_node("MatMul", ["pure", "mixer"], [output_name]),
    ]
    inputs = [helper.make_tensor_value_info(input_name, input_type, [batch, side, side, 3])]
    if extra_input:
        inputs.append(helper.make_tensor_value_info("length", TensorProto.FLOAT, [1]))
    outputs = [helper.make_tensor_value_info(output_name, TensorProto.FLOAT, [batch, dimension])]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, [numpy_helper.from_array(mixer, "mixer")])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def tiny_config(name: str = TINY, *, side: int = TINY_SIDE, dimension: int = TINY_DIMENSION, **changes: str) -> str:
    """The config.pbtxt of `tiny_model()`, not built yet; `changes` replaces parts of its text, such as `backend='x'`."""
    fields = {"name": f'"{name}"', "backend": '"onnxruntime"', "max_batch_size": "16"} | changes
    fit = fields.pop("fit", '"squash"')
    data_type = fields.pop("data_type", "TYPE_UINT8")
    head = "\n".join(f"{key}: {value}" for key, value in fields.items())
    return f"""{head}
input {{ name: "image" data_type: {data_type} dims: [ {side}, {side}, 3 ] }}
output {{ name: "embedding" data_type: TYPE_FP32 dims: [ {dimension} ] }}
parameters {{ key: "fit" value {{ string_value: {fit} }} }}
"""


def external_model(folder: Path, *, seed: int = 0, weights: str = "weights.bin") -> None:
    """Write the tiny model into a version folder, with its weights in a file of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / weights).unlink(missing_ok=True)  # onnx would append to it
    model = onnx.load_from_string(tiny_model(seed=seed))
    options = {"save_as_external_data": True, "location": weights, "size_threshold": 0}
    onnx.save_model(model, str(folder / "model.onnx"), **options)


def write_entry(models_dir: Path, model: bytes, config: str | None = None, name: str = TINY) -> ModelSpec:
    """Write an entry whose `model_id` fits the file, which may have any content."""
    config = config or tiny_config(name)
    file = models_dir / name / MODEL_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(model)
    model_id = model_id_of(spec_from_pbtxt(config, name), file)
    (models_dir / name / CONFIG_FILE).write_text(with_parameter(config, "model_id", model_id), "utf-8")
    return load_spec(models_dir, name)
