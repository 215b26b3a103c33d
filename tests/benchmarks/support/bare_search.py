"""The least that could search: the same store behind bare grpc.aio, or behind FastAPI, without anything that this project adds.

    python -m tests.benchmarks.support.bare_search shard --vectors FILE --port 5000 --number 0 --of 2
    python -m tests.benchmarks.support.bare_search gateway --port 8000 --shards 5000 5001
    python -m tests.benchmarks.support.bare_search single --vectors FILE --port 8000

A shard holds each second row of the vectors (`--of 2`) in an `EmbeddedStore` of its own and answers over gRPC; the gateway
is a plain ASGI program that asks all of them at once and merges; `single` is one FastAPI process with all rows. They read
the body of a search as this project's HTTP API takes it (`{"data": [{"embedding": …}], "parameters": {"limit": …}}`), and
answer `id`, `score`, `uri` and `tags` of each hit.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import grpc.aio
import numpy as np
import orjson
import uvicorn
import uvloop
from fastapi import FastAPI, Request, Response
from numpy.typing import NDArray

from executors.index.store import Store
from tests.benchmarks.support.embedded import open_store, put_rows, search, settled
from tests.benchmarks.support.processes import running_program, wait_for_http, wait_for_port
from tests.support.flows.flow import free_port

Match: TypeAlias = dict[str, Any]
_METHOD = "/bare/search"
_HEADERS = [(b"content-type", b"application/json")]


async def filled_store(folder: Path, file: Path, number: int, of: int) -> Store:
    """Open a store with one row in so many of the vectors, all in the graph."""
    vectors = np.load(file, mmap_mode="r")
    store = await open_store(folder, vectors.shape[1])
    await put_rows(store, vectors, range(number, len(vectors), of))
    await settled(store)
    return store


async def matches(store: Store, vector: NDArray[np.float32], limit: int) -> list[Match]:
    """Return the hits of one query, best first."""
    hits = await search(store, vector, limit)
    columns = zip(hits.ids, hits.scores, hits.uris, hits.tags, strict=True)
    return [{"id": id_, "score": float(score), "uri": uri, "tags": tags} for id_, score, uri, tags in columns]


def read_query(body: bytes) -> tuple[NDArray[np.float32], int]:
    """Return the vector, at length 1, and the limit."""
    value = orjson.loads(body)
    vector = np.array(value["data"][0]["embedding"], np.float32)
    return vector / np.linalg.norm(vector), value["parameters"]["limit"]


def answer_of(found: list[Match]) -> bytes:
    """Return the body of an answer."""
    return orjson.dumps({"data": [{"matches": found}]})


async def serve_shard(options: argparse.Namespace, folder: Path) -> None:
    """Answer over gRPC: the limit and the vector come as bytes, the hits go as JSON."""
    store = await filled_store(folder, options.vectors, options.number, options.of)

    async def answer(request: bytes, _context: Any) -> bytes:
        limit = int.from_bytes(request[:4], "little")
        return orjson.dumps(await matches(store, np.frombuffer(request, np.float32, offset=4), limit))

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("bare", {"search": handler})])
    server.add_insecure_port(f"127.0.0.1:{options.port}")
    await server.start()
    await server.wait_for_termination()


async def serve_gateway(options: argparse.Namespace) -> None:
    """Answer over HTTP, with the hits of all shards."""
    calls: list[Callable[[bytes], Awaitable[bytes]]] = [
        grpc.aio.insecure_channel(f"127.0.0.1:{port}").unary_unary(_METHOD) for port in options.shards
    ]

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            part = await receive()
            body += part["body"]
            if not part.get("more_body"):
                break
        content = b"{}" if scope["method"] == "GET" else await searched(body)
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": content})

    async def searched(body: bytes) -> bytes:
        vector, limit = read_query(body)
        request = limit.to_bytes(4, "little") + vector.tobytes()
        answers = await asyncio.gather(*(call(request) for call in calls))
        found: list[Match] = [match for each in answers for match in orjson.loads(each)]
        found.sort(key=lambda match: (-match["score"], match["id"]))
        return answer_of(found[:limit])

    await serve_http(application, options.port)


async def serve_single(options: argparse.Namespace, folder: Path) -> None:
    """Answer over HTTP from the store in this process."""
    store = await filled_store(folder, options.vectors, 0, 1)
    app = FastAPI()

    @app.get("/")
    async def ready() -> dict[str, bool]:
        return {"ready": True}

    @app.post("/search")
    async def searched(request: Request) -> Response:
        vector, limit = read_query(await request.body())
        return Response(answer_of(await matches(store, vector, limit)), media_type="application/json")

    await serve_http(app, options.port)


async def serve_http(application: Any, port: int) -> None:
    """Serve as uvicorn does by default, without a line a request."""
    config = uvicorn.Config(application, host="127.0.0.1", port=port, log_level="warning", lifespan="off")
    await uvicorn.Server(config).serve()


@contextmanager
def bare_gateway(vectors: Path, shards: int, folder: Path) -> Iterator[tuple[int, dict[int, str]]]:
    """The gateway and its shards, ready: the HTTP port, and the name of each process id."""
    with ExitStack() as stack:
        log_file = folder / "bare.log"
        log = stack.enter_context(log_file.open("wb"))
        ports = [free_port() for _ in range(shards)]
        started = [
            stack.enter_context(
                running_program(
                    _program("shard", port, "--vectors", str(vectors), "--number", str(n), "--of", str(shards)), log
                )
            )
            for n, port in enumerate(ports)
        ]
        for process, port in zip(started, ports, strict=True):
            wait_for_port(process, port, log_file)
        port = free_port()
        gateway = stack.enter_context(running_program(_program("gateway", port, "--shards", *map(str, ports)), log))
        wait_for_http(gateway, f"http://127.0.0.1:{port}", log_file)
        yield port, {gateway.pid: "gateway"} | {process.pid: "shards" for process in started}


@contextmanager
def bare_single(vectors: Path, folder: Path) -> Iterator[tuple[int, dict[int, str]]]:
    """The FastAPI process, ready: its port, and the name of its process id."""
    log_file, port = folder / "single.log", free_port()
    with (
        log_file.open("wb") as log,
        running_program(_program("single", port, "--vectors", str(vectors)), log) as process,
    ):
        wait_for_http(process, f"http://127.0.0.1:{port}", log_file)
        yield port, {process.pid: "FastAPI"}


def _program(role: str, port: int, *more: str) -> Sequence[str]:
    return ["-m", "tests.benchmarks.support.bare_search", role, "--port", str(port), *more]


def main() -> None:
    """Run one of the programs until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("role", choices=["shard", "gateway", "single"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--number", type=int, default=0)
    parser.add_argument("--of", type=int, default=1)
    parser.add_argument("--shards", type=int, nargs="+", default=[])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bare-") as name:
        match options.role:
            case "shard":
                work = serve_shard(options, Path(name))
            case "gateway":
                work = serve_gateway(options)
            case _:
                work = serve_single(options, Path(name))
        uvloop.run(work)


if __name__ == "__main__":
    main()
