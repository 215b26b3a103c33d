"""The handshake: checks that a server runs the model that the local configuration names, before the first call and
repeatedly.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import model_config_pb2

from executors.embed.triton.calls import answer_within
from executors.embed.triton.client import CallError, FailureKind, ask, infer
from executors.errors import VisualSearchError
from executors.models.pbtxt import versioned
from executors.models.reference import LEAST_COSINE, Reference, least_cosine
from executors.models.repository import build_command
from executors.models.spec import DTYPES, Tower

T = TypeVar("T")

_ANY_SIZE: Final = -1


@dataclass(frozen=True, slots=True)
class Served:
    """A model on a server that passed.

    Attributes:
        rows_per_call: the maximum number of rows of one call.
        device: whether its instances run on a GPU or all on the CPU.
        server: name and version of the server.
        inferences: the server's own count at that moment; it restarts whenever the model is loaded again.
    """

    rows_per_call: int
    device: Literal["cpu", "gpu"]
    server: str
    inferences: int = field(compare=False)


async def verify(
    client: Any, tower: Tower, reference: Reference | None, *, cpu_batch: int, seconds: float, answer_s: float
) -> Served:
    """Compare the server's model with `tower`, and run it on inputs whose vectors are known.

    Args:
        client: from `connect`.
        tower: the expected model.
        reference: known inputs and outputs; without them one generated row is run.
        cpu_batch: the maximum number of rows of a call to a model on a CPU.
        seconds: the timeout of all of it.
        answer_s: the timeout of questions that need no computing, to tell a server that hangs from one that is slow.

    Raises:
        CallError: the server does not answer.
        VisualSearchError: `unavailable` when it has not loaded the model, `model_mismatch` when it has another one,
            `model_invalid` when its configuration differs or names no `model_id`, `embedding_failed` when the vectors
            are not finite.
    """
    left = _countdown(seconds)
    metadata = await _ask(client.get_server_metadata, seconds=min(answer_s, left()))
    config = await _config(client, tower, min(answer_s, left()))
    check_config(config, tower)
    device: Literal["cpu", "gpu"] = "cpu" if _only_cpu(config) else "gpu"
    rows = min(tower.max_batch_size, config.max_batch_size)
    rows = min(rows, cpu_batch) if device == "cpu" else rows
    await _run_reference(client, tower, reference, rows, left)
    inferences = await _inferences(client, tower, left())
    return Served(rows, device, f"{metadata.name} {metadata.version}", inferences)


async def recheck(client: Any, tower: Tower, inferences_before: int, seconds: float) -> int:
    """A cheap check that the model that passed is still there: loaded, with the same id, and not loaded again since.

    Args:
        client: from `connect`.
        tower: the expected model.
        inferences_before: the server's count at the previous check.
        seconds: the timeout of all of it.

    Returns:
        The server's count of inferences, for the next check.

    Raises:
        CallError: the server does not answer, or the model was loaded again and has to be verified again.
        VisualSearchError: as `verify`.
    """
    left = _countdown(seconds)
    check_config(await _config(client, tower, left()), tower)
    inferences = await _inferences(client, tower, left())
    if inferences < inferences_before:
        raise CallError(FailureKind.REFUSED, "the model was reloaded")
    return inferences


def check_config(config: Any, tower: Tower) -> None:
    """Compare a server's model configuration (Triton's `ModelConfig` message) with the expected one.

    Raises:
        VisualSearchError: `model_mismatch`, `model_invalid`; with all differences in one message.
    """
    faults = _signature_faults(config, tower)
    key = versioned("model_id", tower.version)
    actual = config.parameters[key].string_value if key in config.parameters else ""
    if not actual:
        faults.append(f"its configuration has no parameter {key} (`{build_command(tower.name)}` adds it)")
    elif actual != tower.model_id:
        message = f"the server's model {tower.name!r} is {actual}, expected {tower.model_id}"
        raise VisualSearchError(
            "model_mismatch", "; ".join([message, *faults]), expected=tower.model_id, actual=actual, faults=faults
        )
    if faults:
        message = f"the server's model {tower.name!r} does not fit: {'; '.join(faults)}"
        raise VisualSearchError("model_invalid", message, model=tower.name, faults=faults)


def _signature_faults(config: Any, tower: Tower) -> list[str]:
    faults = []
    needed = [each.name for each in config.input if not each.optional]
    if needed != [tower.input_name]:
        faults.append(f"its inputs are {', '.join(needed) or 'none'}, expected {tower.input_name}")
    for each in config.input:
        if each.name == tower.input_name:
            faults += _tensor_faults(each, f"TYPE_{tower.input_type}", list(tower.input_shape))
    outputs = {each.name: each for each in config.output}
    if tower.output_name not in outputs:
        faults.append(f"its outputs are {', '.join(outputs) or 'none'}, expected {tower.output_name}")
    else:
        faults += _tensor_faults(outputs[tower.output_name], "TYPE_FP32", [tower.dimension])
    if config.max_batch_size < 1:
        faults.append(f"max_batch_size is {config.max_batch_size}, expected at least 1")
    return faults


def _tensor_faults(tensor: Any, expected_type: str, expected_dims: list[int]) -> list[str]:
    faults = []
    if (actual_type := model_config_pb2.DataType.Name(tensor.data_type)) != expected_type:
        faults.append(f"{tensor.name} is {actual_type}, expected {expected_type}")
    dims = list(tensor.dims)
    if len(dims) != len(expected_dims) or any(
        got not in (want, _ANY_SIZE) for got, want in zip(dims, expected_dims, strict=True)
    ):
        faults.append(f"{tensor.name} has the dims {dims}, expected {expected_dims}")
    return faults


def _only_cpu(config: Any) -> bool:
    kinds = {group.kind for group in config.instance_group}
    return kinds == {model_config_pb2.ModelInstanceGroup.KIND_CPU}


async def _ask(method: Callable[..., Awaitable[T]], *arguments: Any, seconds: float) -> T:
    return await answer_within(seconds, lambda deadline: ask(method, *arguments, seconds=deadline))


async def _config(client: Any, tower: Tower, seconds: float) -> Any:
    """The configuration of a loaded model."""
    version = str(tower.version)
    missing = VisualSearchError(
        "unavailable", f"the server has not loaded version {version} of the model {tower.name!r}", model=tower.name
    )
    left = _countdown(seconds)
    if not await _ask(client.is_model_ready, tower.name, version, seconds=left()):
        raise missing
    try:
        answer = await _ask(client.get_model_config, tower.name, version, seconds=left())
    except CallError as failure:
        if failure.kind is FailureKind.REFUSED:  # the model was unloaded between the two questions
            raise missing from None
        raise
    return answer.config


async def _inferences(client: Any, tower: Tower, seconds: float) -> int:
    answer = await _ask(client.get_inference_statistics, tower.name, str(tower.version), seconds=seconds)
    return sum(each.inference_count for each in answer.model_stats)


async def _run_reference(
    client: Any, tower: Tower, reference: Reference | None, rows: int, left: Callable[[], float]
) -> None:
    inputs = generated_row(tower) if reference is None else reference.inputs
    parts = [await _known(client, tower, inputs[start : start + rows], left) for start in range(0, len(inputs), rows)]
    vectors = np.concatenate(parts)
    if reference is None:
        return
    if not np.isfinite(vectors).all():
        message = f"the server's model {tower.name!r} returns vectors that are not finite for the stored inputs"
        raise VisualSearchError("embedding_failed", message, model=tower.name)
    cosine = least_cosine(reference, vectors)
    # The condition is written so that a NaN fails.
    if not cosine >= LEAST_COSINE:
        message = (
            f"the server's model {tower.name!r} calls itself {tower.model_id}, but has other weights: its vectors for the "
            f"stored inputs have a cosine of {cosine:.4f} to the stored ones, expected at least {LEAST_COSINE}"
        )
        raise VisualSearchError(
            "model_mismatch", message, expected=tower.model_id, cosine=round(cosine, 6) if np.isfinite(cosine) else None
        )


async def _known(client: Any, tower: Tower, inputs: NDArray[Any], left: Callable[[], float]) -> NDArray[np.float32]:
    try:
        return await answer_within(left(), partial(infer, client, tower, inputs))
    except CallError as failure:
        if failure.kind is FailureKind.WRONG_ANSWER:
            raise VisualSearchError(
                "model_invalid", f"the server's model: {failure.message}", model=tower.name
            ) from None
        if failure.kind in (FailureKind.REFUSED, FailureKind.SERVER_ERROR, FailureKind.BROKEN):
            message = f"the server can't run its model {tower.name!r}: {failure.message}"
            raise VisualSearchError("unavailable", message, model=tower.name) from failure
        raise


def generated_row(tower: Tower) -> NDArray[Any]:
    """One row of input that any model of this shape can run: bright pixels of every value, or only padding."""
    if tower.input_type != "UINT8":
        return np.zeros((1, *tower.input_shape), DTYPES[tower.input_type])
    values = np.arange(int(np.prod(tower.input_shape)), dtype=np.int64) % 255 + 1
    return values.astype(np.uint8).reshape(1, *tower.input_shape)


def _countdown(seconds: float) -> Callable[[], float]:
    """The remaining seconds of a time that begins now; always enough for a call to report that it timed out."""
    end = time.monotonic() + seconds
    return lambda: max(0.001, end - time.monotonic())
