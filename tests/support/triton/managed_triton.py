"""Helpers of the tests of the managed Triton: requests to one, and the processes that it leaves."""

from __future__ import annotations

import os
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tritonclient.grpc as triton
from numpy.typing import NDArray
from onnx import TensorProto, helper
from tritonclient.utils import InferenceServerException

from executors.triton_server import guard
from executors.triton_server.server import TritonServer

MODEL = "efficientnet-lite0"
# Starts a server, says what it started, and lives on; the tests kill it.
OWNER = """
import sys, time
from pathlib import Path
from executors.devices import CPU
from executors.triton_server.installation import Installation
from executors.triton_server.server import TritonServer
packages, models, logs = map(Path, sys.argv[1:])
server = TritonServer(Installation(packages, "cpu"), models_dir=models, models=["efficientnet-lite0"], device=CPU,
    threads=1, logs_dir=logs, name="owned")
server.start()
while server.status()["pid"] is None: time.sleep(0.01)
print(server.url, server.status()["pid"], flush=True)
time.sleep(120)
"""
Start = Callable[..., TritonServer]


def until(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


def wait_ready(url: str, model: str = MODEL) -> None:
    def ready() -> bool:
        with triton.InferenceServerClient(url) as client, suppress(InferenceServerException):
            return bool(client.is_model_ready(model))
        return False

    until(ready)


def embed(url: str, pictures: NDArray[np.uint8], model: str = MODEL, version: str = "") -> NDArray[np.float32]:
    tensor = triton.InferInput("image", list(pictures.shape), "UINT8")
    tensor.set_data_from_numpy(pictures)
    with triton.InferenceServerClient(url) as client:
        vectors = client.infer(model, [tensor], model_version=version, client_timeout=20).as_numpy("embedding")
    return np.asarray(vectors, np.float32)


def infer_at_once(url: str, model: str, batches: list[NDArray[np.uint8]]) -> list[NDArray[np.float32] | str]:
    """The vectors of each batch, or what the server said against it; all are sent at the same time."""

    def infer(pictures: NDArray[np.uint8]) -> NDArray[np.float32] | str:
        tensor = triton.InferInput("image", list(pictures.shape), "UINT8")
        tensor.set_data_from_numpy(pictures)
        try:
            return np.asarray(client.infer(model, [tensor], client_timeout=30).as_numpy("embedding"), np.float32)
        except InferenceServerException as error:
            return str(error)

    with triton.InferenceServerClient(url) as client, ThreadPoolExecutor(len(batches)) as pool:
        return list(pool.map(infer, batches))


def random_pictures(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, (count, 224, 224, 3), dtype=np.uint8)


def group_of(pid: int) -> list[int]:
    """The living processes of the server's group: itself and its stubs."""
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if fields[0] != "Z" and int(fields[2]) == pid:
                found.append(int(folder.name))
    return found


def processes(server: TritonServer) -> list[int]:
    pid = server.status()["pid"]
    return group_of(pid) if pid else []


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def regions(owner: int | None = None) -> list[str]:
    """Shared memory of the servers that a process owns."""
    return [file.name for file in guard.SHARED_MEMORY.glob(f"{guard.PREFIX}{owner or os.getpid()}-*")]


def environment_of(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode().rstrip("\0").split("\0")
    return dict(entry.split("=", 1) for entry in entries)


def metric(server: TritonServer, name: str, model: str = MODEL) -> float:
    with urllib.request.urlopen(server.status()["metrics_url"], timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"{name}{{") and f'"{model}"' in line)


def write_scaling_entry(repository: Path, name: str, *, scale: dict[int, float], config: str = "") -> None:
    """A user's own entry: the mean colour of an 8 x 8 picture, times a number that differs from version to version."""
    for version, factor in scale.items():
        nodes = [
            helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["floats"], ["colour"], axes=[1, 2], keepdims=0),
            helper.make_node("Mul", ["colour", "factor"], ["embedding"]),
        ]
        graph = helper.make_graph(
            nodes,
            "mean",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 8, 8, 3])],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 3])],
            [helper.make_tensor("factor", TensorProto.FLOAT, [1], [factor])],
        )
        file = repository / name / str(version) / "model.onnx"
        file.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), str(file))
    text = f"""name: "{name}"
backend: "onnxruntime"
max_batch_size: 16
input {{ name: "image" data_type: TYPE_UINT8 dims: [ 8, 8, 3 ] }}
output {{ name: "embedding" data_type: TYPE_FP32 dims: [ 3 ] }}
dynamic_batching {{ }}
{config}"""
    (repository / name / "config.pbtxt").write_text(text)
