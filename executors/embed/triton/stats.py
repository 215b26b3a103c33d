"""Statistics of the calls to one server, for `/status`."""

from __future__ import annotations

from collections import Counter, deque
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

_WINDOW: Final = 1024


class CallStats:
    """Counters since the start, and the duration of the most recent answered calls."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_WINDOW)
        self._failures: Counter[str] = Counter()
        self._calls = self._rows = self._retries = self._cancelled = 0
        self._last_error: dict[str, str] | None = None

    def count_answer(self, rows: int, seconds: float) -> None:
        """Record a call that was answered with `rows` vectors."""
        self._calls += 1
        self._rows += rows
        self._seconds.append(seconds)

    @property
    def last_error(self) -> str:
        """The message of the last error; empty if there was none."""
        return self._last_error["message"] if self._last_error else ""

    def count_failure(self, kind: str, message: str) -> None:
        """Record a failed call or check; `kind` is a short word from a fixed set."""
        kind = str(kind)  # an enumeration, which JSON does not accept as a key
        self._failures[kind] += 1
        self._last_error = {"kind": kind, "message": message, "at": datetime.now(UTC).isoformat(timespec="seconds")}

    def count_retry(self) -> None:
        """Record a retry: rows that another server failed, or turned away before they were sent."""
        self._retries += 1

    def count_cancellation(self) -> None:
        """Record that the caller abandoned a call."""
        self._cancelled += 1

    def to_json(self) -> dict[str, Any]:
        """Counters, percentiles in milliseconds over the last calls (null before the first), and the last error."""
        p50, p99 = np.percentile(self._seconds, [50, 99]) * 1000 if self._seconds else (None, None)
        return {
            "calls": self._calls,
            "inputs": self._rows,
            "inputs_per_call": round(self._rows / self._calls, 2) if self._calls else None,
            "p50_ms": None if p50 is None else round(float(p50), 2),
            "p99_ms": None if p99 is None else round(float(p99), 2),
            "failures": dict(self._failures),
            "retries": self._retries,
            "cancelled": self._cancelled,
            "last_error": self._last_error,
        }
