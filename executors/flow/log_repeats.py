"""Limits how often the same log line is written in a second, and logs how many were left out."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

LINES_A_SECOND: Final = 3
# Lines count as the same if they differ only in numbers and in names made of hexadecimal digits.
_VARYING: Final = re.compile(r"[0-9a-fA-F]{8,}|\d+")
_COMPARED: Final = 300
# When more lines than this are remembered, those that did not occur for a second are forgotten.
_REMEMBERED: Final = 1_000


@dataclass(slots=True)
class _Seen:
    since: float
    count: int = 0


class RepeatLimit:
    """Decides which records are written. Thread-safe.

    Args:
        most: how often the same line is written in a second.
        clock: returns the time in seconds.
        later: runs a function after a number of seconds; that function logs the count.
    """

    def __init__(
        self,
        most: int = LINES_A_SECOND,
        clock: Callable[[], float] = time.monotonic,
        later: Callable[[float, Callable[[], None]], None] | None = None,
    ) -> None:
        self._most = most
        self._clock = clock
        self._later = later or _in_a_thread
        self._lock = threading.Lock()
        self._seen: dict[object, _Seen] = {}
        # If another thread logs during a fork, the child's copy of the lock would stay locked for ever.
        os.register_at_fork(after_in_child=self._unlock)

    def admits(self, record: logging.LogRecord) -> bool:
        """Return whether to write a record; an empty one is never written.

        The first record over the limit schedules the line with the count for the end of the second.
        """
        try:
            text = record.getMessage()
        except Exception:  # the arguments don't fit the message, which the handlers report in their own way
            return True
        if not text.strip() and not record.exc_info:
            return False
        key = (record.name, record.levelno, _VARYING.sub("#", text[:_COMPARED]))
        with self._lock:
            now = self._clock()
            seen = self._seen.get(key)
            if seen is None or now - seen.since >= 1.0:
                self._forget_old(now)
                seen = self._seen[key] = _Seen(now)
            seen.count += 1
            first_left_out = seen.count == self._most + 1
            admitted = seen.count <= self._most
        if first_left_out:
            counted = seen
            self._later(max(0.0, seen.since + 1.0 - now), lambda: self._tell(record, counted))
        return admitted

    def _unlock(self) -> None:
        self._lock = threading.Lock()

    def _forget_old(self, now: float) -> None:
        if len(self._seen) > _REMEMBERED:
            self._seen = {key: seen for key, seen in self._seen.items() if now - seen.since < 1.0}

    def _tell(self, record: logging.LogRecord, seen: _Seen) -> None:
        left_out = seen.count - self._most
        message = f"{record.getMessage()} (and {left_out} more such lines within a second)"
        logger = logging.getLogger(record.name)
        summary = logger.makeRecord(record.name, record.levelno, record.pathname, record.lineno, message, (), None)
        # Jina's own formatters need the attributes that its loggers add.
        summary.__dict__.update({k: v for k, v in record.__dict__.items() if k not in summary.__dict__})
        _call_handlers(logger, summary)


_call_handlers: Final = logging.Logger.callHandlers


def limit_repeats(limit: RepeatLimit | None = None) -> None:
    """Make all loggers of this process, and of those that it forks, leave out repeated lines. A second call does nothing."""
    if limit is None and logging.Logger.callHandlers is not _call_handlers:
        return
    chosen = limit or RepeatLimit()

    def call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
        if chosen.admits(record):
            _call_handlers(logger, record)

    logging.Logger.callHandlers = call_handlers  # type: ignore[method-assign, assignment]


def _in_a_thread(seconds: float, tell: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, tell)
    timer.daemon = True
    timer.start()
