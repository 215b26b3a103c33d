"""Detects servers that answer some calls and fail others (a dead or stuck model instance), which health checks may
miss.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_BUCKET_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class FaultLimits:
    """The limits by which a server that still answers some calls counts as sick.

    Attributes:
        within_s: how far back calls count, in seconds; also how long it counts as sick after it reported a dead part
            itself.
        faults: the minimum number of failed calls.
        spread_s: the minimum time between the first and the last of them, in seconds, so that one bad moment does not
            count.
        share: the minimum part of all calls, if it answers with errors, so that a rare input that its model can't
            process does not count either.
    """

    within_s: float = 30.0
    faults: int = 4
    spread_s: float = 3.0
    share: float = 0.02


@dataclass(slots=True)
class _Bucket:
    began: float
    calls: int = 0
    faults: int = 0
    stuck: int = 0


class CallFaults:
    """Counts the calls to one server that ended, and those that a part of it failed.

    A call counts as failed if the server answered it with an error of its own or without vectors, if its connection
    broke, or if it was overtaken and got no answer. The last case distinguishes a stuck server from a busy one: if the
    queue is long, later calls are late as well. A full queue, a wrong model and a late answer do not count.
    """

    def __init__(self, clock: Callable[[], float], limits: FaultLimits | None = None) -> None:
        """Begin without calls.

        Args:
            clock: seconds that never go back, such as `time.monotonic`.
            limits: when it counts as sick.
        """
        self._clock = clock
        self._limits = limits or FaultLimits()
        self._buckets: deque[_Bucket] = deque()
        self._reason = ""
        self._said_at = float("-inf")
        self._said = ""

    def record_success(self) -> None:
        """Record that a call was answered."""
        self._bucket().calls += 1

    def record_failure(self, reason: str, *, stuck: bool = False) -> None:
        """Record a call that a part of the server failed.

        Args:
            reason: one line, without the server's words.
            stuck: whether the call was overtaken.
        """
        bucket = self._bucket()
        bucket.calls += 1
        bucket.faults += 1
        bucket.stuck += stuck
        self._reason = reason

    def record_dead(self, reason: str) -> None:
        """Record that the server itself reports a dead part; once is enough."""
        self.record_failure(reason)
        self._said, self._said_at = reason, self._clock()

    def clear(self) -> None:
        """Forget everything, because of another server, or a restart of the same one."""
        self._buckets.clear()
        self._said_at = float("-inf")

    def hanging(self, calls: int, seconds: float) -> str:
        """The reason why unanswered calls make a server sick; empty if they don't.

        They occupy the slots of other calls, which then can't be sent and so can't be counted as failed.

        Args:
            calls: how many were overtaken and are past their deadline.
            seconds: how long the oldest of them is past it.
        """
        if calls < self._limits.faults or seconds < self._limits.spread_s:
            return ""
        return f"it leaves {calls} calls without an answer while it answered later ones"

    @property
    def sick(self) -> str:
        """The reason why the server should not be called, or be restarted, according to the calls that ended; empty if
        there is none.
        """
        now, limits = self._clock(), self._limits
        if now - self._said_at < limits.within_s:
            return self._said
        self._forget(now)
        calls = sum(bucket.calls for bucket in self._buckets)
        faults = sum(bucket.faults for bucket in self._buckets)
        stuck = sum(bucket.stuck for bucket in self._buckets)
        at = [bucket.began for bucket in self._buckets if bucket.faults]
        if faults < limits.faults or at[-1] - at[0] < limits.spread_s:
            return ""
        if stuck < limits.faults and faults < limits.share * calls:
            return ""
        return f"it failed {faults} of {calls} calls while it answered others: {self._reason}"

    def _bucket(self) -> _Bucket:
        now = self._clock()
        if not self._buckets or now - self._buckets[-1].began >= _BUCKET_S:
            self._forget(now)
            self._buckets.append(_Bucket(now))
        return self._buckets[-1]

    def _forget(self, now: float) -> None:
        while self._buckets and now - self._buckets[0].began >= self._limits.within_s:
            self._buckets.popleft()
