"""A Triton backend in Python that serves ONNX models with ONNX Runtime, in place of NVIDIA's C++ backend of that name.

Triton runs one process of it for each instance of a model, with the packages of the server's own environment.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import onnxruntime
import triton_python_backend_utils as triton  # type: ignore[import-not-found]  # exists inside Triton only

# Triton loads only this file, so the modules beside it are found through the path.
sys.path.insert(0, str(Path(__file__).parent))
from ort_session import (  # type: ignore[import-not-found]  # see the line above
    CPU,
    ModelError,
    open_session,
    parse_config,
    providers_for,
    threads_for,
)
from request_batches import run_requests  # type: ignore[import-not-found]  # see above

# Set by the launcher (executors/triton_server/command.py): threads for all instances of one model together.
THREADS_VARIABLE = "ORT_INTRA_OP_THREADS"
# Large batches don't fit a CPU's cache: beyond a few rows its rate falls, while a GPU's grows.
CPU_ROWS = 4


class TritonPythonModel:
    """One instance of one version of one model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the model on the device that Triton chose for this instance."""
        try:
            config = parse_config(json.loads(args["model_config"]))
            kind, device = args["model_instance_kind"], int(args["model_instance_device_id"])
            providers, notes = providers_for(config, kind, device, onnxruntime.get_available_providers())
            threads = threads_for(config, os.environ.get(THREADS_VARIABLE))
            file = Path(args["model_repository"]) / args["model_version"] / config.file
            self._session, more = open_session(file, config, providers, threads)
        except ModelError as error:
            raise triton.TritonModelException(str(error)) from None
        self._batched = config.batched
        self._inputs = config.inputs
        self._outputs = [tensor.name for tensor in config.outputs]
        used = self._session.get_providers()[0]
        self._most_rows = CPU_ROWS if used == CPU else 0
        for note in notes + more:
            triton.Logger.log_warn(f"{args['model_name']}: {note}")
        triton.Logger.log_info(f"{args['model_instance_name']}: {used}, threads {threads or 'as many as cores'}")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests of one dynamic batch, in their order."""
        readable = [self._read(request) for request in requests]
        good = [at for at, tensors in enumerate(readable) if isinstance(tensors, dict)]
        answers: list[Any] = list(readable)
        ran = run_requests([readable[at] for at in good], self._run, batched=self._batched, most_rows=self._most_rows)
        for at, answer in zip(good, ran, strict=True):
            answers[at] = answer
        return [self._answer(request, answer) for request, answer in zip(requests, answers, strict=True)]

    def finalize(self) -> None:
        """Free the model (and the GPU's memory) before the process ends."""
        del self._session

    def _run(self, tensors: dict[str, Any]) -> Any:
        return self._session.run(self._outputs, tensors)

    def _read(self, request: Any) -> Any:
        """The request's tensors by name, or the error in them."""
        tensors = {}
        for declared in self._inputs:
            tensor = triton.get_input_tensor_by_name(request, declared.name)
            if tensor is not None:
                tensors[declared.name] = tensor.as_numpy()
            elif not declared.optional:
                return ValueError(f"the input {declared.name!r} is missing")
        return tensors

    def _answer(self, request: Any, answer: Any) -> Any:
        if isinstance(answer, Exception):
            message = str(answer).splitlines()[0] if str(answer) else type(answer).__name__
            return triton.InferenceResponse(error=triton.TritonError(message))
        wanted = request.requested_output_names()
        tensors = zip(self._outputs, answer, strict=True)
        return triton.InferenceResponse([triton.Tensor(name, array) for name, array in tensors if name in wanted])
