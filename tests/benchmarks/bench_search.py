"""Start of the flow, and search of one picture over 1,000 and 50,000 documents: p50, p99, and the share of each stage.

The other side of each figure is the work that no flow could leave out, measured in the same run on the same data:
decoding and embedding the picture in process, and the scores of a query as one numpy product over all vectors.

    python -m tests.benchmarks.bench_search [--searches 200] [--sizes 1000 50000]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.support.common import photo_files, print_table

DIMENSION = 1280


def fill(port: int, collection: str, vectors: np.ndarray[Any, Any]) -> None:
    """Index ready vectors."""
    from docarray import DocList
    from jina import Client

    from executors.documents import ImageDoc

    documents = DocList[ImageDoc](
        [ImageDoc(id=str(n), embedding=each, tags={"n": n}) for n, each in enumerate(vectors)]
    )
    answers = Client(port=port, protocol="grpc").post(
        "/index", documents, return_type=DocList[ImageDoc], parameters={"collection": collection}, request_size=500
    )
    assert all(answer.error is None for answer in answers)


def search(url: str, collection: str, files: list[Path], searches: int) -> tuple[list[float], dict[str, list[float]]]:
    """Milliseconds of each search of one picture by HTTP, one at a time, and of its stages."""
    import json

    import requests

    session = requests.Session()
    took: list[float] = []
    stages: dict[str, list[float]] = {}
    for number in range(searches + 10):
        blob = files[number % len(files)].read_bytes()
        started = time.perf_counter()
        answer = session.post(
            f"{url}/search",
            files={"file": ("q", blob)},
            data={"parameters": json.dumps({"collection": collection, "limit": 20})},
            timeout=60,
        )
        duration = (time.perf_counter() - started) * 1000
        assert answer.status_code == 200, answer.text
        if number < 10:
            continue
        took.append(duration)
        for stage, milliseconds in answer.json()["parameters"]["took_ms"].items():
            stages.setdefault(stage, []).append(milliseconds)
    return took, stages


def in_process(files: list[Path], vectors: np.ndarray[Any, Any], searches: int) -> tuple[list[float], list[float]]:
    """Milliseconds of decode + embed, and of one product of a query with all vectors and its 20 best."""
    from executors.embed.backends import make_backend
    from executors.models.repository import load_towers
    from executors.preprocess.header import ImageLimits
    from executors.preprocess.pipeline import ImagePipeline
    from executors.settings import read_settings

    chosen = read_settings()
    towers = load_towers(chosen.models_dir, chosen.model)
    limits = ImageLimits(chosen.max_image_bytes, chosen.max_image_pixels, chosen.max_image_side)
    pipeline = ImagePipeline(towers.image, limits, thumbnails=False)
    embedding_ms, product_ms = [], []

    async def run() -> None:
        backend = make_backend(chosen, towers, "")
        await backend.start()
        for number in range(searches):
            blob = files[number % len(files)].read_bytes()
            started = time.perf_counter()
            query = (await backend.embed(towers.image, pipeline.prepare(blob).tensor[None]))[0]
            embedded = time.perf_counter()
            scores = vectors @ query
            best = np.argpartition(scores, -20)[-20:]
            best[np.argsort(-scores[best])]
            embedding_ms.append((embedded - started) * 1000)
            product_ms.append((time.perf_counter() - embedded) * 1000)
        await backend.close()

    asyncio.run(run())
    return embedding_ms, product_ms


def percentile(values: list[float], percent: float) -> str:
    return f"{np.percentile(values, percent):.1f}"


def main() -> None:
    """Measure and print."""
    from tests.support.flows.flow import start_flow, stop_flow, wait_until

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 50_000])
    options = parser.parse_args()
    files = photo_files(options.photos)
    starts, rows, shares = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(3):
            started = time.perf_counter()
            flow = start_flow(Path(folder))
            wait_until(flow)
            starts.append(time.perf_counter() - started)
            if round_ < 2:
                stop_flow(flow)
        try:
            for size in options.sizes:
                vectors = np.random.default_rng(size).normal(size=(size, DIMENSION)).astype(np.float32)
                vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
                collection = f"size-{size}"
                fill(flow.grpc_port, collection, vectors)
                took, stages = search(flow.http_url, collection, files, options.searches)
                embedding_ms, product_ms = in_process(files, vectors, options.searches)
                floor = [a + b for a, b in zip(embedding_ms, product_ms, strict=True)]
                ratio = statistics.median(took) / statistics.median(floor)
                rows.append(
                    [f"{size:,}", percentile(took, 50), percentile(took, 99), percentile(floor, 50), percentile(floor, 99),
                     f"{ratio:.2f}"]
                )  # fmt: skip
                shares.append(
                    [f"{size:,}"] + [percentile(stages[name], 50) for name in ("preprocess", "embed", "index", "total")]
                )
                shares.append(
                    [f"{size:,} in process", "", percentile(embedding_ms, 50), percentile(product_ms, 50), ""]
                )
        finally:
            stop_flow(flow)
    print_table(
        "Start of the flow until it is ready", ["", "s"], [[f"start {n + 1}", f"{s:.1f}"] for n, s in enumerate(starts)]
    )
    columns = ["documents", "p50 ms", "p99 ms", "in process p50", "in process p99", "flow / in process"]
    print_table(f"Search of one picture over HTTP, {options.searches} times, one at a time", columns, rows)
    print_table("Share of each stage (took_ms, p50)", ["documents", "preprocess", "embed", "index", "total"], shares)


if __name__ == "__main__":
    main()
