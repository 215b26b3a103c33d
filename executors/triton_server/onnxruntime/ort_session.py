"""Opens an ONNX model as a Triton configuration describes it: tensors, device, threads, accelerators.

It runs inside Triton's Python backend, with only ONNX Runtime and numpy available.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnxruntime

# Triton's name of a type, and ONNX Runtime's. Strings and BF16 are left out: no embedding model takes them.
_TYPES: Final = {
    "TYPE_BOOL": "tensor(bool)",
    "TYPE_UINT8": "tensor(uint8)",
    "TYPE_UINT16": "tensor(uint16)",
    "TYPE_UINT32": "tensor(uint32)",
    "TYPE_UINT64": "tensor(uint64)",
    "TYPE_INT8": "tensor(int8)",
    "TYPE_INT16": "tensor(int16)",
    "TYPE_INT32": "tensor(int32)",
    "TYPE_INT64": "tensor(int64)",
    "TYPE_FP16": "tensor(float16)",
    "TYPE_FP32": "tensor(float)",
    "TYPE_FP64": "tensor(double)",
}
CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = "TensorrtExecutionProvider"
CPU: Final = "CPUExecutionProvider"
Provider = tuple[str, dict[str, str]]


class ModelError(Exception):
    """The model can't be served as configured; the message is for the author of the configuration."""


@dataclass(frozen=True)
class Tensor:
    """One tensor of a configuration; `dims` as in the configuration, without the batch, -1 for any length."""

    name: str
    type: str
    dims: tuple[int, ...]
    optional: bool = False


@dataclass(frozen=True)
class Config:
    """The parts of Triton's model configuration that this backend uses."""

    batched: bool
    file: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    instances: int
    parameters: Mapping[str, str]
    accelerators: Mapping[str, Mapping[str, str]]


def parse_config(config: Mapping[str, Any]) -> Config:
    """Read the configuration that Triton hands over as JSON.

    Raises:
        ModelError: it asks for a feature that this backend does not have.
    """
    accelerators = (config.get("optimization") or {}).get("execution_accelerators") or {}
    gpu = accelerators.get("gpu_execution_accelerator") or []
    return Config(
        batched=int(config.get("max_batch_size") or 0) > 0,
        file=config.get("default_model_filename") or "model.onnx",
        inputs=tuple(_tensor(entry) for entry in config.get("input") or []),
        outputs=tuple(_tensor(entry) for entry in config.get("output") or []),
        instances=sum(int(group.get("count") or 1) for group in config.get("instance_group") or []) or 1,
        parameters={key: entry.get("string_value", "") for key, entry in (config.get("parameters") or {}).items()},
        accelerators={entry["name"]: entry.get("parameters") or {} for entry in gpu},
    )


def threads_for(config: Config, given: str | None) -> int:
    """Threads of one instance: the configuration's `intra_op_thread_count` (NVIDIA's name for it), otherwise its share
    of the server's threads; 0 leaves it to ONNX Runtime (all cores).
    """
    configured = config.parameters.get("intra_op_thread_count", "")
    if configured.isdigit() and int(configured):
        return int(configured)
    return max(1, int(given) // config.instances) if given and given.isdigit() and int(given) else 0


def providers_for(config: Config, kind: str, device: int, available: Sequence[str]) -> tuple[list[Provider], list[str]]:
    """The execution providers of an instance, best first, and lines for the log.

    Args:
        config: the model's configuration.
        kind: Triton's instance kind, `GPU`, `CPU` or `MODEL`.
        device: the GPU's number among those that the server sees.
        available: the providers that this ONNX Runtime was built with.
    """
    if kind != "GPU":
        return [(CPU, {})], []
    if CUDA not in available:
        return [(CPU, {})], ["this ONNX Runtime has no CUDA: an instance for a GPU runs on the CPU"]
    # The default searches for the fastest algorithm again for every batch size, which is too slow with dynamic
    # batching.
    cuda: Provider = (CUDA, {"device_id": str(device), "cudnn_conv_algo_search": "HEURISTIC"})
    providers, notes = [cuda, (CPU, {})], []
    for name, parameters in config.accelerators.items():
        if name != "tensorrt":
            notes.append(f"the execution accelerator {name!r} is not available here and was left out")
        elif TENSORRT not in available:
            notes.append("this ONNX Runtime has no TensorRT: the model runs with CUDA instead")
        else:
            providers.insert(0, (TENSORRT, {"device_id": str(device)} | _tensorrt_options(parameters)))
    return providers, notes


def open_session(
    file: Path, config: Config, providers: Sequence[Provider], threads: int
) -> tuple[onnxruntime.InferenceSession, list[str]]:
    """Open the model and compare it with its configuration.

    Returns:
        The session, and lines for the log.

    Raises:
        ModelError: the file is missing, damaged, or another model than the configuration says; the GPU can't be used.
    """
    if not file.is_file():
        raise ModelError(f"{_place(file)} is missing")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that spin while they wait take the cores from the server and from other replicas.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=list(providers))
    except Exception as error:
        # ONNX Runtime has a class for each status, none of them public.
        said = str(error).replace(str(file), _place(file)).splitlines()[0]
        raise ModelError(f"{_place(file)} can't be loaded: {said}") from None
    notes = []
    used = session.get_providers()
    if providers[0][0] != CPU and CUDA not in used:
        raise ModelError("CUDA can't be used on the GPU that was given (driver, CUDA or cuDNN); lines above say why")
    if providers[0][0] == TENSORRT and TENSORRT not in used:
        notes.append("TensorRT's libraries can't be loaded: the model runs with CUDA instead")
    _check("input", config.inputs, session.get_inputs(), config.batched, file)
    _check("output", config.outputs, session.get_outputs(), config.batched, file)
    return session, notes


def _tensor(entry: Mapping[str, Any]) -> Tensor:
    name, kind = entry["name"], entry.get("data_type", "")
    if kind not in _TYPES:
        raise ModelError(f"tensor {name!r}: {kind or 'no data_type'} is not supported by this backend")
    if (entry.get("reshape") or {}).get("shape") is not None:
        raise ModelError(f"tensor {name!r}: reshape is not supported by this backend")
    return Tensor(name, kind, tuple(int(length) for length in entry["dims"]), bool(entry.get("optional")))


def _tensorrt_options(parameters: Mapping[str, str]) -> dict[str, str]:
    """NVIDIA's names for the accelerator's parameters, as options of ONNX Runtime's provider."""
    options = {}
    precision = parameters.get("precision_mode", "FP32").upper()
    if precision in ("FP16", "INT8"):
        options[f"trt_{precision.lower()}_enable"] = "True"
    if "max_workspace_size_bytes" in parameters:
        options["trt_max_workspace_size"] = parameters["max_workspace_size_bytes"]
    return options | {key: value for key, value in parameters.items() if key.startswith("trt_")}


def _check(role: str, declared: Sequence[Tensor], actual: Sequence[Any], batched: bool, file: Path) -> None:
    nodes = {node.name: node for node in actual}
    for tensor in declared:
        node = nodes.pop(tensor.name, None)
        if node is None:
            has = ", ".join(repr(each.name) for each in actual)
            raise ModelError(f"{_place(file)} has no {role} {tensor.name!r}; it has {has}")
        if node.type != _TYPES[tensor.type]:
            message = f"{role} {tensor.name!r} of {_place(file)} is {node.type}, the configuration says {tensor.type}"
            raise ModelError(message)
        expected = (-1, *tensor.dims) if batched else tensor.dims
        found = [length if isinstance(length, int) else -1 for length in node.shape]
        fits = len(found) == len(expected) and all(
            -1 in pair or pair[0] == pair[1] for pair in zip(found, expected, strict=True)
        )
        if not fits or (batched and found[0] != -1):
            message = (
                f"{role} {tensor.name!r} of {_place(file)} has the shape {found}, "
                f"the configuration says {list(expected)}" + (" (-1 first: any batch)" if batched else "")
            )
            raise ModelError(message)
    if role == "input" and nodes:
        raise ModelError(f"{_place(file)} has an input that the configuration does not name: {', '.join(nodes)}")


def _place(file: Path) -> str:
    """`<model>/<version>/<file>`: the path within the repository."""
    return "/".join(file.parts[-3:])
