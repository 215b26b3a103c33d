"""Triton's model configuration as text: the one place that knows its protobuf schema."""

from __future__ import annotations

import re
from typing import Any, Final

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from executors.errors import VisualSearchError
from executors.models.spec import Fit, ModelSpec

_UNSIGNED_BYTE: Final = model_config_pb2.TYPE_UINT8
_FLOAT: Final = model_config_pb2.TYPE_FP32
_FITS: Final[dict[str, Fit]] = {"centre_crop": "centre_crop", "letterbox": "letterbox", "squash": "squash"}
_MODEL_ID: Final = re.compile(r"[^@\s]+@[0-9a-f]{12,64}")


def spec_from_pbtxt(text: str, name: str) -> ModelSpec:
    """Read a config.pbtxt that declares an image model; `name` is the entry's folder.

    A configuration that was not built yet has no parameter `model_id`; the spec's is then empty.

    Raises:
        VisualSearchError: `model_invalid`, naming everything that is not as this project needs it.
    """
    config = _parse(text, name)
    parameters = parameters_from_pbtxt(text, name)
    faults = [*_input_faults(config), *_output_faults(config), *_parameter_faults(config, parameters)]
    if config.name not in ("", name):
        faults.append(f"name is {config.name!r}, expected {name!r}")
    if config.backend != "onnxruntime":
        faults.append(f"backend is {config.backend!r}, expected 'onnxruntime'")
    if config.max_batch_size < 1:
        faults.append(f"max_batch_size is {config.max_batch_size}, expected at least 1")
    if faults:
        raise VisualSearchError(
            "model_invalid", f"the configuration of the model {name!r} does not fit: {'; '.join(faults)}", faults=faults
        )
    height, width, _ = config.input[0].dims
    return ModelSpec(
        name=name,
        model_id=parameters.get("model_id", ""),
        dimension=config.output[0].dims[0],
        height=height,
        width=width,
        fit=_FITS[parameters["fit"]],
        crop_fraction=float(parameters.get("crop_fraction", "1")),
        input_name=config.input[0].name,
        output_name=config.output[0].name,
        max_batch_size=config.max_batch_size,
    )


def parameters_from_pbtxt(text: str, name: str) -> dict[str, str]:
    """The parameters of a config.pbtxt, which Triton hands to backends and clients without reading them.

    Raises:
        VisualSearchError: `model_invalid`.
    """
    return {key: value.string_value for key, value in _parse(text, name).parameters.items()}


def with_parameter(text: str, key: str, value: str) -> str:
    """Append a parameter to a config.pbtxt; what stands there already, comments included, is kept."""
    addition = model_config_pb2.ModelConfig()
    addition.parameters[key].string_value = value
    return f"{text.rstrip()}\n{text_format.MessageToString(addition, as_one_line=True).strip()}\n"


def _parse(text: str, name: str) -> Any:
    try:
        return text_format.Parse(text, model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        message = f"the configuration of the model {name!r} can't be read: {error}"
        raise VisualSearchError("model_invalid", message) from None


def _input_faults(config: Any) -> list[str]:
    if len(config.input) != 1:
        return [f"it has {len(config.input)} inputs, expected one"]
    dims = list(config.input[0].dims)
    faults = []
    if config.input[0].data_type != _UNSIGNED_BYTE:
        faults.append("the input is not TYPE_UINT8")
    if len(dims) != 3 or dims[2] != 3 or min(dims) < 1:
        faults.append(f"the input has the dims {dims}, expected [height, width, 3]")
    return faults


def _output_faults(config: Any) -> list[str]:
    if len(config.output) != 1:
        return [f"it has {len(config.output)} outputs, expected one"]
    dims = list(config.output[0].dims)
    faults = []
    if config.output[0].data_type != _FLOAT:
        faults.append("the output is not TYPE_FP32")
    if len(dims) != 1 or dims[0] < 1:
        faults.append(f"the output has the dims {dims}, expected [dimension]")
    return faults


def _parameter_faults(config: Any, parameters: dict[str, str]) -> list[str]:
    faults = []
    if parameters.get("fit") not in _FITS:
        faults.append(f"parameter fit is {parameters.get('fit')!r}, expected one of {', '.join(_FITS)}")
    fraction = parameters.get("crop_fraction", "1")
    if not re.fullmatch(r"\d*\.?\d+", fraction) or not 0 < float(fraction) <= 1:
        faults.append(f"parameter crop_fraction is {fraction!r}, expected a number above 0 and up to 1")
    if "dimension" in parameters and [parameters["dimension"]] != [str(each) for o in config.output for each in o.dims]:
        faults.append(f"parameter dimension is {parameters['dimension']!r}, which is not the output's")
    if "model_id" in parameters and not _MODEL_ID.fullmatch(parameters["model_id"]):
        faults.append(f"parameter model_id is {parameters['model_id']!r}, expected name@digest")
    return faults
