"""Embedding through Triton: the executor against a bare client loop, and what each choice is worth.

Every table measures its sides in one run, on the same photos and the same server, in turns (A B A B …), and prints the ratio of
the medians:

- the executor (its handler, called as Jina calls it) against a bare concurrent tritonclient loop with the same parts;
- one long-lived client against a client for every request;
- dynamic batching on against off, single pictures from many callers;
- ONNX Runtime in process against the managed Triton.

    python -m tests.benchmarks.bench_embedding [--seconds 5] [--rounds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as grpc_types
import tritonclient.grpc.aio as triton_aio
from numpy.typing import NDArray

from executors.cores import available_cores, threads_for
from executors.devices import CPU, Device
from executors.embed.backends import install_triton
from executors.models.repository import load_spec
from executors.models.spec import ModelSpec
from executors.preprocess.header import ImageLimits
from executors.preprocess.pipeline import ImagePipeline
from executors.settings import Settings, read_settings, settings
from executors.triton_server.server import TritonServer
from tests.benchmarks.support.common import photo_files, print_table
from tests.support.models.models import tiny_config, tiny_model, write_entry

Pictures = NDArray[np.uint8]
Side = Callable[[], Awaitable[int]]

ROWS_A_REQUEST = 32
REQUESTS_AT_ONCE = 4
CALLERS = 16


@contextmanager
def triton(chosen: Settings, models_dir: Path, logs: Path, name: str, device: Device = CPU) -> Iterator[TritonServer]:
    """A managed Triton with all cores, ready."""
    server = TritonServer(
        install_triton(chosen, device),
        models_dir=models_dir,
        models=[chosen.model],
        device=device,
        threads=threads_for(1, available_cores(), chosen.threads),
        logs_dir=logs,
        name=name,
    )
    server.start()
    try:
        wait_ready(server, chosen.model)
        yield server
    finally:
        server.stop()


def wait_ready(server: TritonServer, model: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (failure := server.failure()) is not None:
            raise failure
        try:
            with grpc_types.InferenceServerClient(server.url) as client:
                if client.is_model_ready(model):
                    return
        except Exception:  # the server is still starting
            time.sleep(0.1)
    raise TimeoutError(server.url)


def load_pictures(chosen: Settings, spec: ModelSpec, files: list[Path]) -> Pictures:
    """The photos as the model takes them."""
    limits = ImageLimits(chosen.max_image_bytes, chosen.max_image_pixels, chosen.max_image_side)
    pipeline = ImagePipeline(spec, limits, thumbnails=False)
    return np.stack([pipeline.prepare(file.read_bytes()).tensor for file in files])


async def infer(client: Any, spec: ModelSpec, part: Pictures) -> NDArray[np.float32]:
    """One bare call."""
    given = grpc_types.InferInput(spec.input_name, list(part.shape), "UINT8")
    given.set_data_from_numpy(part)
    wanted = [grpc_types.InferRequestedOutput(spec.output_name)]
    answer = await client.infer(spec.name, [given], outputs=wanted)
    return np.asarray(answer.as_numpy(spec.output_name))


async def in_callers(callers: int, seconds: float, call: Callable[[int], Awaitable[int]]) -> float:
    """Pictures a second of callers that each wait for their answer before they send again."""
    stop = time.perf_counter() + seconds
    done = 0

    async def caller(number: int) -> None:
        nonlocal done
        turn = number
        while time.perf_counter() < stop:
            answered = await call(turn)
            done += answered
            turn += callers

    started = time.perf_counter()
    await asyncio.gather(*(caller(number) for number in range(callers)))
    return done / (time.perf_counter() - started)


def part_of(pictures: Pictures, turn: int, size: int) -> Pictures:
    """Another slice each turn."""
    start = turn * size % (len(pictures) - size + 1)
    return pictures[start : start + size]


async def in_turns(sides: Mapping[str, Callable[[], Awaitable[float]]], rounds: int) -> dict[str, float]:
    """The median of each side over the rounds."""
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            figures[name].append(await side())
    return {name: statistics.median(values) for name, values in figures.items()}


def rows_of(figures: dict[str, float]) -> list[list[str]]:
    """Name, pictures a second, ratio to the first side."""
    first = next(iter(figures.values()))
    return [[name, f"{value:.0f}", f"{value / first:.2f}"] for name, value in figures.items()]


async def executor_and_bare(
    chosen: Settings, spec: ModelSpec, pictures: Pictures, url: str, seconds: float, rounds: int
) -> dict[str, float]:
    """The handler of the executor against a loop that sends the same parts and looks at nothing."""
    from docarray import DocList

    from executors.documents import ImageDoc
    from executors.embed.executor import ImageEmbedder

    os.environ.update(VS_EMBED_BACKEND="triton", VS_TRITON_URLS=url)
    settings.cache_clear()
    embedder = ImageEmbedder(runtime_args={"name": "embed/rep-0", "replicas": 1, "shards": 1})
    client = triton_aio.InferenceServerClient(url)
    parts_at_once = min(chosen.triton_in_flight, REQUESTS_AT_ONCE * ROWS_A_REQUEST // chosen.embed_batch)

    async def bare_call(turn: int) -> int:
        return len(await infer(client, spec, part_of(pictures, turn, chosen.embed_batch)))

    async def executor_call(turn: int) -> int:
        tensors = part_of(pictures, turn, ROWS_A_REQUEST)
        docs = DocList[ImageDoc](ImageDoc.from_values(id=str(n), tensor=tensor) for n, tensor in enumerate(tensors))
        answered = await embedder.query(docs)
        if any(doc.error is not None for doc in answered):
            raise RuntimeError(str(answered[0].error))
        return len(answered)

    sides = {
        "bare tritonclient loop": lambda: in_callers(parts_at_once, seconds, bare_call),
        "through the executor": lambda: in_callers(REQUESTS_AT_ONCE, seconds, executor_call),
    }
    try:
        return await in_turns(sides, rounds)
    finally:
        await client.close()
        embedder.close()


async def shared_and_own_clients(
    spec: ModelSpec, pictures: Pictures, url: str, seconds: float, rounds: int
) -> dict[str, float]:
    """One client for all calls, against one that is made and closed for each."""
    client = triton_aio.InferenceServerClient(url)

    async def shared(turn: int) -> int:
        return len(await infer(client, spec, part_of(pictures, turn, 1)))

    async def own(turn: int) -> int:
        async with triton_aio.InferenceServerClient(url) as fresh:
            return len(await infer(fresh, spec, part_of(pictures, turn, 1)))

    try:
        sides = {
            "one long-lived client": lambda: in_callers(CALLERS, seconds, shared),
            "a client per request": lambda: in_callers(CALLERS, seconds, own),
        }
        return await in_turns(sides, rounds)
    finally:
        await client.close()


async def batching_on_and_off(
    spec: ModelSpec, pictures: Pictures, urls: dict[str, TritonServer], seconds: float, rounds: int
) -> tuple[dict[str, float], dict[str, str]]:
    """Single pictures from many callers; also the mean batch that the server itself counted."""
    clients = {name: triton_aio.InferenceServerClient(server.url) for name, server in urls.items()}

    def side(name: str) -> Callable[[], Awaitable[float]]:
        async def call(turn: int) -> int:
            return len(await infer(clients[name], spec, part_of(pictures, turn, 1)))

        return lambda: in_callers(CALLERS, seconds, call)

    try:
        figures = await in_turns({name: side(name) for name in clients}, rounds)
    finally:
        for client in clients.values():
            await client.close()
    return figures, {name: f"{mean_batch(server, spec.name):.1f}" for name, server in urls.items()}


def mean_batch(server: TritonServer, model: str) -> float:
    """Pictures an execution, by Triton's own counters."""
    with urllib.request.urlopen(str(server.status()["metrics_url"])) as answer:
        text = answer.read().decode()
    inferences, executions = (
        sum(float(value) for value in re.findall(rf'^{counter}{{model="{model}"[^}}]*}} (\S+)', text, re.MULTILINE))
        for counter in ("nv_inference_count", "nv_inference_exec_count")
    )
    return inferences / executions


async def in_process_and_managed(
    chosen: Settings, pictures: Pictures, url: str, seconds: float, rounds: int
) -> dict[str, float]:
    """The two backends, as one replica with all cores."""
    from executors.embed.onnx import OnnxBackend
    from executors.embed.triton.backend import TritonBackend
    from executors.models.repository import load_towers

    towers = load_towers(chosen.models_dir, chosen.model)
    threads = threads_for(1, available_cores(), chosen.threads)
    onnx = OnnxBackend(chosen.models_dir, towers, CPU, batch=chosen.embed_batch, threads=threads)
    remote = TritonBackend(
        chosen.models_dir,
        towers,
        [url],
        preferred=0,
        timeout_s=chosen.triton_timeout_ms / 1000,
        total_timeout_s=chosen.stage_timeout_ms / 1000,
        in_flight=chosen.triton_in_flight,
        cpu_batch=chosen.embed_batch,
    )

    def side(backend: OnnxBackend | TritonBackend) -> Callable[[], Awaitable[float]]:
        async def call(turn: int) -> int:
            return len(await backend.embed(towers.image, part_of(pictures, turn, ROWS_A_REQUEST)))

        return lambda: in_callers(REQUESTS_AT_ONCE, seconds, call)

    await onnx.start()
    await remote.start()
    try:
        return await in_turns({"onnx, in process": side(onnx), "managed Triton": side(remote)}, rounds)
    finally:
        await onnx.close()
        await remote.close()


def without_batching(models_dir: Path, model: str, target: Path) -> Path:
    """The same entry without its `dynamic_batching`."""
    shutil.copytree(models_dir / model, target / model)
    config = target / model / "config.pbtxt"
    text = config.read_text("utf-8")
    changed = re.sub(r"^dynamic_batching \{.*?^\}\n", "", text, flags=re.MULTILINE | re.DOTALL)
    if changed == text:
        raise RuntimeError("no dynamic_batching in the configuration")
    config.write_text(changed, "utf-8")
    return target


async def transport_alone(chosen: Settings, pictures: Pictures, folder: Path, seconds: float, rounds: int) -> None:
    """The clients again, with a model that computes next to nothing: what a faster device would be nearer to."""
    height, width = pictures.shape[1:3]
    cheap = write_entry(folder / "cheap", tiny_model(side=height), tiny_config(side=height))
    assert (cheap.height, cheap.width) == (height, width)
    with triton(chosen.model_copy(update={"model": cheap.name}), folder / "cheap", folder, "cheap") as server:
        figures = await shared_and_own_clients(cheap, pictures, server.url, seconds, rounds)
    print_table(
        f"The same, next to nothing to compute, {CALLERS} callers", ["", "pictures/s", "ratio"], rows_of(figures)
    )


async def measure(files: list[Path], seconds: float, rounds: int) -> None:
    """Measure and print; on one event loop, since gRPC does not like a second one."""
    chosen = read_settings()
    spec = load_spec(chosen.models_dir, chosen.model)
    pictures = load_pictures(chosen, spec, files)
    columns = ["", "pictures/s", "ratio"]
    with tempfile.TemporaryDirectory() as folder, triton(chosen, chosen.models_dir, Path(folder), "on") as server:
        figures = await executor_and_bare(chosen, spec, pictures, server.url, seconds, rounds)
        title = f"{REQUESTS_AT_ONCE} requests of {ROWS_A_REQUEST} at once, parts of {chosen.embed_batch}"
        print_table(title, columns, rows_of(figures))
        figures = await shared_and_own_clients(spec, pictures, server.url, seconds, rounds)
        print_table(f"Single pictures, {CALLERS} callers", columns, rows_of(figures))
        await transport_alone(chosen, pictures, Path(folder), seconds, rounds)
        figures = await in_process_and_managed(chosen, pictures, server.url, seconds, rounds)
        print_table("What runs the model, on the CPU", columns, rows_of(figures))
        plain = without_batching(chosen.models_dir, chosen.model, Path(folder) / "plain")
        with triton(chosen, plain, Path(folder), "off") as other:
            servers = {"dynamic batching on": server, "dynamic batching off": other}
            figures, batches = await batching_on_and_off(spec, pictures, servers, seconds, rounds)
        rows = [[*row, batches[row[0]]] for row in rows_of(figures)]
        print_table(f"Single pictures, {CALLERS} callers", [*columns, "pictures an execution"], rows)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    asyncio.run(measure(photo_files(options.photos), options.seconds, options.rounds))


if __name__ == "__main__":
    main()
