"""Threads that requests share: one set for small requests, one of lower priority for bulk, both within one memory
budget.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Generic, TypeVar

from executors.errors import VisualSearchError
from executors.scheduling.turns import BULK_NICENESS, FairQueue, Turn

R = TypeVar("R")

# At most this much later work may begin before a piece that finds no memory; then that piece is next.
MOST_PASSING: Final = 32
# The part of the budget that bulk leaves free, so that a small request does not wait for it.
_BULK_SHARE: Final = 0.75


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a piece of work.

    Attributes:
        size: bytes of memory while it runs.
        expensive: long or large compared with the bytes that were sent: only one such piece runs at a time, others pass it.
    """

    size: int = 0
    expensive: bool = False


@dataclass(slots=True, eq=False)
class _Job(Generic[R]):
    run: Callable[[], R]
    turn: Turn
    cost: Cost
    future: Future[R] = field(default_factory=Future)
    # How much work had begun when this piece found no memory.
    refused_at: int | None = None


class FairThreads:
    """Runs work in threads, the requests in turn. Work that is cancelled before its turn is never begun.

    Args:
        bulk, small: how many threads.
        budget: bytes that all running work may take together; work that needs more than that runs alone. Smaller work
            passes work that finds no memory, but only `MOST_PASSING` times: then nothing begins before it.
        name: of the threads.
    """

    def __init__(self, *, bulk: int, small: int, budget: int | None = None, name: str) -> None:
        self._budget = budget
        self._queues: dict[bool, FairQueue[_Job[Any]]] = {True: FairQueue(), False: FairQueue()}
        self._changed = threading.Condition()
        self._closed = self._expensive_runs = False
        # Whether small work waits for memory that bulk holds. Otherwise the thread that ends a bulk job would always be
        # first to take the next one.
        self._small_blocked = False
        # The piece of work that nothing may pass any more.
        self._next: _Job[Any] | None = None
        self._size = self._size_of_bulk = 0
        self.begun = self.running = self.dropped = 0
        counts = ((True, bulk), (False, small))
        self._threads = [
            threading.Thread(target=self._work, args=(is_bulk,), name=f"{name}-{number}", daemon=True)
            for is_bulk, count in counts
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, run: Callable[[], R], turn: Turn, cost: Cost | None = None) -> Future[R]:
        """Queue work.

        Raises:
            VisualSearchError: `unavailable` after `close`.
        """
        # What the work logs carries the id of its request.
        job = _Job(partial(copy_context().run, run), turn, cost or Cost())
        with self._changed:
            if self._closed:
                raise _closed()
            # Expensive work has its own line, so that the rest of its request passes it, too.
            self._queues[turn.bulk].push(job, (turn.request, job.cost.expensive))
            self._changed.notify_all()
        return job.future

    def close(self, *, wait: bool = False) -> None:
        """Close the queue and end the threads once the running work is done; waiting work fails with `unavailable`."""
        with self._changed:
            self._closed = True
            for queue in self._queues.values():
                while (job := queue.pop()) is not None:
                    # The work is failed rather than cancelled: a task group treats a cancelled task like one that ended
                    # well.
                    if job.future.set_running_or_notify_cancel():
                        job.future.set_exception(_closed())
            self._changed.notify_all()
        if wait:
            for thread in self._threads:
                thread.join()

    def status(self) -> dict[str, int]:
        """The report for `/status`: work that waits and runs now, and work that was begun and dropped so far."""
        with self._changed:
            waiting = sum(len(queue) for queue in self._queues.values())
            return {
                "waiting": waiting,
                "running": self.running,
                "running_bytes": self._size,
                "begun": self.begun,
                "dropped": self.dropped,
            }

    def _work(self, is_bulk: bool) -> None:
        if is_bulk:
            _lower_priority()
        while (job := self._take(is_bulk)) is not None:
            try:
                job.future.set_result(job.run())
            except BaseException as error:  # a waiting thread continues with it; this thread goes on
                job.future.set_exception(error)
            finally:
                self._give_back(job)
            del job

    def _take(self, is_bulk: bool) -> _Job[Any] | None:
        with self._changed:
            while not self._closed:
                job = self._queues[is_bulk].pop(self._may_begin)
                if not is_bulk:
                    self._note_blocked(job is None and len(self._queues[False]) > 0)
                if job is None:
                    self._changed.wait()
                    continue
                if job is self._next:
                    self._next = None
                    self._changed.notify_all()
                if job.future.set_running_or_notify_cancel():
                    self._size += job.cost.size
                    self._size_of_bulk += job.cost.size * job.turn.bulk
                    self._expensive_runs = self._expensive_runs or job.cost.expensive
                    self.running += 1
                    self.begun += 1
                    return job
                self.dropped += 1
            return None

    def _give_back(self, job: _Job[Any]) -> None:
        with self._changed:
            self._size -= job.cost.size
            self._size_of_bulk -= job.cost.size * job.turn.bulk
            self._expensive_runs = self._expensive_runs and not job.cost.expensive
            self.running -= 1
            self._changed.notify_all()

    def _note_blocked(self, blocked: bool) -> None:
        """Set whether small work is blocked, called by threads of small work only; bulk that waited for it is notified
        when it ends.
        """
        if self._small_blocked and not blocked:
            self._changed.notify_all()
        self._small_blocked = blocked

    def _may_begin(self, job: _Job[Any]) -> bool:
        if job.future.cancelled():
            return True
        if job.cost.expensive and self._expensive_runs:
            return False
        takes = job.cost.expensive or job.cost.size > 0
        if takes and job.turn.bulk and self._small_blocked and job is not self._next:
            return False
        if self._budget is None or not job.cost.size:
            return True
        if self._next is not None and self._next is not job and not self._next.future.cancelled():
            return False
        if self._has_room(job, self._budget):
            return True
        if job.refused_at is None:
            job.refused_at = self.begun
        elif self.begun - job.refused_at >= MOST_PASSING:
            self._next = job
        return False

    def _has_room(self, job: _Job[Any], budget: int) -> bool:
        if not self._size:
            return True
        if job.turn.bulk and self._size_of_bulk and self._size_of_bulk + job.cost.size > _BULK_SHARE * budget:
            return False
        return self._size + job.cost.size <= budget


def _closed() -> VisualSearchError:
    return VisualSearchError("unavailable", "this stage is stopping")


def _lower_priority() -> None:
    """Give this thread a lower priority than those of small requests. Only Linux has priorities of single threads."""
    if sys.platform == "linux":
        with suppress(OSError):
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + BULK_NICENESS))
