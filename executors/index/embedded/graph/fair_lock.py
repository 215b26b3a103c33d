"""A fair lock: a thread that takes it again and again can't shut out the others."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from types import TracebackType


class FairLock(AbstractContextManager[None]):
    """A lock that is not reentrant and serves waiting threads first: a thread that comes later waits behind them, also
    the one that has just released the lock.

    `threading.Lock` goes to the first thread that asks once it is free, which is mostly the one that released it:
    others may wait a hundred times as long as it is ever held (measured: writers waited 0.7 s for moves of 5 ms).
    """

    def __init__(self) -> None:
        # The thread that waits for the lock holds the door; all others wait in front of it.
        self._door = threading.Lock()
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._door:
            self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()
