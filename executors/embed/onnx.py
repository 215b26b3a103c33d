"""The backend that runs ONNX Runtime in the replica's own process and needs no further installation."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from executors.devices import Device
from executors.embed.backend import EmbeddingBackend, check_inputs
from executors.errors import VisualSearchError
from executors.models.repository import check_tower, model_path
from executors.models.spec import DTYPES, TensorType, Tower, Towers
from executors.scheduling.fair_threads import FairThreads
from executors.scheduling.turns import Turn, current_turn

_CPU_PROVIDER: Final = "CPUExecutionProvider"
_CUDA_PROVIDER: Final = "CUDAExecutionProvider"
_ERRORS_ONLY: Final = 3
_INPUT_TYPES: Final[Mapping[TensorType, str]] = {
    "UINT8": "tensor(uint8)",
    "INT32": "tensor(int32)",
    "INT64": "tensor(int64)",
}

# How many runs one call keeps in the queue. With one more than is running, the model never waits for the event loop;
# with few, simultaneous calls take turns, and a large write does not hold up a search.
_RUNS_AHEAD: Final = 2


class OnnxBackend(EmbeddingBackend):
    """A session for each tower. Runs follow each other in one thread for bulk and one for small requests, which goes
    first.

    Both use the same sessions, which compute with `threads` threads.
    """

    def __init__(
        self,
        models_dir: Path,
        towers: Towers,
        device: Device,
        *,
        batch: int,
        threads: int,
        helper_cores: Sequence[int] = (),
    ) -> None:
        """Keep the arguments; `start` loads the model.

        Args:
            models_dir: the model repository.
            towers: the model; the repository must still hold the same one at `start`.
            device: where to run it. If this build of ONNX Runtime can't use the GPU, the model runs on the CPU, and
                `status` says so.
            batch: the maximum number of rows of one run on a CPU. Large batches are slower there, since the results of
                one layer no longer fit the cache. On a GPU the model's own limit applies.
            threads: threads of one run: the one that asks for it, and those that help it.
            helper_cores: the cores that the helping threads may run on; empty for any.
        """
        self.towers = towers
        self._models_dir = models_dir
        self._device = device
        self._cpu_batch = batch
        self._threads = threads
        self._helper_cores = helper_cores
        self._pool = FairThreads(bulk=1, small=1, name="onnx")
        self._sessions: Mapping[Tower, Any] = {}
        self._images = self._runs = self._failures = self._waiting = 0

    async def start(self) -> None:
        try:
            self._sessions = await asyncio.wrap_future(self._pool.submit(self._load, Turn()))
        except BaseException:
            self._pool.close()
            raise

    async def embed(self, tower: Tower, inputs: NDArray[Any]) -> NDArray[np.float32]:
        check_inputs(tower, inputs)
        batch = self._batch_of(tower)
        starts = iter(range(0, len(inputs), batch))
        vectors = np.empty((len(inputs), tower.dimension), np.float32)
        self._waiting += len(inputs)
        try:
            async with asyncio.TaskGroup() as runs:
                for _ in range(_RUNS_AHEAD):
                    runs.create_task(self._run_in_turn(tower, inputs, vectors, starts, batch))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            self._waiting -= len(inputs)
        self._images += len(inputs)
        return vectors

    async def close(self) -> None:
        sessions, self._sessions = self._sessions, {}
        await asyncio.to_thread(self._pool.close, wait=True)
        del sessions

    def status(self) -> dict[str, Any]:
        gpu = self._on_gpu
        ready = bool(self._sessions)
        report = {
            "backend": "onnx",
            "ready": ready,
            "error": None if ready else _not_loaded().to_json(),
            "device": str(self._device) if gpu else "cpu",
            "threads": self._threads,
            "batch": self._batch_of(self.towers.image),
            "images": self._images,
            "runs": self._runs,
            "failures": self._failures,
            "waiting": self._waiting,
        }
        if ready and self._device.kind == "gpu" and not gpu:
            report["note"] = (
                f"{self._device} was given, but this ONNX Runtime has no {_CUDA_PROVIDER}: running on the CPU"
            )
        return report

    @property
    def _on_gpu(self) -> bool:
        session = self._sessions.get(self.towers.image)
        return session is not None and session.get_providers()[0] == _CUDA_PROVIDER

    def _batch_of(self, tower: Tower) -> int:
        return tower.max_batch_size if self._on_gpu else min(self._cpu_batch, tower.max_batch_size)

    def _load(self) -> dict[Tower, Any]:
        return {tower: self._load_tower(tower) for tower in self.towers}

    def _load_tower(self, tower: Tower) -> Any:
        """Check and load a model, and run it once, so that the first request is as fast as the others."""
        check_tower(self._models_dir, tower)
        try:
            session = onnxruntime.InferenceSession(
                str(model_path(self._models_dir, tower.name, tower.version)),
                _session_options(self._threads, self._helper_cores),
                providers=_providers(self._device),
            )
        except Exception as error:  # the library's exceptions have no base class of their own
            message = f"ONNX Runtime can't load the model {tower.name!r} ({type(error).__name__})"
            raise VisualSearchError("model_invalid", message, model=tower.name) from error
        _check_signature(session, tower)
        vectors = self._compute(session, tower, np.zeros((1, *tower.input_shape), DTYPES[tower.input_type]))
        if vectors.shape != (1, tower.dimension):
            message = f"the model {tower.name!r} returned {list(vectors.shape)}, expected [1, {tower.dimension}]"
            raise VisualSearchError("model_invalid", message, model=tower.name)
        return session

    async def _run_in_turn(
        self, tower: Tower, inputs: NDArray[Any], vectors: NDArray[np.float32], starts: Iterator[int], batch: int
    ) -> None:
        """Run slice after slice until none is left; `starts` is shared with the other tasks of the same call."""
        for start in starts:
            if (session := self._sessions.get(tower)) is None:
                raise _not_loaded()
            part = slice(start, start + batch)
            run = self._pool.submit(partial(self._compute, session, tower, inputs[part]), current_turn.get())
            result = await asyncio.wrap_future(run)
            if result.shape != vectors[part].shape:
                message = f"the model returned {list(result.shape)}, expected {list(vectors[part].shape)}"
                raise VisualSearchError("embedding_failed", message)
            vectors[part] = result

    def _compute(self, session: Any, tower: Tower, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """One run, in the pool's thread."""
        self._runs += 1
        try:
            result: NDArray[np.float32] = session.run([tower.output_name], {tower.input_name: inputs})[0]
        except Exception as error:  # the library's exceptions have no base class of their own
            self._failures += 1
            message = f"ONNX Runtime could not run the model ({type(error).__name__})"
            raise VisualSearchError("unavailable", message, stage="embed") from error
        return result


def _not_loaded() -> VisualSearchError:
    return VisualSearchError("unavailable", "the model is not loaded", stage="embed")


def _session_options(threads: int, helper_cores: Sequence[int]) -> Any:
    """Options for several processes that share the cores, and for memory that does not grow.

    Threads that spin while they wait take the cores from the other replicas (and from the last part of their own run).
    ONNX Runtime would keep a memory plan for every size of batch, without a gain in speed; the arena alone stays at the
    size of the largest one.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    if helper_cores and threads > 1:
        # ONNX Runtime counts the cores from 1.
        each = ",".join(str(core + 1) for core in helper_cores)
        options.add_session_config_entry("session.intra_op_thread_affinities", ";".join([each] * (threads - 1)))
    return options


def _providers(device: Device) -> list[Any]:
    """The GPU of the replica, if this build can use one. It is number 0 in this process, with any number on the
    machine.
    """
    if device.kind == "gpu" and _CUDA_PROVIDER in onnxruntime.get_available_providers():
        return [(_CUDA_PROVIDER, {"device_id": 0}), _CPU_PROVIDER]
    return [_CPU_PROVIDER]


def _check_signature(session: Any, tower: Tower) -> None:
    """Compare the inputs and outputs that the file declares with the configuration.

    Raises:
        VisualSearchError: `model_invalid`, naming every difference.
    """
    inputs = {each.name: each for each in session.get_inputs()}
    outputs = {each.name: each for each in session.get_outputs()}
    faults = []
    if list(inputs) != [tower.input_name]:
        faults.append(f"its inputs are {', '.join(inputs)}, expected {tower.input_name}")
    else:
        faults += _tensor_faults(inputs[tower.input_name], _INPUT_TYPES[tower.input_type], [*tower.input_shape])
    if tower.output_name not in outputs:
        faults.append(f"its outputs are {', '.join(outputs)}, expected {tower.output_name}")
    else:
        faults += _tensor_faults(outputs[tower.output_name], "tensor(float)", [tower.dimension])
    if faults:
        message = f"the file of the model {tower.name!r} does not fit its configuration: {'; '.join(faults)}"
        raise VisualSearchError("model_invalid", message, model=tower.name, faults=faults)


def _tensor_faults(declared: Any, kind: str, dims: list[int]) -> list[str]:
    """The differences between a declared tensor and a batch of the given dims; names and None stand for any size."""
    faults = []
    if declared.type != kind:
        faults.append(f"{declared.name} is {declared.type}, expected {kind}")
    shape = list(declared.shape)
    batch, rest = shape[:1], shape[1:]
    fixed_batch = any(isinstance(each, int) for each in batch)
    fits = len(rest) == len(dims) and all(
        got == want or not isinstance(got, int) for got, want in zip(rest, dims, strict=True)
    )
    if not batch or fixed_batch or not fits:
        faults.append(f"{declared.name} has the shape {shape}, expected {['batch', *dims]}")
    return faults
