"""The peers as running programs, and how each of them is asked."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from executors.models.repository import load_spec, model_path
from executors.settings import read_settings
from tests.benchmarks.support.callers import Body, json_body, pictures_as_form
from tests.benchmarks.support.processes import running_program, wait_for_http
from tests.support.flows.flow import free_port, processes_of_group


@dataclass(frozen=True, slots=True)
class Requests:
    """What a service takes: the path and the body of a search by vector, of one by picture, and of pictures to index."""

    vector: Callable[[NDArray[np.float32], int], tuple[str, Body]]
    picture: Callable[[bytes], tuple[str, Body]]
    index: Callable[[Sequence[bytes], Sequence[str]], tuple[str, Body]]


@dataclass(frozen=True, slots=True)
class Service:
    """A peer that answers."""

    name: str
    port: int
    group: int
    requests: Requests
    grpc_port: int | None = None

    def processes(self) -> dict[int, str]:
        """Return the name of each of its processes now."""
        return dict.fromkeys(processes_of_group(self.group), "peer")


def base64_of(pictures: Sequence[bytes]) -> list[str]:
    """Return pictures as text."""
    return [base64.b64encode(each).decode() for each in pictures]


FASTAPI = Requests(
    lambda vector, limit: ("/search_vector", json_body({"embedding": vector.tolist(), "limit": limit})),
    lambda picture: ("/search", pictures_as_form([picture])),
    lambda pictures, ids: ("/index", json_body({"ids": ids, "pictures": base64_of(pictures)})),
)
JINA = Requests(
    lambda vector, limit: (
        "/search",
        json_body({"data": [{"embedding": vector.tolist()}], "parameters": {"limit": limit}}),
    ),
    lambda picture: ("/search", json_body({"data": [{"base64": base64_of([picture])[0]}]})),
    lambda pictures, ids: (
        "/index",
        json_body({"data": [{"id": i, "base64": p} for i, p in zip(ids, base64_of(pictures), strict=True)]}),
    ),
)
LITSERVE = Requests(
    lambda vector, limit: ("/predict", json_body({"embedding": vector.tolist(), "limit": limit})),
    lambda picture: ("/predict", json_body({"pictures": base64_of([picture])})),
    lambda pictures, ids: ("/predict", json_body({"ids": ids, "pictures": base64_of(pictures)})),
)


@contextmanager
def _service(
    name: str, module: str, requests: Requests, vectors: Path, folder: Path, path: str = "/", python: Path | None = None
) -> Iterator[Service]:
    chosen = read_settings()
    spec = load_spec(chosen.models_dir, chosen.model)
    port, grpc_port = free_port(), free_port()
    log_file = folder / f"{module}.log"
    variables = {
        "PEER_MODEL": str(model_path(chosen.models_dir, spec.name, spec.version)),
        "PEER_VECTORS": str(vectors),
        "PEER_PORT": str(port),
        "PEER_GRPC_PORT": str(grpc_port),
        "PYTHONWARNINGS": "ignore",
    }
    program = ["-m", f"tests.benchmarks.peers.{module}"]
    with log_file.open("wb") as log, running_program(program, log, python=python, **variables) as process:
        wait_for_http(process, f"http://127.0.0.1:{port}{path}", log_file)
        yield Service(name, port, process.pid, requests, grpc_port if requests is JINA else None)


@contextmanager
def fastapi_service(vectors: Path, folder: Path) -> Iterator[Service]:
    """FastAPI, ONNX Runtime and numpy over the vectors of a file."""
    with _service("FastAPI + ONNX + numpy", "fastapi_service", FASTAPI, vectors, folder) as service:
        yield service


@contextmanager
def jina_service(vectors: Path, folder: Path) -> Iterator[Service]:
    """Plain Jina."""
    with _service("plain Jina", "jina_service", JINA, vectors, folder) as service:
        yield service


@contextmanager
def litserve_service(vectors: Path, folder: Path, python: Path) -> Iterator[Service]:
    """LitServe, run by an interpreter that has it."""
    with _service("LitServe", "litserve_service", LITSERVE, vectors, folder, "/health", python) as service:
        yield service
