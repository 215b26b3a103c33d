"""Durable documents a second: 1, 32 and 256 a request, one writer and eight, against a bare insert into SQLite.

The bare side stores the same bytes (id, tags as JSON, vector) in one table with the same settings (WAL, synchronous=FULL,
pages of 4 KiB), one transaction a request; its eight writers are threads that take turns at one connection. The store
checks, keeps checksums, digests and an index of the tags, makes every document searchable before it answers, and has
eight writers' requests share a transaction. Both sides take turns, several rounds; the ratio is that of the medians.

    python -m tests.benchmarks.bench_writes [--rows 100000] [--rounds 3] [--markdown FILE]

`--rows` is what the store holds before: a graph is kept up to date meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from executors.index.embedded.disk.database import DATABASE_NAME, PAGE_SIZE
from executors.index.embedded.store import EmbeddedStore
from tests.benchmarks.support.common import Report, report_options
from tests.benchmarks.support.embedded import name_of, open_store, put_rows, settled, tags_of
from tests.benchmarks.support.vectors import DIMENSION, Vectors, write_vectors

# Documents a request, writers, documents in a round.
CASES = ((1, 1, 1_000), (32, 1, 4_096), (256, 1, 8_192), (1, 8, 4_000), (32, 8, 8_192), (256, 8, 16_384))


@dataclass(slots=True)
class Rates:
    """Documents a second of each round, and transactions a document of the last one."""

    store: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    slowest_ms: list[float] = field(default_factory=list)
    requests_together: float = 0.0


def transactions(folder: Path) -> int:
    """How many transactions that changed something the store has committed; each is one flush of its log."""
    connection = sqlite3.connect(f"{(folder / DATABASE_NAME).absolute().as_uri()}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT value FROM meta WHERE key = 'sequence'").fetchone()[0])
    finally:
        connection.close()


async def rate_of_store(
    store: EmbeddedStore, vectors: Vectors, rows: range, batch: int, writers: int
) -> tuple[float, float]:
    """Documents a second, and the longest request in milliseconds."""
    longest = 0.0

    async def write(mine: range) -> None:
        nonlocal longest
        for start in range(0, len(mine), batch):
            began = time.perf_counter()
            await put_rows(store, vectors, mine[start : start + batch], batch)
            longest = max(longest, (time.perf_counter() - began) * 1000)

    share = len(rows) // writers
    started = time.perf_counter()
    await asyncio.gather(*(write(rows[number * share : (number + 1) * share]) for number in range(writers)))
    return share * writers / (time.perf_counter() - started), longest


class BareTable:
    """One table in a file of its own."""

    def __init__(self, folder: Path) -> None:
        self._connection = sqlite3.connect(folder / "bare.sqlite3", isolation_level=None, check_same_thread=False)
        self._turn = threading.Lock()
        for statement in (
            f"PRAGMA page_size = {PAGE_SIZE}",
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",
            "CREATE TABLE documents (row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, tags TEXT, embedding BLOB)",
        ):
            self._connection.execute(statement)

    def rate(self, vectors: Vectors, rows: range, batch: int, writers: int) -> float:
        """Documents a second."""
        share = len(rows) // writers

        def write(mine: range) -> None:
            for start in range(0, len(mine), batch):
                documents = [
                    (row, name_of(row), json.dumps(tags_of(row)), vectors[row % len(vectors)].tobytes())
                    for row in mine[start : start + batch]
                ]
                with self._turn:
                    self._connection.execute("BEGIN IMMEDIATE")
                    self._connection.executemany("INSERT INTO documents VALUES (?, ?, ?, ?)", documents)
                    self._connection.execute("COMMIT")

        started = time.perf_counter()
        threads = [
            threading.Thread(target=write, args=(rows[number * share : (number + 1) * share],))
            for number in range(writers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return share * writers / (time.perf_counter() - started)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


async def run(options: Any, folder: Path) -> None:
    """All cases, in rounds."""
    report = Report(f"python -m tests.benchmarks.bench_writes --rows {options.rows}", options.markdown)
    total = options.rows + options.rounds * sum(case[2] for case in CASES)
    vectors = write_vectors(folder / "vectors.npy", total)
    store = await open_store(folder / "store", DIMENSION)
    bare = BareTable(folder)
    await put_rows(store, vectors, range(options.rows))
    await settled(store)
    rates = {case: Rates() for case in CASES}
    start = options.rows
    for _ in range(options.rounds):
        for case, rate in rates.items():
            batch, writers, count = case
            rows, start = range(start, start + count), start + count
            rate.bare.append(bare.rate(vectors, rows, batch, writers))
            before = transactions(folder / "store")
            mine, longest = await rate_of_store(store, vectors, rows, batch, writers)
            rate.store.append(mine)
            rate.slowest_ms.append(longest)
            rate.requests_together = count / batch / (transactions(folder / "store") - before)
            await settled(store)
    lines = []
    for (batch, writers, _), rate in rates.items():
        mine, theirs = statistics.median(rate.store), statistics.median(rate.bare)
        lines.append(
            [f"{batch} a request, {writers} writer{'s' if writers > 1 else ''}", f"{mine:,.0f}", f"{theirs:,.0f}",
             f"{mine / theirs:.2f}", f"{rate.requests_together:.1f}", f"{max(rate.slowest_ms):.0f}"]
        )  # fmt: skip
    columns = ["", "the store, documents/s", "bare SQLite", "ratio", "requests a flush", "longest request ms"]
    report.table(f"Durable documents a second, beside {options.rows:,} in the graph", columns, lines)
    bare.close()
    await store.close()


def main() -> None:
    """Measure and print."""
    parser = report_options(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-writes-") as folder:
        asyncio.run(run(options, Path(folder)))


if __name__ == "__main__":
    main()
