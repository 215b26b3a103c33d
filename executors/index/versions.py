"""Versions of writes: opaque text whose order is the order of the writes.

A hybrid logical clock (S. Kulkarni, M. Demirbas, D. Madappa, B. Avva, M. Leone: Logical Physical Clocks and Consistent
Snapshots in Globally Distributed Databases, 2014, figure 5): versions follow the wall clock as long as it advances, and
are never older than a version made or seen before, even if the wall clock goes back.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Final

# 12 hexadecimal digits of milliseconds last until the year 10889, so that text order is the order of the numbers.
_MILLISECOND_DIGITS: Final = 12
_COUNTER_DIGITS: Final = 4
_MOST_IN_A_MILLISECOND: Final = 16**_COUNTER_DIGITS - 1
# Versions of the last year that fits are refused, since no version could be newer.
_LAST_MILLISECOND: Final = 16**_MILLISECOND_DIGITS - 1 - 366 * 86_400_000

_NODE: Final = re.compile(r"[0-9A-Za-z]{1,32}")
_VERSION: Final = re.compile(
    rf"([0-9a-f]{{{_MILLISECOND_DIGITS}}})-([0-9a-f]{{{_COUNTER_DIGITS}}})-[0-9A-Za-z]{{1,32}}"
)


def wall_clock_ms() -> int:
    """Milliseconds since 1970 by this machine's clock."""
    return time.time_ns() // 1_000_000


def version_at(milliseconds: int) -> str:
    """The prefix of the versions of a moment (milliseconds since 1970)."""
    return f"{milliseconds:0{_MILLISECOND_DIGITS}x}"


def version_before(version: str, milliseconds: int) -> str:
    """A text that sorts before every version made less than that long before this one; empty for a text that is no
    version.
    """
    match = _VERSION.fullmatch(version)
    if match is None:
        return ""
    return version_at(max(0, int(match[1], 16) - milliseconds))


class HybridClock:
    """Makes versions. May be used from several threads.

    Args:
        node: the name of the clock, 1 to 32 letters and digits; it breaks ties between clocks, so every clock needs its
            own.
        now_ms: the wall clock.
    """

    def __init__(self, node: str, now_ms: Callable[[], int] = wall_clock_ms) -> None:
        if not _NODE.fullmatch(node):
            raise ValueError(f"a node is 1 to 32 letters and digits, not {node!r}")
        self._node = node
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._milliseconds = 0
        self._counter = 0

    def next(self) -> str:
        """A version that is newer than every one made or observed here before; all have the same length."""
        now = self._now_ms()
        with self._lock:
            if now > self._milliseconds:
                self._milliseconds, self._counter = now, 0
            elif self._counter < _MOST_IN_A_MILLISECOND:
                self._counter += 1
            else:
                self._milliseconds, self._counter = self._milliseconds + 1, 0
            return f"{self._milliseconds:0{_MILLISECOND_DIGITS}x}-{self._counter:0{_COUNTER_DIGITS}x}-{self._node}"

    def observe(self, version: str) -> bool:
        """Record a version that another clock made: everything made here from now on is newer.

        Returns:
            Whether it was a version of this kind. Anything else is ignored, because a value from outside must not stop
            the clock.
        """
        match = _VERSION.fullmatch(version)
        if match is None:
            return False
        seen = int(match[1], 16), int(match[2], 16)
        if seen[0] > _LAST_MILLISECOND:
            return False
        with self._lock:
            self._milliseconds, self._counter = max((self._milliseconds, self._counter), seen)
        return True
