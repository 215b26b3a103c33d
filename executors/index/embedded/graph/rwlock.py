"""A phase-fair read-write lock: neither side can keep the other one out.

Readers and writers take turns where both want in: a writer waits for the readers that were there before it, and readers
that came while one wrote or waited go all together before the next one (B. Brandenburg, J. Anderson, Spin-Based Reader-Writer
Synchronization for Multiprocessor Real-Time Systems, 2010). So a reader waits for one writer at most, however many there are.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType


class RwLock:
    """Many readers or one writer. Not reentrant: a thread that holds one side must not ask for either."""

    def __init__(self) -> None:
        self._state = threading.Lock()
        self._readers = 0
        self._writing = False
        # Every waiting thread waits at a gate of its own, which opens when the lock has been handed to it.
        self._readers_waiting: list[threading.Lock] = []
        self._writers_waiting: deque[threading.Lock] = deque()
        self._read_side = _Side(self._start_reading, self._end_reading)
        self._write_side = _Side(self._start_writing, self._end_writing)

    def reading(self) -> AbstractContextManager[None]:
        """`with lock.reading():` runs beside other readers, without a writer."""
        return self._read_side

    def writing(self) -> AbstractContextManager[None]:
        """`with lock.writing():` runs alone."""
        return self._write_side

    def _start_reading(self) -> None:
        with self._state:
            if not self._writing and not self._writers_waiting:
                self._readers += 1
                return
            gate = _closed_gate()
            self._readers_waiting.append(gate)
        try:
            gate.acquire()
        except BaseException:
            self._give_up_reading(gate)
            raise

    def _end_reading(self) -> None:
        with self._state:
            self._readers -= 1
            if not self._readers:
                self._let_a_writer_in()

    def _start_writing(self) -> None:
        with self._state:
            if not self._writing and not self._readers:
                self._writing = True
                return
            gate = _closed_gate()
            self._writers_waiting.append(gate)
        try:
            gate.acquire()
        except BaseException:
            self._give_up_writing(gate)
            raise

    def _end_writing(self) -> None:
        with self._state:
            self._writing = False
            if self._readers_waiting:
                self._let_readers_in()
            else:
                self._let_a_writer_in()

    def _let_readers_in(self) -> None:
        self._readers += len(self._readers_waiting)
        for gate in self._readers_waiting:
            gate.release()
        self._readers_waiting.clear()

    def _let_a_writer_in(self) -> None:
        if self._writers_waiting:
            self._writing = True
            self._writers_waiting.popleft().release()

    def _give_up_reading(self, gate: threading.Lock) -> None:
        """Clean up after an exception from outside (Ctrl-C) ended the wait: if the lock was already handed over, pass
        it on to the others.
        """
        with self._state:
            waiting = gate in self._readers_waiting
            if waiting:
                self._readers_waiting.remove(gate)
        if not waiting:
            self._end_reading()

    def _give_up_writing(self, gate: threading.Lock) -> None:
        with self._state:
            waiting = gate in self._writers_waiting
            if waiting:
                self._writers_waiting.remove(gate)
                if not self._writers_waiting and not self._writing:
                    self._let_readers_in()
        if not waiting:
            self._end_writing()


class _Side(AbstractContextManager[None]):
    """A context manager without state of its own, so that all threads can share it."""

    def __init__(self, enter: Callable[[], None], leave: Callable[[], None]) -> None:
        self._enter = enter
        self._leave = leave

    def __enter__(self) -> None:
        self._enter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()


def _closed_gate() -> threading.Lock:
    gate = threading.Lock()
    gate.acquire()
    return gate
