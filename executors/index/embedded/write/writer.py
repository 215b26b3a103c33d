"""The writing thread: calls that wait together share a transaction and its flush to disk."""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from executors.errors import VisualSearchError
from executors.index.embedded.disk.checkpoints import Checkpointer
from executors.index.embedded.disk.database import database_errors
from executors.index.embedded.disk.meta import new_epoch
from executors.index.embedded.disk.placement import Placement
from executors.index.embedded.disk.reserve import Reserve
from executors.index.embedded.disk.transaction import Transaction
from executors.index.embedded.memory.shard_memory import Memory

T = TypeVar("T")

_PRUNE_EVERY_MS: Final = 60_000
# A transaction takes no further call once it has this many writes, so that the first caller does not wait for all that
# follow.
_WRITES_TOGETHER: Final = 1_024


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[Transaction], Any]
    weight: int
    frees_space: bool
    future: Future[Any] = field(default_factory=Future)


class Writer:
    """Runs work inside transactions, in the order of submission, and answers when it is durable and published.

    Work must be repeatable: if one call of a shared transaction fails, every call is run again by itself, so that only
    the failing call gets the failure.

    Args:
        connection: the writing connection; no other code may use it until `close` has returned.
        memory: receives every committed change before its call is answered.
        placement: checks whether the connection's files still belong to the shard.
        reserve: disk space for work that frees space, released if the disk is full.
        now_ms: the wall clock.
        keep_tombstones_ms: how long deletes and supersedes are remembered.
        checkpointer: called after every transaction that was answered.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        memory: Memory,
        placement: Placement,
        reserve: Reserve,
        now_ms: Callable[[], int],
        keep_tombstones_ms: int,
        checkpointer: Checkpointer,
    ) -> None:
        self._connection = connection
        self._memory = memory
        self._placement = placement
        self._reserve = reserve
        # The disk's error for the last transaction; None if it succeeded.
        self.disk_error: VisualSearchError | None = None
        self._now_ms = now_ms
        self._keep_tombstones_ms = keep_tombstones_ms
        self._epoch = new_epoch()
        self._prune_from_ms = 0
        self._checkpointer = checkpointer
        # Called after every transaction that changed something.
        self.after_commit: Callable[[], None] = _nothing
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._closing = threading.Lock()
        # A process that ends without closing the store must not hang on this thread; every commit is complete anyway.
        self._thread = threading.Thread(target=self._run, name="index-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Transaction], T], weight: int = 1, *, frees_space: bool = False) -> Future[T]:
        """Queue work of `weight` writes. Cancelling the future before its turn removes it; later it runs to its end.

        Args:
            frees_space: whether it may use the reserve if the disk is full.

        Raises:
            VisualSearchError: `storage_unavailable` after `close`.
        """
        job = _Job(work, weight, frees_space)
        with self._closing:
            if self._closed:
                raise VisualSearchError("storage_unavailable", "the store is closed")
            self._jobs.put(job)
        return job.future

    def close(self) -> None:
        """Finish the queued work and end the thread."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        more = True
        while more:
            jobs, more = self._next_jobs()
            started = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            if started:
                self._answer(started)
                if self._checkpointer.is_due or self._reserve.disk_is_tight or not self._reserve.is_filled:
                    self._tidy_up()

    def _tidy_up(self) -> None:
        """Move the log into the file if it is time to, and fill the reserve."""
        with suppress(VisualSearchError):  # the files were moved
            self._placement.begin_writing()
            if self._checkpointer.is_due or self._reserve.disk_is_tight:
                self._checkpointer.run()
            self._placement.note_written()
            if self.disk_error is None:
                self._reserve.fill()

    def _next_jobs(self) -> tuple[list[_Job], bool]:
        """Wait for a call, then take those that wait with it; False with the last ones."""
        job = self._jobs.get()
        jobs: list[_Job] = []
        weight = 0
        while job is not None:
            jobs.append(job)
            weight += job.weight
            if weight >= _WRITES_TOGETHER:
                return jobs, True
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return jobs, True
        return jobs, False

    def _answer(self, jobs: list[_Job]) -> None:
        try:
            results = self._try_commit(jobs)
        except Exception as error:
            if len(jobs) == 1 and jobs[0].frees_space and error is self.disk_error and self._reserve.release():
                self._answer(jobs)
            elif len(jobs) == 1:
                jobs[0].future.set_exception(error)
            else:
                for job in jobs:
                    self._answer([job])
            return
        for job, result in zip(jobs, results, strict=True):
            job.future.set_result(result)

    def _try_commit(self, jobs: list[_Job]) -> list[Any]:
        self._placement.begin_writing()
        try:
            results = self._commit(jobs)
        except BaseException as error:
            self._placement.note_written()
            if isinstance(error, VisualSearchError) and error.code == "storage_unavailable":
                self.disk_error = error
            raise
        self.disk_error = None
        return results

    def _commit(self, jobs: list[_Job]) -> list[Any]:
        with database_errors(self._placement.folder):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                memory = self._memory
                transaction = Transaction(
                    self._connection, memory.collections, self._now_ms(), self._epoch, memory.damaged
                )
                results = [job.work(transaction) for job in jobs]
                if transaction.has_changes:
                    self._prune_if_due(transaction)
                    transaction.seal()
                    memory.prepare(transaction.changes)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    with suppress(sqlite3.Error):
                        self._connection.execute("ROLLBACK")
                raise
        # Data in files that no later start will find must not be acknowledged.
        self._placement.check_written()
        if transaction.has_changes:
            memory.publish(transaction.changes)
            self.after_commit()
        return results

    def _prune_if_due(self, transaction: Transaction) -> None:
        now = transaction.now_ms
        # The second comparison is for a wall clock that was set back.
        if now >= self._prune_from_ms or now < self._prune_from_ms - _PRUNE_EVERY_MS:
            more = transaction.removals.prune(now - self._keep_tombstones_ms)
            self._prune_from_ms = now if more else now + _PRUNE_EVERY_MS


def _nothing() -> None:
    """Default for `after_commit`."""
