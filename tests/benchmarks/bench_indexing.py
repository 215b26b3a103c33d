"""Indexing photos through the flow, over gRPC and HTTP, against a raw loop with the same work on the same cores.

The raw loop is two processes, one a core, that read, decode, fit, make the thumbnail and embed with the project's own
code, and keep nothing. The flow does the same and stores durably. Rounds alternate, so that a noisy machine is noisy for
all sides; the ratio is that of the medians.

    python -m tests.benchmarks.bench_indexing [--photos DIR] [--rounds 3] [--repeat 3]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.common import photo_files, print_table

FILES_A_REQUEST = 32
REQUESTS_IN_FLIGHT = 4


def raw_worker(files: list[Path], barrier: Any, results: Any) -> None:
    """One process of the raw loop."""
    import numpy as np

    from executors.embed.backends import make_backend
    from executors.models.repository import load_towers
    from executors.preprocess.decode import configure_opencv
    from executors.preprocess.header import ImageLimits
    from executors.preprocess.pipeline import ImagePipeline
    from executors.settings import read_settings

    chosen = read_settings()
    towers = load_towers(chosen.models_dir, chosen.model)
    configure_opencv()
    limits = ImageLimits(chosen.max_image_bytes, chosen.max_image_pixels, chosen.max_image_side)
    pipeline = ImagePipeline(towers.image, limits, thumbnails=chosen.thumbnails == "on")

    async def run() -> None:
        backend = make_backend(chosen, towers, "")
        await backend.start()
        barrier.wait()
        started = time.perf_counter()
        for start in range(0, len(files), chosen.embed_batch):
            tensors = [pipeline.prepare(each.read_bytes()).tensor for each in files[start : start + chosen.embed_batch]]
            await backend.embed(towers.image, np.stack(tensors))
        results.put((started, time.perf_counter()))
        await backend.close()

    asyncio.run(run())


def raw_loop(files: list[Path]) -> float:
    """Photos a second of the raw loop."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    workers = [context.Process(target=raw_worker, args=(files[half::2], barrier, results)) for half in range(2)]
    for worker in workers:
        worker.start()
    spans = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    return len(files) / (max(end for _, end in spans) - min(start for start, _ in spans))


def over_grpc(port: int, files: list[Path], round_: int) -> float:
    """Photos a second through `Client.post`."""
    from docarray import DocList
    from jina import Client

    from executors.documents import ImageDoc

    def documents() -> Iterator[ImageDoc]:
        for number, path in enumerate(files):
            yield ImageDoc(id=f"g{round_}/{number}", blob=path.read_bytes())

    client = Client(port=port, protocol="grpc")
    started = time.perf_counter()
    answers = client.post(
        "/index", documents(), return_type=DocList[ImageDoc], request_size=FILES_A_REQUEST, prefetch=REQUESTS_IN_FLIGHT
    )
    took = time.perf_counter() - started
    assert len(answers) == len(files)
    assert all(answer.error is None for answer in answers)
    return len(files) / took


async def over_http(url: str, files: list[Path], round_: int) -> tuple[float, dict[str, float]]:
    """Photos a second through multipart requests, and what the stages took, in ms added up over the requests."""
    import aiohttp

    places = asyncio.Semaphore(REQUESTS_IN_FLIGHT)
    took_ms: dict[str, float] = {}

    async def send(session: aiohttp.ClientSession, start: int) -> None:
        async with places:
            chunk = files[start : start + FILES_A_REQUEST]
            form = aiohttp.FormData()
            for path in chunk:
                form.add_field("file", path.read_bytes(), filename="photo")
            form.add_field("ids", json.dumps([f"h{round_}/{start + number}" for number in range(len(chunk))]))
            async with session.post(f"{url}/index", data=form) as answer:
                body = await answer.json()
                assert answer.status == 200, body
                assert body["parameters"]["failed"] == 0
                for stage, duration in body["parameters"]["took_ms"].items():
                    took_ms[stage] = took_ms.get(stage, 0.0) + duration

    async with aiohttp.ClientSession() as session:
        started = time.perf_counter()
        await asyncio.gather(*(send(session, start) for start in range(0, len(files), FILES_A_REQUEST)))
        return len(files) / (time.perf_counter() - started), took_ms


def cpu_seconds(pids: dict[str, int]) -> dict[str, float]:
    """Processor time that each process has used so far."""
    import os

    ticks = os.sysconf("SC_CLK_TCK")
    seconds = {}
    for name, pid in pids.items():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        seconds[name] = (int(fields[11]) + int(fields[12])) / ticks
    return seconds


def main() -> None:
    """Measure and print."""
    from tests.support.flows.flow import running_flow

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=3, help="how often each photo is indexed in a round")
    options = parser.parse_args()
    files = photo_files(options.photos) * options.repeat
    rates: dict[str, list[float]] = {"raw loop": [], "gRPC": [], "HTTP": []}
    with tempfile.TemporaryDirectory() as folder, running_flow(Path(folder)) as flow:
        names = ("gateway", "preprocess/rep-0", "embed/rep-0", "embed/rep-1", "index/head", "index/uses_after",
                 "index/shard-0", "index/shard-1")  # fmt: skip
        pids = {name: flow.pids_of(name)[0] for name in names}
        over_grpc(flow.grpc_port, files[:64], -1)
        for round_ in range(options.rounds):
            rates["raw loop"].append(raw_loop(files))
            before = cpu_seconds(pids)
            rates["gRPC"].append(over_grpc(flow.grpc_port, files, round_))
            used = {name: after - before[name] for name, after in cpu_seconds(pids).items()}
            rate, took_ms = asyncio.run(over_http(flow.http_url, files, round_))
            rates["HTTP"].append(rate)
    medians = {side: statistics.median(values) for side, values in rates.items()}
    rows = [
        [
            side,
            f"{medians[side]:.0f}",
            " ".join(f"{value:.0f}" for value in values),
            f"{medians[side] / medians['raw loop']:.2f}",
        ]
        for side, values in rates.items()
    ]
    print_table(f"Indexing {len(files)} photos", ["", "photos/s (median)", "rounds", "of the raw loop"], rows)
    rows = [[name, f"{seconds / len(files) * 1000:.2f}"] for name, seconds in used.items()]
    rows.append(["all of the flow", f"{sum(used.values()) / len(files) * 1000:.2f}"])
    rows.append(["raw loop, both cores", f"{2000 / medians['raw loop']:.2f}"])
    print_table("Processor time a photo, over gRPC", ["process", "ms"], rows)
    rows = [[stage, f"{total / len(files):.2f}"] for stage, total in took_ms.items()]
    print_table("took_ms a photo, over HTTP (requests overlap)", ["stage", "ms"], rows)


if __name__ == "__main__":
    main()
