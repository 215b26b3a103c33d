"""An open shard: it takes its lock, connections, memory and threads in order, and releases them in reverse order."""

from __future__ import annotations

import ctypes
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from executors.errors import VisualSearchError
from executors.index.embedded.disk.checkpoints import Checkpointer
from executors.index.embedded.disk.database import (
    ReadConnections,
    connect_writer,
    database_errors,
    database_path,
    structural_faults,
    was_stopped_uncleanly,
)
from executors.index.embedded.disk.folder_lock import FolderLock, make_folder
from executors.index.embedded.disk.placement import Placement
from executors.index.embedded.disk.reserve import Reserve
from executors.index.embedded.disk.schema import prepare
from executors.index.embedded.graph.hnsw import use_one_thread
from executors.index.embedded.memory.collection_memory import GraphOptions
from executors.index.embedded.memory.loading import load_memory
from executors.index.embedded.memory.shard_memory import Memory
from executors.index.embedded.upkeep.maintenance import Maintenance
from executors.index.embedded.write.writer import Writer

T = TypeVar("T")

_WORKER_THREADS: Final = 2

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """See `EmbeddedStore`."""

    search_threads: int
    keep_tombstones_ms: int
    checkpoint_every: int
    graph: GraphOptions
    now_ms: Callable[[], int]


@dataclass(frozen=True, slots=True)
class Running:
    """Everything that an open shard holds.

    Attributes:
        workers: threads that encode writes, and run reads other than searches.
        searches: threads of searches.
        counts: threads of facets, which may read all entries of a tag.
        checks: one thread for full checks.
    """

    lock: FolderLock
    placement: Placement
    connection: sqlite3.Connection
    memory: Memory
    writer: Writer
    maintenance: Maintenance
    reading: ReadConnections
    workers: ThreadPoolExecutor
    searches: ThreadPoolExecutor
    counts: ThreadPoolExecutor
    checks: ThreadPoolExecutor
    details: dict[str, Any]


def open_shard(folder: Path, options: Options) -> Running:
    """Take the lock, check the files, load memory, start the threads.

    Raises:
        VisualSearchError: `store_locked`, `store_invalid`, `storage_unavailable`; then nothing is held.
    """
    started = time.perf_counter()
    make_folder(folder)
    with ExitStack() as undo:
        lock = FolderLock(folder)
        lock.acquire()
        undo.callback(lock.release)
        unclean = was_stopped_uncleanly(folder)
        begins_empty = not database_path(folder).exists()
        connection = connect_writer(folder)
        undo.callback(connection.close)
        checked_s = _check_file(connection, unclean)
        notes = [f"the file was checked in {checked_s:g} s, since its last process did not close it"] if unclean else []
        if begins_empty:
            notes.append(f"there was no index in {str(folder)!r}: this shard begins empty")
        memory = _load(connection, folder, options.graph, notes)
        reading = ReadConnections(folder)
        undo.callback(reading.close)
        placement = Placement(folder)
        reserve = Reserve(folder)
        reserve.fill()
        writer = Writer(
            connection,
            memory,
            placement,
            reserve,
            options.now_ms,
            options.keep_tombstones_ms,
            Checkpointer(connection, options.checkpoint_every),
        )
        undo.callback(writer.close)
        maintenance = Maintenance(placement, memory, reading, writer)
        undo.callback(maintenance.close)
        writer.after_commit = maintenance.wake
        running = Running(
            lock=lock,
            placement=placement,
            connection=connection,
            memory=memory,
            writer=writer,
            maintenance=maintenance,
            reading=reading,
            workers=ThreadPoolExecutor(_WORKER_THREADS, "index-worker"),
            # Each search thread uses one thread of faiss: searches run in parallel.
            searches=ThreadPoolExecutor(options.search_threads, "index-search", use_one_thread),
            counts=ThreadPoolExecutor(_WORKER_THREADS, "index-count"),
            checks=ThreadPoolExecutor(1, "index-verify"),
            details={
                "store": "embedded",
                "stopped_uncleanly": unclean,
                "open_seconds": round(time.perf_counter() - started, 3),
                "start": notes,
                "sqlite": sqlite3.sqlite_version,
            },
        )
        undo.pop_all()
        return running


def close_shard(running: Running) -> None:
    """Answer the waiting calls, then release everything; the writing connection is closed last, so that it clears the
    log.
    """
    for pool in (running.searches, running.counts, running.checks, running.workers):
        pool.shutdown(wait=True)
    running.maintenance.close()
    running.writer.close()
    running.reading.close()
    try:
        running.placement.check()
        running.connection.close()
    except VisualSearchError as error:
        _log.error("the shard's files are left unchanged: %s", error)
        _leave_open(running.connection)
    running.lock.release()


def _leave_open(connection: sqlite3.Connection) -> None:
    """Leave connections open: closing one would move its log into files, and remove a file, that no longer belong to
    this shard.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def submit(pool: ThreadPoolExecutor, function: Callable[..., T], *arguments: Any) -> Future[T]:
    """Run a call on a pool of a running shard.

    Raises:
        VisualSearchError: `storage_unavailable` if the shard was closed meanwhile.
    """
    try:
        return pool.submit(function, *arguments)
    except RuntimeError as error:
        raise VisualSearchError("storage_unavailable", "the store is closed") from error


def _check_file(connection: sqlite3.Connection, unclean: bool) -> float:
    """Check the file after an unclean stop, and upgrade its format; returns how long the check took, in seconds."""
    started = time.perf_counter()
    with _missing_parts(), database_errors():
        if unclean:
            _log.warning("the shard was not closed by its last process: checking its file")
            _refuse_damage(structural_faults(connection, full=False))
        took = round(time.perf_counter() - started, 3)
        prepare(connection)
    return took


def _load(connection: sqlite3.Connection, folder: Path, options: GraphOptions, notes: list[str]) -> Memory:
    with _missing_parts(), database_errors():
        memory = load_memory(connection, folder, options, notes)
    damaged = [document_id for rows in memory.damaged.values() for document_id in rows.values()]
    if damaged:
        _log.error(
            "%d vectors are damaged on disk, their collections can't be searched: %s", len(damaged), damaged[:20]
        )
    return memory


@contextmanager
def _missing_parts() -> Iterator[None]:
    """Report a missing table or column as damage."""
    try:
        yield
    except sqlite3.Error as error:
        raise VisualSearchError("store_invalid", f"the shard's file is damaged: {error}", reason=str(error)) from error


def _refuse_damage(faults: Sequence[str]) -> None:
    if faults:
        raise VisualSearchError(
            "store_invalid", f"the shard's file is damaged: {faults[0]}; restore it from a backup", faults=list(faults)
        )
