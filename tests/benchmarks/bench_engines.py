"""The embedded store beside DocArray's HnswDocumentIndex and LanceDB: the same vectors, and what kill -9 leaves of each.

Every engine gets a process of its own, 256 documents a request, M 16, efConstruction 200, ef 96, and the same queries one
at a time. Then it is killed: a process writes 32 documents a request and says after each call that returned which rows it
holds to be stored; it is killed at a random time (seeded); another one opens the folder and looks for these rows by their
id and by their vector. kill -9 is less than power loss: it does not take what the system has in its caches.

The other engines come with the dependency group `bench`, which needs a C++ compiler for hnswlib (it comes as source). Keep
them in an environment of their own:

    make install VENV=.venv-bench
    .venv-bench/bin/python -m pip install --upgrade 'pip>=25.1' && .venv-bench/bin/python -m pip install --group bench
    .venv-bench/bin/python -m tests.benchmarks.bench_engines [--rows 100000] [--cycles 10] [--markdown FILE]
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np

from tests.benchmarks.support.common import Report, anonymous_mib, bytes_of, percentile, report_options
from tests.benchmarks.support.engines import EF, EF_CONSTRUCTION, ENGINES, M
from tests.benchmarks.support.vectors import DIMENSION, make_queries, true_neighbours, write_vectors
from tests.benchmarks.support.vectors import recall as recall_of

BATCH = 256
KILLED_BATCH = 32
LONGEST_CHECK_S = 300.0
CHECKED_BY_VECTOR = 200
SPAWN = multiprocessing.get_context("spawn")


@dataclass(slots=True)
class Killed:
    """The effects of some kills on one engine."""

    cycles: int = 0
    acknowledged: int = 0
    missing: int = 0
    not_found: int = 0
    unopened: int = 0
    reason: str = ""


def measure(name: str, folder: Path, vectors_file: Path, count: int, answers: Any) -> None:
    """A process that fills an engine and searches it."""
    vectors, queries = np.load(vectors_file, mmap_mode="r"), make_queries(500)
    # The memory of its libraries does not count.
    (folder / "first").mkdir()
    ENGINES[name](folder / "first", vectors.shape[1], 1).close()
    before = anonymous_mib()
    engine = ENGINES[name](folder, vectors.shape[1], count)
    started = time.perf_counter()
    for start in range(0, count, BATCH):
        engine.add(vectors, range(start, min(count, start + BATCH)))
    inserted = time.perf_counter() - started
    engine.finish()
    built = time.perf_counter() - started
    engine.timed(queries[:50])
    took, found = engine.timed(queries)
    answers.put((inserted, built, took, found, anonymous_mib() - before))
    engine.close()


def write_until_killed(name: str, folder: Path, vectors_file: Path, first: int, answers: Any) -> None:
    """A process that writes and says what was acknowledged, for as long as it lives."""
    vectors = np.load(vectors_file, mmap_mode="r")
    engine = ENGINES[name](folder, vectors.shape[1], len(vectors))
    for start in range(first, len(vectors) - KILLED_BATCH, KILLED_BATCH):
        engine.add(vectors, range(start, start + KILLED_BATCH))
        answers.send(start + KILLED_BATCH)


def look_for(name: str, folder: Path, vectors_file: Path, rows: list[int], answers: Any) -> None:
    """A process that opens what a kill has left: how many rows are missing by id, and how many of some by their vector."""
    try:
        vectors = np.load(vectors_file, mmap_mode="r")
        engine = ENGINES[name](folder, vectors.shape[1], len(vectors))
        there = engine.present(rows)
        some = random.Random(len(rows)).sample(rows, min(CHECKED_BY_VECTOR, len(rows)))
        lost = 0
        for row in some:
            try:
                lost += row not in engine.search(np.array(vectors[row]))
            except Exception:  # an engine may raise anything; vectors that can't be found count as lost
                lost += 1
        answers.put((len(rows) - len(there), lost, ""))
        engine.close()
    except Exception as error:
        answers.put((len(rows), len(rows), f"{type(error).__name__}: {error}"))


def asked(work: Callable[..., None], *arguments: Any) -> Any:
    """Return the answer of a new process; None if it died or took too long."""
    answers = SPAWN.Queue()
    process = SPAWN.Process(target=work, args=(*arguments, answers))
    process.start()
    deadline = time.monotonic() + LONGEST_CHECK_S if work is look_for else float("inf")
    while time.monotonic() < deadline:
        try:
            answer = answers.get(timeout=0.5)
        except Empty:
            if process.is_alive():
                continue
            break
        process.join()
        return answer
    process.kill()
    process.join()
    return None


def one_kill(name: str, folder: Path, vectors_file: Path, first: int, chance: random.Random) -> int:
    """Start a writer, kill it a random time after its first acknowledgement: the rows before this one count."""
    receiving, sending = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=write_until_killed, args=(name, folder, vectors_file, first, sending))
    process.start()
    sending.close()
    acknowledged = first
    try:
        if receiving.poll(60.0):
            acknowledged = receiving.recv()
            time.sleep(chance.uniform(0.05, 2.0))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        while receiving.poll(1.0):
            acknowledged = receiving.recv()
    except (EOFError, ProcessLookupError):
        pass
    process.join()
    return acknowledged


def kill_cycles(name: str, root: Path, vectors_file: Path, cycles: int) -> Killed:
    """Kill, look, go on in the same folder; in a new one when the old one is of no use any more."""
    killed, chance = Killed(), random.Random(1)
    attempt, first = 0, 0
    for _ in range(cycles):
        folder = root / f"{name}-{attempt}"
        folder.mkdir(parents=True, exist_ok=True)
        end = one_kill(name, folder, vectors_file, first, chance)
        killed.cycles += 1
        killed.acknowledged += end - first
        answer = asked(look_for, name, folder, vectors_file, list(range(end)))
        missing, not_found, reason = answer or (end, end, "the process that opened it died")
        if reason:
            killed.unopened += 1
            killed.reason = reason
        killed.missing += missing
        killed.not_found += 0 if reason else not_found
        damaged = missing or not_found or reason
        attempt, first = (attempt + 1, 0) if damaged else (attempt, end)
    return killed


def main() -> None:
    """Measure and print."""
    parser = report_options(__doc__)
    parser.add_argument("--cycles", type=int, default=10, help="how often each engine is killed")
    parser.add_argument("--engines", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    options = parser.parse_args()
    command = f"python -m tests.benchmarks.bench_engines --rows {options.rows} --cycles {options.cycles}"
    report = Report(command, options.markdown)
    with tempfile.TemporaryDirectory(prefix="bench-engines-") as name_of_folder:
        root = Path(name_of_folder)
        vectors = write_vectors(root / "vectors.npy", options.rows)
        truth = true_neighbours(vectors, make_queries(500))
        rows = []
        for name in options.engines:
            folder = root / name
            folder.mkdir()
            answer = asked(measure, name, folder, root / "vectors.npy", options.rows)
            if answer is None:
                rows.append([name, *["failed"] * 8])
                continue
            inserted, built, took, found, mib = answer
            rows.append(
                [name, f"{options.rows / inserted:,.0f}", f"{built - inserted:.0f}", f"{options.rows / built:,.0f}",
                 f"{recall_of(found, truth):.4f}", percentile(took, 50), percentile(took, 99), f"{mib:,.0f}",
                 f"{bytes_of(folder) / 2**20:,.0f}"]
            )  # fmt: skip
        title = f"{options.rows:,} x {DIMENSION}, {BATCH} a request, M {M}, efConstruction {EF_CONSTRUCTION}, ef {EF}"
        columns = ["", "inserts/s", "index s", "both /s", "recall@10", "p50 ms", "p99 ms", "memory MiB", "disk MiB"]
        report.table(title, columns, rows)
        write_vectors(root / "vectors.npy", 200_000)
        rows = []
        for name in options.engines:
            killed = kill_cycles(name, root / "killed", root / "vectors.npy", options.cycles)
            rows.append(
                [name, f"{killed.cycles}", f"{killed.acknowledged:,}", f"{killed.missing:,}", f"{killed.not_found:,}",
                 f"{killed.unopened}", killed.reason[:60]]
            )  # fmt: skip
        columns = ["", "kills", "acknowledged", "of these missing", "not found", "unusable after", "error"]
        report.table(f"kill -9 while writing, {KILLED_BATCH} a request", columns, rows)


if __name__ == "__main__":
    main()
