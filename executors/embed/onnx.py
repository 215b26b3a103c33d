"""ONNX Runtime inside the replica's own process: the backend that needs nothing installed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from executors.embed.backend import EmbeddingBackend
from executors.embed.devices import Device
from executors.errors import VisualSearchError
from executors.models.repository import check_model, model_path
from executors.models.spec import ModelSpec

_CPU_PROVIDER: Final = "CPUExecutionProvider"
_CUDA_PROVIDER: Final = "CUDAExecutionProvider"
_ERRORS_ONLY: Final = 3

# Runs that one call keeps waiting for the model: with one more than is running, the model never waits for the event
# loop; with few, calls that come at the same time take turns, and a search is not held up by a large write.
_RUNS_AHEAD: Final = 2


class OnnxBackend(EmbeddingBackend):
    """One model in one session; runs follow each other in one thread, which computes with `threads` threads."""

    def __init__(self, models_dir: Path, spec: ModelSpec, device: Device, *, batch: int, threads: int) -> None:
        """
        Args:
            models_dir: the model repository.
            spec: the model; what the repository holds at `start` must still be that one.
            device: where to run it. A GPU that this build of ONNX Runtime can't use falls back to the CPU; `status`
                says so.
            batch: most pictures of one run on a CPU, where large batches are slower, since what a layer leaves for
                the next one no longer fits the cache. On a GPU the model's own limit holds.
            threads: threads of one run.
        """
        self.spec = spec
        self._models_dir = models_dir
        self._device = device
        self._cpu_batch = min(batch, spec.max_batch_size)
        self._threads = threads
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="onnx")
        self._session: Any = None
        self._images = self._runs = self._failures = self._waiting = 0

    async def start(self) -> None:
        try:
            self._session = await asyncio.get_running_loop().run_in_executor(self._pool, self._load)
        except BaseException:
            self._pool.shutdown(wait=False)
            raise

    async def embed(self, tensors: NDArray[np.uint8]) -> NDArray[np.float32]:
        expected = (self.spec.height, self.spec.width, 3)
        if tensors.ndim != 4 or tensors.shape[1:] != expected or tensors.dtype != np.uint8 or not len(tensors):
            got = f"{tensors.dtype} {list(tensors.shape)}"
            message = f"the model takes N x {' x '.join(map(str, expected))} uint8, not {got}"
            raise VisualSearchError("invalid_tensor", message, expected=list(expected), got=got)
        batch = self._batch
        starts = iter(range(0, len(tensors), batch))
        vectors = np.empty((len(tensors), self.spec.dimension), np.float32)
        self._waiting += len(tensors)
        try:
            async with asyncio.TaskGroup() as runs:
                for _ in range(_RUNS_AHEAD):
                    runs.create_task(self._run_in_turn(tensors, vectors, starts, batch))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            self._waiting -= len(tensors)
        self._images += len(tensors)
        return vectors

    async def close(self) -> None:
        session, self._session = self._session, None
        await asyncio.to_thread(self._pool.shutdown, wait=True)
        del session

    def status(self) -> dict[str, Any]:
        gpu = self._on_gpu
        ready = self._session is not None
        report = {
            "backend": "onnx",
            "ready": ready,
            "device": str(self._device) if gpu else "cpu",
            "threads": self._threads,
            "batch": self._batch,
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
        return self._session is not None and self._session.get_providers()[0] == _CUDA_PROVIDER

    @property
    def _batch(self) -> int:
        return self.spec.max_batch_size if self._on_gpu else self._cpu_batch

    def _load(self) -> Any:
        """Check and load the model, and run it once, so that the first request is as fast as the others."""
        found = check_model(self._models_dir, self.spec.name)
        if found != self.spec:
            message = (
                f"the model {self.spec.name!r} was replaced: it is {found.model_id}, expected {self.spec.model_id}"
            )
            raise VisualSearchError("model_invalid", message, expected=self.spec.model_id, actual=found.model_id)
        try:
            session = onnxruntime.InferenceSession(
                str(model_path(self._models_dir, self.spec.name)),
                _session_options(self._threads),
                providers=_providers(self._device),
            )
        except Exception as error:  # the library's exceptions have no base class of their own
            message = f"ONNX Runtime can't load the model {self.spec.name!r} ({type(error).__name__})"
            raise VisualSearchError("model_invalid", message, model=self.spec.name) from error
        _check_signature(session, self.spec)
        picture = np.zeros((1, self.spec.height, self.spec.width, 3), np.uint8)
        vectors = self._compute(session, picture)
        if vectors.shape != (1, self.spec.dimension):
            message = (
                f"the model {self.spec.name!r} returned {list(vectors.shape)}, expected [1, {self.spec.dimension}]"
            )
            raise VisualSearchError("model_invalid", message, model=self.spec.name)
        return session

    async def _run_in_turn(
        self, tensors: NDArray[np.uint8], vectors: NDArray[np.float32], starts: Iterator[int], batch: int
    ) -> None:
        """Run slice after slice until none is left; `starts` is shared with the other tasks of the same call."""
        loop = asyncio.get_running_loop()
        for start in starts:
            if (session := self._session) is None:
                raise VisualSearchError("unavailable", "the model is not loaded", stage="embed")
            part = slice(start, start + batch)
            try:
                result = await loop.run_in_executor(self._pool, self._compute, session, tensors[part])
            except RuntimeError:  # the pool was shut down by `close`
                raise VisualSearchError("unavailable", "the model was closed", stage="embed") from None
            if result.shape != vectors[part].shape:
                message = f"the model returned {list(result.shape)}, expected {list(vectors[part].shape)}"
                raise VisualSearchError("embedding_failed", message)
            vectors[part] = result

    def _compute(self, session: Any, tensors: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One run, in the pool's thread."""
        self._runs += 1
        try:
            result: NDArray[np.float32] = session.run([self.spec.output_name], {self.spec.input_name: tensors})[0]
        except Exception as error:  # the library's exceptions have no base class of their own
            self._failures += 1
            message = f"ONNX Runtime could not run the model ({type(error).__name__})"
            raise VisualSearchError("unavailable", message, stage="embed") from error
        return result


def _session_options(threads: int) -> Any:
    """Options for several processes that share the cores, and for memory that stays flat.

    Threads that spin while they wait take the cores from the other replicas (and from the last part of their own run). A
    memory plan is kept for every size of batch, for no gain in speed; the arena alone stays at what the largest one took.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def _providers(device: Device) -> list[Any]:
    """The GPU that the replica was given, if this build can use one. It is the process's first, whatever its number."""
    if device.kind == "gpu" and _CUDA_PROVIDER in onnxruntime.get_available_providers():
        return [(_CUDA_PROVIDER, {"device_id": 0}), _CPU_PROVIDER]
    return [_CPU_PROVIDER]


def _check_signature(session: Any, spec: ModelSpec) -> None:
    """Compare the inputs and outputs that the file declares with the configuration.

    Raises:
        VisualSearchError: `model_invalid`, naming every difference.
    """
    inputs = {each.name: each for each in session.get_inputs()}
    outputs = {each.name: each for each in session.get_outputs()}
    faults = []
    if list(inputs) != [spec.input_name]:
        faults.append(f"its inputs are {', '.join(inputs)}, expected {spec.input_name}")
    else:
        faults += _tensor_faults(inputs[spec.input_name], "tensor(uint8)", [spec.height, spec.width, 3])
    if spec.output_name not in outputs:
        faults.append(f"its outputs are {', '.join(outputs)}, expected {spec.output_name}")
    else:
        faults += _tensor_faults(outputs[spec.output_name], "tensor(float)", [spec.dimension])
    if faults:
        message = f"the file of the model {spec.name!r} does not fit its configuration: {'; '.join(faults)}"
        raise VisualSearchError("model_invalid", message, model=spec.name, faults=faults)


def _tensor_faults(declared: Any, kind: str, dims: list[int]) -> list[str]:
    """What differs between a declared tensor and a batch of the given dims; names and None stand for any size."""
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
