"""Runs a model of the repository in process, with ONNX Runtime, to check that it matches its configuration."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from executors.errors import VisualSearchError
from executors.models.reference import LEAST_COSINE, Reference, least_cosine, reference_inputs
from executors.models.repository import model_path
from executors.models.spec import TensorType, Tower

# Turns a tower's inputs (N x input_shape) into its outputs (N x D), wherever the model runs.
Run: TypeAlias = Callable[[Tower, NDArray[Any]], NDArray[Any]]

_ERRORS_ONLY: Final = 3
_LONGEST_REASON: Final = 300
_INPUT_TYPES: Final[dict[TensorType, str]] = {
    "UINT8": "tensor(uint8)",
    "INT32": "tensor(int32)",
    "INT64": "tensor(int64)",
}
_OUTPUT_TYPE: Final = "tensor(float)"


def run_in_process(models_dir: Path) -> Run:
    """A `Run` on this machine's CPU; each tower is loaded when it is first run.

    The returned function raises `model_missing`, or `model_invalid` when the file can't be loaded, has other inputs or
    outputs than its configuration, or fails.
    """
    sessions: dict[Tower, Any] = {}

    def run(tower: Tower, inputs: NDArray[Any]) -> NDArray[Any]:
        if tower not in sessions:
            sessions[tower] = _open_session(models_dir, tower)
        return _run(sessions[tower], tower, inputs)

    return run


def make_reference(models_dir: Path, tower: Tower) -> Reference:
    """Run a model on the fixed inputs: together, and each alone.

    Raises:
        VisualSearchError: those of `run_in_process`, and `model_invalid` when the result is not N x D, not finite,
            zero, or depends on the rest of the batch.
    """
    inputs = reference_inputs(models_dir, tower)
    run = run_in_process(models_dir)
    outputs = run(tower, inputs)
    expected = (len(inputs), tower.dimension)
    if outputs.shape != expected:
        raise _invalid(tower, f"it returned {list(outputs.shape)}, expected {list(expected)}")
    lengths = np.linalg.norm(outputs.astype(np.float64), axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not lengths.all():
        raise _invalid(tower, "its vectors are not finite, or are zero")
    reference = Reference(inputs, (outputs / lengths).astype(np.float32))
    alone = np.concatenate([run(tower, inputs[row : row + 1]) for row in range(len(inputs))])
    if not least_cosine(reference, alone) >= LEAST_COSINE:
        raise _invalid(tower, "a vector depends on the rest of the batch")
    return reference


def signature_faults(inputs: Sequence[Any], outputs: Sequence[Any], tower: Tower) -> list[str]:
    """The differences between the tensors that a file declares (ONNX Runtime's `NodeArg`s) and its configuration."""
    faults = []
    if [each.name for each in inputs] != [tower.input_name]:
        faults.append(f"its inputs are {', '.join(each.name for each in inputs)}, expected {tower.input_name}")
    else:
        faults += _tensor_faults(inputs[0], _INPUT_TYPES[tower.input_type], list(tower.input_shape))
    found = [each for each in outputs if each.name == tower.output_name]
    if not found:
        faults.append(f"its outputs are {', '.join(each.name for each in outputs)}, expected {tower.output_name}")
    else:
        faults += _tensor_faults(found[0], _OUTPUT_TYPE, [tower.dimension])
    return faults


def _tensor_faults(declared: Any, kind: str, dims: list[int]) -> list[str]:
    """The differences between a declared tensor and a batch of the given dims; names and None stand for any size."""
    faults = []
    if declared.type != kind:
        faults.append(f"{declared.name} is {declared.type}, expected {kind}")
    batch, rest = list(declared.shape[:1]), list(declared.shape[1:])
    pairs = zip(rest, dims, strict=False)
    fits = len(rest) == len(dims) and all(got == want or not isinstance(got, int) for got, want in pairs)
    if not fits or any(isinstance(each, int) for each in batch):
        faults.append(f"{declared.name} has the shape {list(declared.shape)}, expected {['batch', *dims]}")
    return faults


def _open_session(models_dir: Path, tower: Tower) -> Any:
    file = model_path(models_dir, tower.name, tower.version)
    if not file.is_file():
        message = f"the model {tower.name!r} has no file {tower.version}/model.onnx"
        raise VisualSearchError("model_missing", message, model=tower.name, version=tower.version)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library's exceptions have no base class of their own
        raise _invalid(tower, f"ONNX Runtime can't load it ({_reason(error)})") from error
    if faults := signature_faults(session.get_inputs(), session.get_outputs(), tower):
        raise _invalid(tower, "; ".join(faults))
    return session


def _run(session: Any, tower: Tower, inputs: NDArray[Any]) -> NDArray[Any]:
    try:
        return np.asarray(session.run([tower.output_name], {tower.input_name: inputs})[0])
    except Exception as error:  # as above
        what = f"ONNX Runtime can't run it with a batch of {len(inputs)} ({_reason(error)})"
        raise _invalid(tower, what) from error


def _reason(error: Exception) -> str:
    """The kind of an ONNX Runtime error and the first line of its text, with file names in place of paths."""
    line = next(iter(str(error).splitlines()), "").strip()
    line = re.sub(r"^\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ", "", line)
    line = re.sub(r"(?:(?<=[\s\"'(])|^)/(?:[^\s\"'/]+/)*", "", line)
    return f"{type(error).__name__}: {line[:_LONGEST_REASON]}" if line else type(error).__name__


def _invalid(tower: Tower, what: str) -> VisualSearchError:
    version = "" if tower.version == 1 else f" of version {tower.version}"
    message = f"the file of the model {tower.name!r}{version} does not fit its configuration: {what}"
    return VisualSearchError("model_invalid", message, model=tower.name, version=tower.version)
