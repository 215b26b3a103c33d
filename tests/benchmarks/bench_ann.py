"""The embedded store's search against faiss alone: the same vectors, the same parameters, in one run.

What the store adds is what a user gets: the hits' true scores, ids, versions, uris and tags, as of one transaction, each
checked against its checksum. Shown are latency, recall, queries a second, filters, and recall after a third of the
documents was deleted and written anew with other vectors.

    python -m tests.benchmarks.bench_ann [--rows 100000] [--rerank memory] [--markdown FILE]

100,000 rows take about four minutes on two cores, 1,000,000 about half an hour, 12 GB of memory and 8 GB of disk.
"""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from executors.index.embedded.graph.hnsw import use_one_thread
from executors.index.embedded.graph.tuning import default_ef
from executors.index.embedded.memory.collection_memory import GraphOptions
from executors.index.embedded.store import EmbeddedStore
from executors.index.filters import Filter, parse_filter
from tests.benchmarks.support.bare import BareIndex, build_bare
from tests.benchmarks.support.common import Report, anonymous_mib, bytes_of, percentile, report_options
from tests.benchmarks.support.embedded import (
    SHARES,
    delete_rows,
    every,
    open_store,
    put_rows,
    rows_of,
    search,
    settled,
)
from tests.benchmarks.support.vectors import DIMENSION, Vectors, clustered, make_queries, true_neighbours, write_vectors
from tests.benchmarks.support.vectors import recall as recall_of

LIMIT = 20
SECONDS_OF_RATE = 5.0


@dataclass(frozen=True, slots=True)
class Side:
    """One way to search: how long each query took, and what it found."""

    milliseconds: list[float]
    found: list[list[int]]


@dataclass(frozen=True, slots=True)
class Bench:
    """Both sides of every figure."""

    store: EmbeddedStore
    bare: BareIndex
    vectors: Vectors
    queries: Vectors
    ef: int
    report: Report

    async def on_a_thread(self) -> Side:
        """Every query on faiss as a server has to call it, whose loop must not stand still: on another thread."""
        side = Side([], [])
        with ThreadPoolExecutor(2, initializer=use_one_thread) as pool:
            for query in [*self.queries[:100], *self.queries]:
                began = time.perf_counter()
                found = await asyncio.wrap_future(pool.submit(self.bare.search, query, LIMIT, self.ef))
                side.milliseconds.append((time.perf_counter() - began) * 1000)
                side.found.append(found)
        return Side(side.milliseconds[100:], side.found[100:])

    async def both(self, where: Filter | None = None, bits: NDArray[np.uint8] | None = None) -> tuple[Side, Side, Any]:
        """Every query on both sides, a hundred here, a hundred there; the first hundred twice. Also the last plan."""
        mine, theirs = Side([], []), Side([], [])
        plans: list[dict[str, Any]] = []
        for start in [0, *range(0, len(self.queries), 100)]:
            if start == 0:
                mine, theirs, plans = Side([], []), Side([], []), []
            some = self.queries[start : start + 100]
            for query in some:
                began = time.perf_counter()
                found = self.bare.search(query, LIMIT, self.ef, bits)
                theirs.milliseconds.append((time.perf_counter() - began) * 1000)
                theirs.found.append(found)
            for query in some:
                began = time.perf_counter()
                hits = await search(self.store, query, LIMIT, where=where)
                mine.milliseconds.append((time.perf_counter() - began) * 1000)
                mine.found.append(rows_of(hits))
                plans.append(hits.plan)
        return mine, theirs, plans


async def latency(bench: Bench) -> None:
    """One query at a time, and where the store's time goes."""
    truth = true_neighbours(bench.vectors, bench.queries)
    mine, theirs, plans = await bench.both()
    threaded = await bench.on_a_thread()
    rows = []
    for name, side in (("faiss alone", theirs), ("faiss alone, on a thread", threaded), ("the store", mine)):
        shown50, shown99 = (percentile(side.milliseconds, percent) for percent in (50, 99))
        rows.append([name, shown50, shown99, f"{recall_of(side.found, truth):.4f}"])
    p50, p99 = (float(np.percentile(mine.milliseconds, percent)) for percent in (50, 99))
    for name, side in (("the store's difference to faiss", theirs), ("to faiss on a thread", threaded)):
        bare50, bare99 = (float(np.percentile(side.milliseconds, percent)) for percent in (50, 99))
        gained = recall_of(mine.found, truth) - recall_of(side.found, truth)
        rows.append([name, f"{p50 - bare50:+.2f} ({p50 / bare50:.1f}x)", f"{p99 - bare99:+.2f}", f"{gained:+.4f}"])
    title = f"Search of {len(bench.vectors):,} x {DIMENSION}, {LIMIT} hits, ef {bench.ef}, one at a time"
    bench.report.table(title, ["", "p50 ms", "p99 ms", "recall@10"], rows)
    parts = {part: [plan["took_ms"].get(part, 0.0) for plan in plans] for part in plans[-1]["took_ms"]}
    shares = [[part, percentile(took, 50, 3), percentile(took, 99, 3)] for part, took in parts.items()]
    rest = np.asarray(mine.milliseconds) - np.sum(list(parts.values()), axis=0)
    shares.append(
        ["rest: threads, transaction, answer", percentile(rest.tolist(), 50, 3), percentile(rest.tolist(), 99, 3)]
    )
    bench.report.table("Of these, by the plan that `explain` shows", ["part", "p50 ms", "p99 ms"], shares)


async def rates(bench: Bench) -> None:
    """Queries a second: threads in a loop on the one side, tasks in a loop on the other."""
    rows = []
    for count in (1, 2):
        theirs = rate_of_threads(lambda query: bench.bare.search(query, LIMIT, bench.ef), bench.queries, count)
        mine = await rate_of_tasks(bench.store, bench.queries, count)
        rows.append([f"{count}", f"{theirs:,.0f}", f"{mine:,.0f}", f"{mine / theirs:.2f}"])
    mine = await rate_of_tasks(bench.store, bench.queries, 8)
    rows.append(["8 (tasks; the store's threads are the cores)", "", f"{mine:,.0f}", ""])
    bench.report.table("Queries a second", ["at once", "faiss alone", "the store", "ratio"], rows)


def rate_of_threads(run: Callable[[NDArray[np.float32]], object], queries: Vectors, count: int) -> float:
    """Return how many calls a second this number of threads makes."""
    end = time.perf_counter() + SECONDS_OF_RATE
    done = [0] * count

    def work(place: int) -> None:
        number = place
        while time.perf_counter() < end:
            run(queries[number % len(queries)])
            number += count
            done[place] += 1

    threads = [threading.Thread(target=work, args=(place,)) for place in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / SECONDS_OF_RATE


async def rate_of_tasks(store: EmbeddedStore, queries: Vectors, count: int) -> float:
    """Return how many searches a second are answered for this number of tasks."""
    end = time.perf_counter() + SECONDS_OF_RATE

    async def work(place: int) -> int:
        number, done = place, 0
        while time.perf_counter() < end:
            await search(store, queries[number % len(queries)], LIMIT)
            number += count
            done += 1
        return done

    return sum(await asyncio.gather(*(work(place) for place in range(count)))) / SECONDS_OF_RATE


async def filters(bench: Bench, *, alone: bool = True) -> None:
    """Searches among a share of the documents; faiss gets the bits of what matches for nothing."""
    rows = []
    for tag, share in SHARES.items():
        where = parse_filter({tag: 0})
        matching = np.zeros(len(bench.vectors), dtype=np.bool_)
        matching[::share] = True
        truth = true_neighbours(bench.vectors[::share], bench.queries) * share
        began = time.perf_counter()
        await search(bench.store, bench.queries[0], LIMIT, where=where)
        first = (time.perf_counter() - began) * 1000
        mine, theirs, plans = await bench.both(where, np.packbits(matching, bitorder="little"))
        of_faiss = [f"{recall_of(theirs.found, truth):.3f}", percentile(theirs.milliseconds, 50)] if alone else []
        rows.append(
            [f"{100 / share:g} %", f"{recall_of(mine.found, truth):.4f}", percentile(mine.milliseconds, 50),
             percentile(mine.milliseconds, 99), f"{first:.1f}", *of_faiss, plans[-1]["plan"]]
        )  # fmt: skip
    columns = ["matching", "recall@10", "p50 ms", "p99 ms", "first ms"]
    columns += ["faiss alone: recall@10", "p50 ms"] if alone else []
    bench.report.table(f"With a filter, ef {bench.ef}", [*columns, "plan"], rows)


async def rewritten(bench: Bench) -> None:
    """A third is deleted and written anew with other vectors: recall before and after the graph was built anew."""
    third = list(every(3, len(bench.vectors)))
    started = time.perf_counter()
    await delete_rows(bench.store, third)
    place = 0
    for block in clustered(len(third), seed=2):
        bench.vectors[third[place : place + len(block)]] = block
        place += len(block)
    await put_rows(bench.store, bench.vectors, third, version=3)
    written = time.perf_counter() - started
    truth = true_neighbours(bench.vectors, bench.queries)
    rows = []
    for name in ("at once", "when the graph was built anew"):
        found, took = [], []
        for query in bench.queries:
            began = time.perf_counter()
            hits = await search(bench.store, query, LIMIT)
            took.append((time.perf_counter() - began) * 1000)
            found.append(rows_of(hits))
        rows.append(
            [name, f"{recall_of(found, truth):.4f}", percentile(took, 50), percentile(took, 99),
             f"{time.perf_counter() - started:.0f}"]
        )  # fmt: skip
        await settled(bench.store)
    title = f"After a third was deleted and written anew with other vectors (in {written:.0f} s)"
    bench.report.table(title, ["searched", "recall@10", "p50 ms", "p99 ms", "seconds since"], rows)
    await filters(bench, alone=False)


async def reopened(bench: Bench, folder: Path, graph: GraphOptions) -> None:
    """Closed and opened again, files in the system's cache."""
    started = time.perf_counter()
    await bench.store.close()
    closed = time.perf_counter() - started
    on_disk = bytes_of(folder)
    gc.collect()
    before, started = anonymous_mib(), time.perf_counter()
    store = await open_store(folder, DIMENSION, graph)
    await search(store, bench.queries[0], LIMIT)
    opened = time.perf_counter() - started
    for query in bench.queries:
        await search(store, query, LIMIT)
    memory = (anonymous_mib() - before) * 2**20
    await store.close()
    count = len(bench.vectors)
    rows = [
        ["memory, bytes a document", f"{memory / count:,.0f}"],
        ["disk, bytes a document", f"{on_disk / count:,.0f}"],
        ["s to close", f"{closed:.1f}"],
        ["s to open, until the first answer", f"{opened:.1f}"],
    ]
    bench.report.table(f"The store of {count:,} x {DIMENSION}, opened again", ["", ""], rows)


async def run(options: Any, folder: Path) -> None:
    """Everything, in order."""
    command = f"python -m tests.benchmarks.bench_ann --rows {options.rows}"
    report = Report(command + (f" --rerank {options.rerank}" if options.rerank != "disk" else ""), options.markdown)
    vectors = write_vectors(folder / "vectors.npy", options.rows)
    queries = make_queries(options.queries)
    graph = GraphOptions(rerank=options.rerank)
    cores = len(os.sched_getaffinity(0))
    bare = build_bare(vectors, graph, cores)
    store = await open_store(folder / "store", DIMENSION, graph)
    started = time.perf_counter()
    await put_rows(store, vectors, range(options.rows))
    written = time.perf_counter() - started
    await settled(store)
    covered = time.perf_counter() - started
    rows = [
        [f"faiss alone, {cores} threads, in memory only", f"{bare.seconds:.0f}", f"{options.rows / bare.seconds:,.0f}"],
        ["the store, 256 a request, acknowledged on disk", f"{written:.0f}", f"{options.rows / written:,.0f}"],
        ["the store, until all are in the graph", f"{covered:.0f}", f"{options.rows / covered:,.0f}"],
    ]
    report.table(f"Loading {options.rows:,} x {DIMENSION}", ["", "s", "documents/s"], rows)
    bench = Bench(store, bare, vectors, queries, default_ef(options.rows), report)
    await latency(bench)
    await rates(bench)
    await filters(bench)
    if not options.without_rewriting:
        await rewritten(bench)
    await reopened(bench, folder / "store", graph)


def main() -> None:
    """Measure and print."""
    parser = report_options(__doc__)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--rerank", choices=["disk", "memory"], default="disk")
    parser.add_argument("--without-rewriting", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-ann-") as folder:
        asyncio.run(run(options, Path(folder)))


if __name__ == "__main__":
    main()
