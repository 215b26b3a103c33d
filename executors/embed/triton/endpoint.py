"""One Triton server as one process sees it: its client, its calls in flight, its circuit, and the verdicts on its
models.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from executors.embed.triton.breaker import BreakerLimits, CircuitBreaker
from executors.embed.triton.calls import CallsInFlight, Sent
from executors.embed.triton.client import CallError, FailureKind, connect
from executors.embed.triton.faults import CallFaults
from executors.embed.triton.handshake import Served
from executors.embed.triton.slots import Slots
from executors.embed.triton.stats import CallStats
from executors.embed.triton.verdicts import Verdict, Verdicts
from executors.errors import VisualSearchError
from executors.models.reference import Reference
from executors.models.spec import Tower
from executors.scheduling.turns import current_turn

# A missed deadline counts against the server only if it was at least this part of `timeout_s`; a caller's own deadline
# may be shorter.
_FAIR_PART: Final = 0.5
# A call is overtaken if one that was sent later, by this part of `timeout_s`, is answered before it.
_OVERTAKEN_PART: Final = 0.5

_CLOSING_S: Final = 1.0

# The failures that a dead or stuck part of a server causes; a call without an answer counts only if it was overtaken.
_FAULTS: Final = frozenset({FailureKind.UNREACHABLE, FailureKind.SERVER_ERROR, FailureKind.WRONG_ANSWER})

_NO_ROOM: Final = "no call to it ended in time to free a slot for this one"


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """The options for the calls of one server.

    Attributes:
        timeout_s: the deadline of a call, in seconds.
        in_flight: the maximum number of calls in flight.
        cpu_batch: the maximum number of rows of a call to a model on a CPU.
        references: known inputs and outputs by the tower's name.
        breaker: when its circuit opens.
        clock: seconds that never go back; the endpoint, its circuit and its monitor measure with it.
    """

    timeout_s: float
    in_flight: int
    cpu_batch: int
    references: Mapping[str, Reference | None]
    breaker: BreakerLimits = field(default_factory=BreakerLimits)
    clock: Callable[[], float] = time.monotonic


class Endpoint:
    """One server. Belongs to the event loop on which it is made.

    A call is allowed if the circuit is closed and the model passed. The monitor takes care of both: `attention` wakes
    it, and `suspected` asks for a full verification, because a call got no answer. `faults` and `sick` detect a server
    that answers some calls and fails others; the pool then prefers another server.
    """

    def __init__(
        self, url: str, towers: list[Tower], options: EndpointOptions, on_change: Callable[[], None] = lambda: None
    ) -> None:
        """Connect to the server.

        Args:
            url: `host:port` of the gRPC.
            towers: the models that it has to serve.
            options: how it is called.
            on_change: called whenever its state changes.
        """
        self.url = url
        self.towers = towers
        self.options = options
        self.client = connect(url)
        self.slots = Slots(options.in_flight)
        self.stats = CallStats()
        self.breaker = CircuitBreaker(options.breaker, clock=options.clock)
        self.faults = CallFaults(options.clock)
        self.attention = asyncio.Event()
        self.suspected = False
        self._on_change = on_change
        self._verdicts = Verdicts(towers, on_change)
        self._last_failure = ""
        self._calls = CallsInFlight(lambda sent: self.slots.give_back(sent.turn), self._failed_late)

    def verdict(self, tower: Tower) -> Verdict:
        """The verdict on one model."""
        return self._verdicts.verdict_for(tower)

    @property
    def judged(self) -> bool:
        """Whether any model was ever judged."""
        return self._verdicts.judged

    def served(self, tower: Tower) -> Served | None:
        """The model, if it may be called now; otherwise None."""
        return self.verdict(tower).served if self.breaker.closed else None

    def undecided(self, tower: Tower) -> bool:
        """Whether the model is being verified, so that waiting for it is worthwhile."""
        return self.breaker.closed and self._verdicts.unknown(tower)

    def mark_passed(self, tower: Tower, served: Served) -> None:
        """Record that the model passed. If it passes again, it keeps its verdict, so that calls in flight stay valid."""
        self._verdicts.mark_passed(tower, served)

    def mark_refused(self, tower: Tower, error: VisualSearchError) -> None:
        """Record that the model did not pass."""
        self._verdicts.mark_refused(tower, error)

    def mark_in_doubt(self, towers: list[Tower], why: str) -> None:
        """Mark models as in doubt, since the server may run other ones by now: they are called again only after they
        pass.
        """
        for tower in towers:
            if self.verdict(tower).served is not None:
                self._verdicts.mark_in_doubt(tower, why)
        self.attention.set()

    def note_lost_connection(self) -> None:
        """Record the loss of the connection: another server may be behind the next one."""
        self.faults.clear()
        self.mark_in_doubt(self.towers, "its connection was lost")

    def error(self, tower: Tower) -> VisualSearchError | None:
        """The error that keeps the model from being called now, unless it is still being verified; None if it may be
        called.
        """
        if (error := self.verdict(tower).error) is not None:
            return error
        if not self.breaker.closed:
            last = f" (last: {self._last_failure})" if self._last_failure else ""
            message = f"it failed too often and is not called for a while{last}"
            return VisualSearchError("unavailable", message, circuit=str(self.breaker.state))
        return None

    async def call(self, tower: Tower, inputs: NDArray[Any], deadline: float) -> NDArray[np.float32]:
        """Run a model, as soon as a slot is free.

        Args:
            tower: one of `towers`, for which `served` is not None.
            inputs: at most `rows_per_call` rows.
            deadline: of the event loop's clock.

        Raises:
            CallError: no vectors, or vectors of a model that is in doubt by now.
        """
        loop = asyncio.get_running_loop()
        turn = current_turn.get()
        try:
            await self.slots.take(deadline - loop.time(), turn)
        except TimeoutError:
            raise CallError(FailureKind.NO_SLOT, _NO_ROOM) from None
        except asyncio.CancelledError:
            self.stats.count_cancellation()
            raise
        started = loop.time()
        seconds = min(self.options.timeout_s, deadline - started)
        verdict = self.verdict(tower)
        if self.served(tower) is None or seconds <= 0:
            self.slots.give_back(turn)
            raise CallError(FailureKind.NO_SLOT, _NO_ROOM) if seconds <= 0 else _turned_away()
        sent = Sent(tower, len(inputs), started, self.client, turn)
        try:
            vectors = await self._calls.answer(sent, inputs, seconds)
        except CallError as failure:
            self.stats.count_failure(failure.kind, failure.server_text or failure.message)
            self._learn(failure, sent, fair=seconds >= _FAIR_PART * self.options.timeout_s)
            raise
        except asyncio.CancelledError:
            self.stats.count_cancellation()
            raise
        self._answered(sent)
        self.stats.count_answer(len(inputs), loop.time() - started)
        if self.verdict(tower) is not verdict:
            raise CallError(FailureKind.REFUSED, self._verdicts.why_in_doubt(tower))
        return vectors

    def note_fault(self, failure: CallError) -> None:
        """Record a call or a check that a part of the server failed."""
        if failure.kind is FailureKind.BROKEN:
            self.faults.record_dead(failure.message)
        elif failure.kind in _FAULTS:
            self.faults.record_failure(failure.message)

    @property
    def sick(self) -> str:
        """The reason why a part of it seems to be dead or stuck while it answers other calls; empty if none does."""
        timeout_s = self.options.timeout_s
        stuck = self._calls.stuck(self.client, timeout_s)
        return self.faults.sick or self.faults.hanging(len(stuck), stuck[0] - timeout_s if stuck else 0.0)

    def _failed_late(self, failure: CallError, sent: Sent) -> None:
        # Our deadline may be shorter than the time in which the server finds out the problem.
        if failure.kind is FailureKind.BROKEN and sent.client is self.client:
            self.stats.count_failure(failure.kind, failure.server_text)
            self.note_fault(failure)
            self._doubt_after(failure, sent)

    def _doubt_after(self, failure: CallError, sent: Sent) -> None:
        # This also covers broken processes. If the process was only slow, Triton's Python backend returns its late
        # answers to the next calls, until it crashes over them (2.51; python_be.cc, ReceiveMessageFromStub).
        self.mark_in_doubt([sent.tower], f"another call to its model failed ({failure.message})")

    def _answered(self, sent: Sent) -> None:
        self.breaker.record_success()
        if sent.client is self.client:
            self.faults.record_success()
            self._calls.mark_overtaken(sent, _OVERTAKEN_PART * self.options.timeout_s)

    def _learn(self, failure: CallError, sent: Sent, *, fair: bool) -> None:
        """Learn from a failure: a server that does not answer counts as failing; one that answers with something else
        is verified again.
        """
        kind = failure.kind
        if sent.client is self.client:
            if kind is not FailureKind.DEADLINE:
                self.note_fault(failure)
            elif fair and sent.overtaken:
                self.faults.record_failure(f"{failure.message}, while later calls were answered", stuck=True)
        if kind is FailureKind.UNREACHABLE or (kind is FailureKind.DEADLINE and fair):
            self.suspected = True
            self.attention.set()
            self.unanswered(failure.message)
        elif kind is FailureKind.SERVER_ERROR:
            # There is no sign of another model, so running calls stay valid.
            self.suspected = True
            self.attention.set()
        elif kind in (FailureKind.REFUSED, FailureKind.WRONG_ANSWER, FailureKind.BROKEN):
            self._doubt_after(failure, sent)

    def unanswered(self, why: str) -> None:
        """Record a call or a check that got no answer."""
        self._last_failure = why
        self.breaker.record_failure()
        if not self.breaker.closed:
            self.slots.turn_away(_turned_away)
            self.attention.set()
            self.notify_change()

    def notify_change(self) -> None:
        """Notify all waiting tasks of a change."""
        self._on_change()

    async def move(self, url: str) -> None:
        """Continue with a server at another address, or with a new one at the same address."""
        old, self.client, self.url = self.client, connect(url), url
        self.breaker = CircuitBreaker(self.options.breaker, clock=self.options.clock)
        self.faults.clear()
        for tower in self.towers:
            self._verdicts.mark_in_doubt(tower, "its server was restarted")
        self.attention.set()
        await old.close()

    async def close(self) -> None:
        """Close the client; calls in flight get a moment to end, and then fail."""
        await self._calls.wait(_CLOSING_S)
        await self.client.close()

    def state(self, tower: Tower) -> str:
        """One word: the circuit's state while it is not closed, else `ready`, `checking` or `refused`."""
        if not self.breaker.closed:
            return str(self.breaker.state)
        verdict = self.verdict(tower)
        return "ready" if verdict.served else "refused" if verdict.error else "checking"

    def status(self) -> dict[str, Any]:
        """The report of this server in `/status`."""
        models = {}
        for tower in self.towers:
            verdict, error = self.verdict(tower), self.error(tower)
            models[tower.name] = {
                "state": self.state(tower),
                "version": tower.version,
                "device": verdict.served.device if verdict.served else None,
                "rows_per_call": verdict.served.rows_per_call if verdict.served else None,
                "error": error.to_json() if error else None,
            }
        return {
            "url": self.url,
            "server": self._verdicts.server,
            "breaker": str(self.breaker.state),
            "opened": self.breaker.opened,
            "sick": self.sick or None,
            "in_flight": self.slots.taken,
            "abandoned": self._calls.abandoned,
            "waiting": self.slots.waiting,
            **self.stats.to_json(),
            "models": models,
        }


def _turned_away() -> CallError:
    return CallError(FailureKind.NOT_SENT, "it failed other calls while this one waited")
