"""A server of Triton's gRPC protocol inside the test process: real connections, and any fault at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from executors.models.reference import Reference, write_reference
from executors.models.spec import DTYPES, ModelSpec, TextSpec, Tower, Towers

IMAGE = ModelSpec("tiny", f"tiny@{'1' * 16}", 3, 8, 8, "squash", max_batch_size=16, text_model="words")
TEXT = TextSpec("words", f"words@{'2' * 16}", 3, 5, max_batch_size=8)
ONLY_IMAGE = Towers(IMAGE)
BOTH = Towers(IMAGE, TEXT)

Function = Callable[[NDArray[Any]], NDArray[np.float32]]


def sound(inputs: NDArray[Any]) -> NDArray[np.float32]:
    """Compute the results of the stand-in's models: three moments of each row, of unit length; all zeros give NaN."""
    rows = inputs.reshape(len(inputs), -1).astype(np.float32)
    moments = np.stack([rows.mean(1), rows[:, ::2].mean(1), rows.std(1)], axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(moments / np.linalg.norm(moments, axis=1, keepdims=True), np.float32)


def other_weights(inputs: NDArray[Any]) -> NDArray[np.float32]:
    """Vectors of the same dimension that another model made."""
    return sound(inputs)[:, ::-1] * np.array([1, -1, 1], np.float32)


def pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(1, 256, (count, 8, 8, 3), np.uint8)


def tokens(count: int) -> NDArray[np.int64]:
    return np.random.default_rng(1).integers(1, 99, (count, 5), np.int64)


def write_references(models_dir: Path, towers: Towers) -> None:
    """The stored outputs of the sound models."""
    for tower in towers:
        inputs = pictures(3, 9) if isinstance(tower, ModelSpec) else tokens(3)
        (models_dir / tower.name).mkdir(parents=True, exist_ok=True)
        write_reference(models_dir, tower, Reference(inputs, sound(inputs)))


def config_of(tower: Tower) -> Any:
    """The configuration that Triton would show of a tower, on a CPU."""
    config = model_config_pb2.ModelConfig(name=tower.name, backend="onnxruntime", max_batch_size=tower.max_batch_size)
    kind = model_config_pb2.DataType.Value(f"TYPE_{tower.input_type}")
    config.input.add(name=tower.input_name, data_type=kind, dims=tower.input_shape)
    config.output.add(name=tower.output_name, data_type=model_config_pb2.TYPE_FP32, dims=[tower.dimension])
    config.parameters["model_id"].string_value = tower.model_id
    config.instance_group.add(kind=model_config_pb2.ModelInstanceGroup.KIND_CPU, count=1)
    return config


@dataclass
class StandInModel:
    """One loaded model."""

    config: Any
    function: Function = sound
    version: str = "1"
    inferences: int = 0


class StandInTriton(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Serves `models`; tests change them, or what happens to a call, while it runs.

    Attributes:
        delay_s: how long each inference takes.
        fault: raised as this status in place of an answer to an inference.
        hung: nothing is answered any more, health checks neither.
        stalled: how many calls met a hung server, and wait.
        sizes: rows of each inference, reference inputs left out.
        statistics_asked: how often a model's statistics were asked for.
        connections: addresses of clients seen.
        cancellations: inferences that a client cancelled, or whose deadline passed, while they ran.
    """

    def __init__(self, towers: Towers = ONLY_IMAGE) -> None:
        self.models = {tower.name: StandInModel(config_of(tower)) for tower in towers}
        self.delay_s = 0.0
        self.fault: tuple[grpc.StatusCode, str] | None = None
        self.hung = False
        self.stalled = 0
        self._going = asyncio.Event()
        self._going.set()
        self.sizes: list[int] = []
        self.statistics_asked = 0
        self.in_flight = self.most_in_flight = 0
        self.connections: set[str] = set()
        self.cancellations = 0
        self.url = ""
        self._server: Any = None

    async def start(self, port: int = 0) -> StandInTriton:
        """Listen; `url` says where."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        self.url = f"127.0.0.1:{self._server.add_insecure_port(f'127.0.0.1:{port}')}"
        await self._server.start()
        return self

    async def stop(self) -> None:
        """Vanish: connections break, calls in flight fail."""
        await self._server.stop(None)

    def hold(self) -> None:
        """Inferences begin, and end only after `let_go`."""
        self._going.clear()

    def let_go(self) -> None:
        """Let all held calls go on."""
        self._going.set()

    async def again(self) -> None:
        """Listen at the same address as before."""
        await self.start(int(self.url.rpartition(":")[2]))

    def load(self, tower: Tower, function: Function = sound, **changes: Any) -> None:
        """Load a model, as if it was loaded anew; `changes` are fields of its configuration."""
        config = config_of(tower)
        for name, value in changes.items():
            setattr(config, name, value)
        self.models[tower.name] = StandInModel(config, function, str(tower.version))

    async def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802 (the protocol's name)
        await self._checked(context)
        return service_pb2.ServerMetadataResponse(name="triton", version="2.0")

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802 (the protocol's name)
        await self._checked(context)
        model = self.models.get(request.name)
        return service_pb2.ModelReadyResponse(ready=model is not None and model.version == request.version)

    async def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802 (the protocol's name)
        await self._checked(context)
        return service_pb2.ModelConfigResponse(config=(await self._model(request.name, context)).config)

    async def ModelStatistics(self, request: Any, context: Any) -> Any:  # noqa: N802 (the protocol's name)
        await self._checked(context)
        self.statistics_asked += 1
        model = await self._model(request.name, context)
        answer = service_pb2.ModelStatisticsResponse()
        answer.model_stats.add(name=request.name, version=model.version, inference_count=model.inferences)
        return answer

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802 (the protocol's name)
        self.connections.add(context.peer())
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._infer(request, context)
        except asyncio.CancelledError:
            self.cancellations += 1
            raise
        finally:
            self.in_flight -= 1

    async def _infer(self, request: Any, context: Any) -> Any:
        shape = list(request.inputs[0].shape)
        inputs = np.frombuffer(request.raw_input_contents[0], DTYPES[request.inputs[0].datatype]).reshape(shape)
        self.sizes.append(shape[0])
        await self._stall()
        await self._going.wait()
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.fault is not None:
            await context.abort(*self.fault)
        model = await self._model(request.model_name, context)
        if shape[0] > model.config.max_batch_size:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "inference request batch-size must be smaller")
        vectors = model.function(inputs)
        model.inferences += shape[0]
        answer = service_pb2.ModelInferResponse(model_name=request.model_name, model_version=model.version)
        answer.outputs.add(name=request.outputs[0].name, datatype="FP32", shape=vectors.shape)
        answer.raw_output_contents.append(vectors.tobytes())
        return answer

    async def _model(self, name: str, context: Any) -> StandInModel:
        if name not in self.models:
            message = f"Request for unknown model: '{name}' version 1 is not at ready state"
            await context.abort(grpc.StatusCode.UNAVAILABLE, message)
        return self.models[name]

    async def _checked(self, context: Any) -> None:
        self.connections.add(context.peer())
        await self._stall()

    async def _stall(self) -> None:
        self.stalled += self.hung
        while self.hung:
            await asyncio.sleep(0.01)
