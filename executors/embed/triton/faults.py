"""Does a server answer some calls and fail others? That is a part of it that is dead or stuck, which checks may miss."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_BUCKET_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class FaultLimits:
    """When a server that answers other calls counts as sick.

    Attributes:
        within_s: how far back calls count, in seconds; also how long it is sick after it said itself what is wrong.
        faults: so many of these calls have to be at fault,
        spread_s: over at least this time, in seconds, so that one moment of trouble is none,
        share: and, where it answers with errors, no smaller part of all calls, so that a rare input that its model can't bear
            is none either.
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

    At fault is a call that the server answered with an error of its own or with no vectors, one whose connection broke, and one
    without an answer that was overtaken. The last is what tells a stuck server from one with too much to do: where a queue
    is long, the calls sent later are late as well. A full queue, a wrong model and a late answer are no such faults.
    """

    def __init__(self, clock: Callable[[], float], limits: FaultLimits | None = None) -> None:
        """
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

    def sound(self) -> None:
        """A call was answered."""
        self._bucket().calls += 1

    def faulty(self, reason: str, *, stuck: bool = False) -> None:
        """A call was failed by a part of the server.

        Args:
            reason: one line, without the server's words.
            stuck: it was overtaken.
        """
        bucket = self._bucket()
        bucket.calls += 1
        bucket.faults += 1
        bucket.stuck += stuck
        self._reason = reason

    def broken(self, reason: str) -> None:
        """The server says itself that a part of it is dead; once is enough."""
        self.faulty(reason)
        self._said, self._said_at = reason, self._clock()

    def clear(self) -> None:
        """Forget everything: another server, or the same one after a new start."""
        self._buckets.clear()
        self._said_at = float("-inf")

    def hanging(self, calls: int, seconds: float) -> str:
        """Why calls that it still has make a server sick; empty when they don't.

        They hold the places of others, which then have nothing to fail with.

        Args:
            calls: that were overtaken and are past their deadline.
            seconds: how long the first of them is.
        """
        if calls < self._limits.faults or seconds < self._limits.spread_s:
            return ""
        return f"it leaves {calls} calls without an answer while it answered later ones"

    @property
    def sick(self) -> str:
        """Why the calls that ended make the server one to be left alone, or started again; empty when they don't."""
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
