"""Triton's model configuration, read from config.pbtxt or from a server. No other module knows its protobuf schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from executors.errors import VisualSearchError
from executors.models.spec import (
    MOST_DIMENSION,
    MOST_SIDE,
    MOST_TOKENS,
    Fit,
    ModelSpec,
    TensorType,
    TextSpec,
    Tower,
)

KIND_TEXT: Final = "text"

_FLOAT: Final = model_config_pb2.TYPE_FP32
_FITS: Final[dict[str, Fit]] = {"centre_crop": "centre_crop", "letterbox": "letterbox", "squash": "squash"}
_KINDS: Final = ("image", KIND_TEXT)
_TYPES: Final[dict[int, TensorType]] = {
    model_config_pb2.TYPE_UINT8: "UINT8",
    model_config_pb2.TYPE_INT32: "INT32",
    model_config_pb2.TYPE_INT64: "INT64",
}
_MODEL_ID: Final = re.compile(r"[^@\s]+@[0-9a-f]{12,64}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Parameters that differ from one build to the next.
_MADE_BY_BUILD: Final = re.compile(r"revision|(text_)?model_id(_v\d+)?")


def tower_from_pbtxt(text: str, name: str, version: int = 1) -> Tower:
    """Read a config.pbtxt; `name` is the entry's folder. See `tower_from_config`."""
    return tower_from_config(_parse(text, name), name, version)


def spec_from_pbtxt(text: str, name: str, version: int = 1) -> ModelSpec:
    """Read a config.pbtxt that declares an image model.

    Raises:
        VisualSearchError: `model_invalid`, also for a text tower.
    """
    tower = tower_from_pbtxt(text, name, version)
    if isinstance(tower, TextSpec):
        message = f"the model {name!r} is a text tower (its parameter kind says so), not an image model"
        raise VisualSearchError("model_invalid", message, model=name)
    return tower


def tower_from_config(config: Any, name: str, version: int = 1) -> Tower:
    """The tower that a configuration declares, whether it was read from a file or from a server.

    A configuration that was not built yet has no parameter `model_id` for this version; the tower's is then empty.

    Args:
        config: tritonclient's `ModelConfig`.
        name: the name that the model has to have.
        version: the version folder that is used.

    Raises:
        VisualSearchError: `model_invalid`, naming everything that does not meet this project's requirements.
    """
    parameters = parameters_from_config(config)
    text = parameters.get("kind") == KIND_TEXT
    faults = [
        *(_text_input_faults(config) if text else _image_input_faults(config)),
        *_output_faults(config),
        *_parameter_faults(config, parameters),
        *([] if text else _fit_faults(parameters)),
        *_entry_faults(config, name),
    ]
    if faults:
        message = f"the configuration of the model {name!r} does not fit: {'; '.join(faults)}"
        raise VisualSearchError("model_invalid", message, model=name, faults=faults)
    return _text_spec(config, parameters, name, version) if text else _image_spec(config, parameters, name, version)


def _image_spec(config: Any, parameters: Mapping[str, str], name: str, version: int) -> ModelSpec:
    height, width, _ = config.input[0].dims
    return ModelSpec(
        name=name,
        model_id=parameters.get(versioned("model_id", version), ""),
        dimension=config.output[0].dims[0],
        height=height,
        width=width,
        fit=_FITS[parameters["fit"]],
        crop_fraction=float(parameters.get("crop_fraction", "1")),
        input_name=config.input[0].name,
        output_name=config.output[0].name,
        max_batch_size=config.max_batch_size,
        version=version,
        text_model=parameters.get("text_model", ""),
    )


def _text_spec(config: Any, parameters: Mapping[str, str], name: str, version: int) -> TextSpec:
    return TextSpec(
        name=name,
        model_id=parameters.get(versioned("model_id", version), ""),
        dimension=config.output[0].dims[0],
        context_length=config.input[0].dims[0],
        input_type=_TYPES[config.input[0].data_type],
        input_name=config.input[0].name,
        output_name=config.output[0].name,
        max_batch_size=config.max_batch_size,
        version=version,
    )


def versioned(key: str, version: int) -> str:
    """The name of a parameter that each version has its own value of: `model_id` of version 1, `model_id_v2` of version
    2.
    """
    return key if version == 1 else f"{key}_v{version}"


def parameters_from_pbtxt(text: str, name: str) -> dict[str, str]:
    """The parameters of a config.pbtxt, which Triton hands to backends and clients without reading them.

    Raises:
        VisualSearchError: `model_invalid`.
    """
    return parameters_from_config(_parse(text, name))


def parameters_from_config(config: Any) -> dict[str, str]:
    """The parameters of a `ModelConfig`; see `parameters_from_pbtxt`."""
    return {key: value.string_value for key, value in config.parameters.items()}


def with_parameter(text: str, key: str, value: str) -> str:
    """Set a parameter of a config.pbtxt; everything else, comments included, is kept.

    Triton uses the last of several parameters of one name. So an older one in an unrecognised layout stays, without
    effect.
    """
    addition = model_config_pb2.ModelConfig()
    addition.parameters[key].string_value = value
    return (
        f"{without_parameter(text, key).rstrip()}\n{text_format.MessageToString(addition, as_one_line=True).strip()}\n"
    )


def without_parameter(text: str, key: str) -> str:
    """Remove a parameter in a block of its own, as `with_parameter` and most people write it."""
    block = rf'^[ \t]*parameters\s*:?\s*\{{\s*key\s*:\s*"{re.escape(key)}"\s*[,;]?\s*'
    value = r'value\s*:?\s*\{\s*string_value\s*:\s*"(?:[^"\\\n]|\\.)*"\s*\}\s*\}[ \t]*\n?'
    return re.sub(block + value, "", text, flags=re.MULTILINE)


def quoted(text: str) -> str:
    """A string in the escaped form between the quotation marks of a config.pbtxt."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


def added_settings(text: str, declared: str, name: str) -> tuple[dict[str, str], str]:
    """The user's additions to a configuration that was once written like `declared`, such as `instance_group`.

    Args:
        text: the current configuration; may be damaged.
        declared: the configuration as it is written today, without identities.
        name: the entry's name.

    Returns:
        The fields that `declared` does not set, as text; and the differences that can't be told apart from ours, empty
        if there are none: for a field that has another value, and for a file that can't be read.
    """
    try:
        there, ours = _parse(text, name), _parse(declared, name)
    except VisualSearchError:
        return {}, "can't be read"
    for config in (there, ours):
        for key in [key for key in config.parameters if _MADE_BY_BUILD.fullmatch(key)]:
            del config.parameters[key]
    known = {field.name: value for field, value in ours.ListFields()}
    changed = [field.name for field, value in there.ListFields() if field.name in known and value != known[field.name]]
    added = {}
    for field, _ in there.ListFields():
        if field.name not in known:
            alone = model_config_pb2.ModelConfig()
            alone.MergeFrom(there)
            for other, _ in there.ListFields():
                if other.name != field.name:
                    alone.ClearField(other.name)
            added[field.name] = text_format.MessageToString(alone, as_utf8=True)
    return added, f"has other values of {', '.join(changed)}" if changed else ""


def with_settings(text: str, added: Mapping[str, str]) -> str:
    """Put the settings that `added_settings` found at the end of a configuration."""
    return f"{text.rstrip()}\n\n# Kept from the configuration that was here before.\n{''.join(added.values())}"


def _parse(text: str, name: str) -> Any:
    try:
        return text_format.Parse(text, model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        message = f"the configuration of the model {name!r} can't be read: {error}"
        raise VisualSearchError("model_invalid", message) from None


def _image_input_faults(config: Any) -> list[str]:
    if len(config.input) != 1:
        return [f"it has {len(config.input)} inputs, expected one"]
    dims = list(config.input[0].dims)
    faults = []
    if _TYPES.get(config.input[0].data_type) != "UINT8":
        faults.append("the input is not TYPE_UINT8")
    if len(dims) != 3 or dims[2] != 3 or min(dims) < 1:
        faults.append(f"the input has the dims {dims}, expected [height, width, 3]")
    elif max(dims) > MOST_SIDE:
        faults.append(f"the input has the dims {dims}, expected sides of at most {MOST_SIDE:,}")
    return faults


def _text_input_faults(config: Any) -> list[str]:
    if len(config.input) != 1:
        return [f"it has {len(config.input)} inputs, expected one"]
    dims = list(config.input[0].dims)
    faults = []
    if _TYPES.get(config.input[0].data_type) not in ("INT32", "INT64"):
        faults.append("the input is neither TYPE_INT32 nor TYPE_INT64")
    if len(dims) != 1 or dims[0] < 1:
        faults.append(f"the input has the dims {dims}, expected [tokens]")
    elif dims[0] > MOST_TOKENS:
        faults.append(f"the input has the dims {dims}, expected at most {MOST_TOKENS:,} tokens")
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
    elif dims[0] > MOST_DIMENSION:
        faults.append(f"the output has the dims {dims}, expected at most {MOST_DIMENSION:,}")
    return faults


def _parameter_faults(config: Any, parameters: Mapping[str, str]) -> list[str]:
    """The faults in the parameters that both kinds of tower have."""
    faults = []
    if parameters.get("kind", "image") not in _KINDS:
        faults.append(f"parameter kind is {parameters['kind']!r}, expected one of {', '.join(_KINDS)}")
    if "dimension" in parameters and [parameters["dimension"]] != [str(each) for o in config.output for each in o.dims]:
        faults.append(f"parameter dimension is {parameters['dimension']!r}, which is not the output's")
    for key, value in sorted(parameters.items()):
        if re.fullmatch(r"(text_)?model_id(_v\d+)?", key) and not _MODEL_ID.fullmatch(value):
            faults.append(f"parameter {key} is {value!r}, expected name@digest")
    return faults


def _fit_faults(parameters: Mapping[str, str]) -> list[str]:
    faults = []
    if parameters.get("fit") not in _FITS:
        faults.append(f"parameter fit is {parameters.get('fit')!r}, expected one of {', '.join(_FITS)}")
    fraction = parameters.get("crop_fraction", "1")
    if not re.fullmatch(r"\d*\.?\d+", fraction) or not 0 < float(fraction) <= 1:
        faults.append(f"parameter crop_fraction is {fraction!r}, expected a number above 0 and up to 1")
    if (text_model := parameters.get("text_model")) is not None and not _NAME.fullmatch(text_model):
        faults.append(f"parameter text_model is {text_model!r}, expected the name of an entry")
    return faults


def _entry_faults(config: Any, name: str) -> list[str]:
    faults = []
    if config.name not in ("", name):
        faults.append(f"name is {config.name!r}, expected {name!r}")
    if config.backend != "onnxruntime":
        faults.append(f"backend is {config.backend!r}, expected 'onnxruntime'")
    if config.max_batch_size < 1:
        faults.append(f"max_batch_size is {config.max_batch_size}, expected at least 1")
    return faults
