"""The longest search and the longest write while the store is busy: it loads, deletes, rebuilds its graph, and saves.

One thread searches at a steady pace, and one replaces a document at a time, while another loads `--rows` documents in
batches of 256, deletes a third, and asks for a new graph. If a search starts late because the one before took long, its
time counts from when it was due, because a stall delays every caller who waits. There are two comparisons. One is faiss
alone under a lock, the simplest program: searches and batches of 256 take the same lock. The other is the disk alone, which
no store can beat: it reads as many pages as a search reads of documents that are not in memory, with as many flushes a second.

    python -m tests.benchmarks.bench_stalls [--rows 100000] [--pace 10] [--markdown FILE]
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from executors.index.embedded.memory.collection_memory import GraphOptions
from executors.index.embedded.store import EmbeddedStore
from executors.lifecycle import leave_start_uncollected
from tests.benchmarks.support.bare import empty_index
from tests.benchmarks.support.common import Report, percentile, report_options
from tests.benchmarks.support.embedded import (
    delete_rows,
    every,
    graph_of,
    open_store,
    put_rows,
    record,
    search,
    settled,
)
from tests.benchmarks.support.vectors import DIMENSION, Vectors, make_queries, write_vectors

WRITES_A_SECOND = 10
ON_TOP = 500
PAGE = 4096
# Of 20 documents, and of 21 vectors that are compared exactly.
PAGES_A_SEARCH = 41
FLUSHED_BYTES = 1 << 16
DISK_SECONDS = 120


@dataclass(slots=True)
class Steady:
    """Calls at a steady pace on a thread of their own: when each was due, and when it was answered.

    Args:
        call: what is called with the number of the call.
        every_s: how long after one call was due the next one is.
    """

    call: Callable[[int], Awaitable[object]]
    every_s: float
    due: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()

    def stop(self) -> None:
        """End; what failed is raised by what is missing."""
        self._stop.set()
        assert self._thread is not None
        self._thread.join()

    async def _run(self) -> None:
        began, number = time.perf_counter(), 0
        while not self._stop.is_set():
            due = began + number * self.every_s
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
                # Timers are late by themselves.
                due = time.perf_counter()
            else:
                # After a long stall: what was due meanwhile is not made up for, or the pace would become a burst.
                number += int(-wait / self.every_s)
            await self.call(number)
            self.due.append(due)
            self.answered.append(time.perf_counter())
            number += 1

    def between(self, spans: list[tuple[float, float]]) -> list[float]:
        """Milliseconds of the calls that overlap with one of these spans of time."""
        return [
            (answered - due) * 1000
            for due, answered in zip(self.due, self.answered, strict=False)
            if any(due < end and answered > start for start, end in spans)
        ]


class Saves(logging.Handler):
    """When the store saved a graph, by what it logs at the end: `... %.2f s`."""

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[tuple[float, float]] = []

    def emit(self, line: logging.LogRecord) -> None:
        """Remember a save."""
        if "saved" in str(line.msg) and isinstance(line.args, tuple):
            now = time.perf_counter()
            with suppress(TypeError, ValueError, IndexError):
                self.spans.append((now - float(str(line.args[3])), now))


async def work(store: EmbeddedStore, vectors: Vectors, count: int) -> dict[str, list[tuple[float, float]]]:
    """Load, delete, have the graph built anew: when each began and ended."""
    spans: dict[str, list[tuple[float, float]]] = {}

    async def phase(name: str, doing: Awaitable[None]) -> None:
        started = time.perf_counter()
        await doing
        spans[name] = [(started, time.perf_counter())]

    async def rest() -> None:
        await asyncio.sleep(5.0)

    await phase(f"load of {count:,} by 256", put_rows(store, vectors, range(ON_TOP, ON_TOP + count)))
    await phase("the graph takes the rest", settled(store))
    await phase("quiet", rest())
    third = list(every(3, count))
    await phase("a third is deleted by 256", delete_rows(store, [row + ON_TOP for row in third]))
    await phase("the graph is built anew without them", settled(store))
    await store.reindex()
    await phase("reindex", settled(store))
    return spans


async def the_store(options: Any, folder: Path, vectors: Vectors, queries: Vectors, report: Report) -> None:
    """The store's table."""
    saves = Saves()
    logger = logging.getLogger("executors.index.embedded.upkeep.maintenance")
    logger.addHandler(saves)
    logger.setLevel(logging.INFO)
    store = await open_store(folder / "store", DIMENSION)
    # As the executor does.
    leave_start_uncollected()
    await put_rows(store, vectors, range(ON_TOP))
    versions = iter(range(10, 1 << 40))

    async def find(number: int) -> None:
        hits = await search(store, queries[number % len(queries)])
        assert hits.ids

    async def write(number: int) -> None:
        row = number % ON_TOP
        vector = np.array(vectors[(row + number) % len(vectors)])
        (outcome,) = await store.put([record(row, vector, next(versions))])
        assert outcome.error is None

    searches, writes = Steady(find, options.pace / 1000), Steady(write, 1 / WRITES_A_SECOND)
    searches.start()
    writes.start()
    spans = await work(store, vectors, options.rows)
    graph = await graph_of(store)
    searches.stop()
    writes.stop()
    await store.close()
    spans["while a graph was saved"] = saves.spans
    spans["all of it"] = [(0.0, float("inf"))]
    rows = []
    for name, pieces in spans.items():
        found, written = searches.between(pieces), writes.between(pieces)
        seconds = sum(min(end, searches.answered[-1]) - max(start, searches.due[0]) for start, end in pieces)
        rows.append(
            [name, f"{seconds:.1f}", f"{len(found):,}", percentile(found, 50), percentile(found, 99, 1),
             percentile(found, 100, 0), percentile(written, 50, 1), percentile(written, 99, 0), percentile(written, 100, 0)]
        )  # fmt: skip
    columns = ["the store", "s", "searches", "p50 ms", "p99 ms", "longest", "write p50 ms", "p99", "longest"]
    title = f"A search every {options.pace:g} ms and {WRITES_A_SECOND} writes a second beside {options.rows:,} x {DIMENSION}"
    report.table(title, columns, rows)
    late = sum(duration > 100 for duration in searches.between(spans["all of it"]))
    print(f"{late} searches took longer than 100 ms; the graph in the end: {graph}")


def naive(options: Any, vectors: Vectors, queries: Vectors, report: Report) -> None:
    """faiss under a lock, loaded by 256."""
    index, lock = empty_index(DIMENSION, GraphOptions()), threading.Lock()
    index.add(np.array(vectors[:ON_TOP]))

    async def find(number: int) -> None:
        with lock:
            index.search(queries[number % len(queries)][np.newaxis], 20)

    searches = Steady(find, options.pace / 1000)
    searches.start()
    started = time.perf_counter()
    longest = 0.0
    for start in range(ON_TOP, ON_TOP + options.rows, 256):
        some = np.array(vectors[start : start + 256])
        began = time.perf_counter()
        with lock:
            index.add(some)
        longest = max(longest, (time.perf_counter() - began) * 1000)
    spans = [(started, time.perf_counter())]
    searches.stop()
    found = searches.between(spans)
    row = [f"load of {options.rows:,} by 256", f"{spans[0][1] - started:.1f}", f"{len(found):,}", percentile(found, 50),
           percentile(found, 99, 1), percentile(found, 100, 0), f"{longest:.0f}"]  # fmt: skip
    columns = ["faiss under a lock", "s", "searches", "p50 ms", "p99 ms", "longest", "longest write"]
    report.table("The same load into faiss alone, in memory only", columns, [row])


def disk_alone(options: Any, folder: Path, report: Report) -> None:
    """The same paces without any store: pages out of a file that is not in memory, and flushes of another."""
    read = os.open(folder / "documents", os.O_RDWR | os.O_CREAT)
    written = os.open(folder / "flushed", os.O_WRONLY | os.O_CREAT)
    block = os.urandom(FLUSHED_BYTES)
    # A document's vector takes a page.
    pages = options.rows
    for start in range(0, pages * PAGE, FLUSHED_BYTES):
        os.pwrite(read, block, start)
    os.fsync(read)

    async def find(number: int) -> None:
        if number % 100 == 0:
            os.posix_fadvise(read, 0, 0, os.POSIX_FADV_DONTNEED)
        for _ in range(PAGES_A_SEARCH):
            os.pread(read, PAGE, random.randrange(pages) * PAGE)

    async def write(number: int) -> None:
        os.pwrite(written, block, number % 256 * FLUSHED_BYTES)
        os.fsync(written)

    searches, writes = Steady(find, options.pace / 1000), Steady(write, 1 / WRITES_A_SECOND)
    searches.start()
    writes.start()
    time.sleep(DISK_SECONDS)
    searches.stop()
    writes.stop()
    os.close(read)
    os.close(written)
    found, flushed = (each.between([(0.0, float("inf"))]) for each in (searches, writes))
    row = [f"{PAGES_A_SEARCH} pages are read; 64 KiB are flushed", f"{DISK_SECONDS}", f"{len(found):,}", percentile(found, 50),
           percentile(found, 99, 1), percentile(found, 100, 0), percentile(flushed, 50, 1), percentile(flushed, 99, 0),
           percentile(flushed, 100, 0)]  # fmt: skip
    columns = ["the disk alone", "s", "searches", "p50 ms", "p99 ms", "longest", "write p50 ms", "p99", "longest"]
    report.table("The same paces on the disk alone", columns, [row])
    print(f"{sum(duration > 100 for duration in found)} of these took longer than 100 ms")


def main() -> None:
    """Measure and print."""
    import faiss

    parser = report_options(__doc__)
    parser.add_argument("--pace", type=float, default=10.0, help="milliseconds from search to search (10)")
    parser.add_argument("--without-faiss", action="store_true", help="the store alone")
    options = parser.parse_args()
    report = Report(f"python -m tests.benchmarks.bench_stalls --rows {options.rows}", options.markdown)
    with tempfile.TemporaryDirectory(prefix="bench-stalls-") as name:
        folder = Path(name)
        vectors, queries = write_vectors(folder / "vectors.npy", ON_TOP + options.rows), make_queries(1_000)
        asyncio.run(the_store(options, folder, vectors, queries, report))
        disk_alone(options, folder, report)
        if not options.without_faiss:
            faiss.omp_set_num_threads(1)
            naive(options, vectors, queries, report)


if __name__ == "__main__":
    main()
