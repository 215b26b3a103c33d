"""Memory, disk and time to reopen of the embedded store, beside faiss alone with the same vectors and parameters.

Memory is what a process of its own has more after it opened the index and searched it (anonymous memory: no cached pages of
files). "Open" is the time from the call until the first answer, with the files in the system's cache. The same is done with
a tenth of the documents, so that what a document takes and what a shard takes anyway are told apart; a table of sizes
follows from the two. A shard that builds its graph anew has both for that time, the peak.

    python -m tests.benchmarks.bench_footprint [--rows 100000] [--markdown FILE]
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from executors.index.embedded.graph.tuning import default_ef
from executors.index.embedded.memory.collection_memory import GraphOptions
from tests.benchmarks.support.bare import build_bare, load_bare, save_bare
from tests.benchmarks.support.common import Report, anonymous_mib, bytes_of, report_options
from tests.benchmarks.support.embedded import graph_of, open_store, put_rows, search, settled
from tests.benchmarks.support.vectors import DIMENSION, Vectors, make_queries, write_vectors

SEARCHES = 200
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Opened:
    """The figures of a process that opened an index: MiB, seconds until the first answer, and the store's report."""

    mib: float
    seconds: float
    details: dict[str, Any]


async def open_and_search(folder: Path, options: GraphOptions, dimension: int) -> Opened:
    """Open the store, search it, say what it took."""
    queries = make_queries(SEARCHES, dimension)
    gc.collect()
    before, started = anonymous_mib(), time.perf_counter()
    store = await open_store(folder, dimension, options)
    await search(store, queries[0])
    seconds = time.perf_counter() - started
    for query in queries:
        await search(store, query)
    grown = anonymous_mib() - before
    details = (await store.status()).details
    await store.close()
    return Opened(grown, seconds, details)


def opened_store(folder: Path, options: GraphOptions, dimension: int, answers: Any) -> None:
    """A process that opens the store."""
    answers.put(asyncio.run(open_and_search(folder, options, dimension)))


def opened_bare(path: Path, _options: GraphOptions, dimension: int, answers: Any) -> None:
    """A process that reads the bare index."""
    queries = make_queries(SEARCHES, dimension)
    gc.collect()
    before, started = anonymous_mib(), time.perf_counter()
    bare = load_bare(path)
    bare.search(queries[0], 20, 64)
    seconds = time.perf_counter() - started
    for query in queries:
        bare.search(query, 20, default_ef(bare.index.ntotal))
    answers.put(Opened(anonymous_mib() - before, seconds, {}))


def in_process(work: Callable[..., None], path: Path, options: GraphOptions, dimension: int) -> Opened:
    """Run that in a fresh process."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=work, args=(path, options, dimension, answers))
    process.start()
    answer: Opened = answers.get()
    process.join()
    return answer


async def fill(folder: Path, vectors: Vectors, rows: range) -> tuple[float, float]:
    """Load rows into the store and have its graph built anew: peak of this process's memory, seconds to close."""
    before = anonymous_mib()
    store = await open_store(folder, vectors.shape[1])
    await put_rows(store, vectors, rows)
    await settled(store)
    await store.reindex()
    peak = 0.0
    while (await graph_of(store))["rebuilding"]:
        peak = max(peak, anonymous_mib() - before)
        await asyncio.sleep(0.02)
    started = time.perf_counter()
    await store.close()
    return peak, time.perf_counter() - started


def sizing(dimension: int, per_document: tuple[float, float], fixed: float, peak: float) -> list[list[str]]:
    """Memory, disk and shards of a million for numbers of pictures.

    Args:
        per_document: bytes of memory and of disk.
        fixed: bytes of memory of every shard.
        peak: bytes a document while one shard's graph is built anew.
    """
    memory, disk = per_document
    rows = []
    for count, label in ((100_000, "100k"), (1_000_000, "1M"), (10_000_000, "10M"), (100_000_000, "100M")):
        shards = max(1, count // 1_000_000)
        total = count * memory + shards * fixed
        rows.append(
            [label, f"{dimension}", f"{shards}", size(total), size(total + (peak - memory) * count / shards),
             size(count * disk)]
        )  # fmt: skip
    return rows


def size(count: float) -> str:
    """Bytes as people read them."""
    return f"{count / 2**30:,.1f} GiB" if count >= 0.95 * 2**30 else f"{count / 2**20:,.0f} MiB"


def main() -> None:
    """Measure and print."""
    parser = report_options(__doc__)
    parser.add_argument("--dimension", type=int, default=DIMENSION)
    chosen = parser.parse_args()
    count, dimension = chosen.rows, chosen.dimension
    command = f"python -m tests.benchmarks.bench_footprint --rows {count} --dimension {dimension}"
    report = Report(command, chosen.markdown)
    graph = GraphOptions(graph_from=min(GraphOptions().graph_from, count // 10))
    with tempfile.TemporaryDirectory(prefix="bench-footprint-") as name:
        folder = Path(name)
        vectors = write_vectors(folder / "vectors.npy", count, dimension)
        asyncio.run(fill(folder / "store", vectors, range(count // 10)))
        few = in_process(opened_store, folder / "store", graph, dimension)
        few_on_disk = bytes_of(folder / "store")
        peak, closing = asyncio.run(fill(folder / "store", vectors, range(count // 10, count)))
        save_bare(build_bare(vectors, graph, len(os.sched_getaffinity(0))), folder / "bare.faiss")
        bare = in_process(opened_bare, folder / "bare.faiss", graph, dimension)
        disk = in_process(opened_store, folder / "store", graph, dimension)
        memory = in_process(opened_store, folder / "store", replace(graph, rerank="memory"), dimension)
        on_disk = bytes_of(folder / "store")
        rows = []
        for label, opened, stored in (
            ("faiss alone", bare, (folder / "bare.faiss").stat().st_size),
            ("the store, ranked again from disk", disk, on_disk),
            ("the store, ranked again from memory", memory, on_disk),
            (f"the store with a tenth of them ({count // 10:,})", few, few_on_disk),
        ):
            held = opened.details.get("bytes_in_memory", 0)
            number = count // 10 if opened is few else count
            rows.append(
                [label, f"{opened.mib:,.0f}", f"{held / MIB:,.0f}" if held else "", f"{opened.mib * MIB / number:,.0f}",
                 f"{stored / MIB:,.0f}", f"{stored / number:,.0f}", f"{opened.seconds:.2f}"]
            )  # fmt: skip
        columns = [
            "",
            "memory MiB",
            "vectors and links MiB",
            "bytes a document",
            "disk MiB",
            "bytes a document",
            "open s",
        ]
        report.table(f"Memory, disk and opening, {count:,} x {dimension}", columns, rows)
        files = sorted((path.name, path.stat().st_size) for path in (folder / "store").iterdir())
        shown = [[name, f"{held / MIB:,.1f}", f"{held / count:,.0f}"] for name, held in files]
        shown.append(["peak of memory while the graph was built anew", f"{peak:,.0f}", f"{peak * MIB / count:,.0f}"])
        report.table(f"Files of the store (closed in {closing:.1f} s)", ["", "MiB", "bytes a document"], shown)
        more = count - count // 10
        per_document = (disk.mib - few.mib) * MIB / more, (on_disk - few_on_disk) / more
        fixed = max(0.0, disk.mib * MIB - per_document[0] * count)
        again = per_document[0] + disk.details["bytes_in_memory"] / count
        report.table(
            f"Sizes: {per_document[0]:,.0f} bytes of memory and {per_document[1]:,.0f} of disk a document (no thumbnails),"
            f" {fixed / MIB:,.0f} MiB of memory a shard",
            ["pictures", "dimension", "shards of 1M", "memory of all", "while one graph is built anew", "disk of all"],
            sizing(dimension, per_document, fixed, again),
        )


if __name__ == "__main__":
    main()
