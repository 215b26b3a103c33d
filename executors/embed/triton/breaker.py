"""A circuit breaker: a server that keeps failing is not called for a while, and then tried by one probe.

The pattern is that of Nygard, Release It! (2007), ch. 5.2. User calls are never the probe here: they are made only
while the circuit is closed, and the owner of the breaker probes with a call of its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """The state of a circuit."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """The limits by which a circuit opens, and the time for which it stays open.

    Attributes:
        failures: failures in a row that open it.
        shortest_s: how long it stays open at first, in seconds; doubled each time that the probe fails.
        longest_s: the longest time that it stays open, in seconds. If it was closed for that long, the next time is the
            shortest again.
        jitter: the largest part by which that time is randomly shortened, so that many clients don't probe in step.
    """

    failures: int = 3
    shortest_s: float = 0.5
    longest_s: float = 15.0
    jitter: float = 0.25


class CircuitBreaker:
    """The state of one circuit; it makes no calls and never waits.

    Closed: call, and report each outcome (`record_success`, `record_failure`). Open: make no call until `probe_in` is
    0, then take the one probe (`begin_probe`), and report its outcome (`record_probe_success`, `record_probe_failure`).
    Outcomes of calls that began before the circuit opened are ignored.
    """

    def __init__(
        self,
        limits: BreakerLimits,
        *,
        clock: Callable[[], float],
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Begin with a closed circuit.

        Args:
            limits: when it opens, and for how long.
            clock: seconds that never go back, such as `time.monotonic`.
            chance: a random number from 0 to 1.
        """
        self._limits = limits
        self._clock = clock
        self._chance = chance
        self._state = State.CLOSED
        self._failures = 0
        self._openings_in_a_row = 0
        self._open_until = 0.0
        self._closed_at = clock()
        self.opened = 0

    @property
    def state(self) -> State:
        """Closed, open, or half open while the probe runs."""
        return self._state

    @property
    def closed(self) -> bool:
        """Whether calls may be made."""
        return self._state is State.CLOSED

    def record_success(self) -> None:
        """Record that a call was answered."""
        if self.closed:
            self._failures = 0

    def record_failure(self) -> None:
        """Record a call or a health check without an answer; enough of them in a row open the circuit."""
        if not self.closed:
            return
        self._failures += 1
        if self._failures >= self._limits.failures:
            if self._clock() - self._closed_at >= self._limits.longest_s:
                self._openings_in_a_row = 0
            self._open()

    def probe_in(self) -> float:
        """Seconds until the probe may be made; 0 if it may be made now, or if the circuit is not open."""
        return max(0.0, self._open_until - self._clock()) if self._state is State.OPEN else 0.0

    def begin_probe(self) -> bool:
        """Take the probe; False if it is not due, or already taken."""
        if self._state is not State.OPEN or self.probe_in() > 0:
            return False
        self._state = State.HALF_OPEN
        return True

    def record_probe_success(self) -> None:
        """Close the circuit."""
        if self._state is State.HALF_OPEN:
            self._state = State.CLOSED
            self._failures = 0
            self._closed_at = self._clock()

    def record_probe_failure(self) -> None:
        """Open it again, for longer; also call this if the probe was abandoned."""
        if self._state is State.HALF_OPEN:
            self._open()

    def _open(self) -> None:
        self._state = State.OPEN
        self.opened += 1
        seconds = min(self._limits.longest_s, self._limits.shortest_s * 2.0**self._openings_in_a_row)
        # The longest time is reached; counting on would overflow in the end.
        if seconds < self._limits.longest_s:
            self._openings_in_a_row += 1
        self._open_until = self._clock() + seconds * (1 - self._limits.jitter * self._chance())
