"""One Triton server as one process sees it: its client, its calls in flight, its circuit, and what is known of its models."""

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

# A deadline that its caller's own made shorter than this part of `timeout_s` says nothing against the server.
_FAIR_PART: Final = 0.5
# A call is overtaken when one that was sent later, by this part of `timeout_s`, is answered before it.
_OVERTAKEN_PART: Final = 0.5

_CLOSING_S: Final = 1.0

# What a part of a server does that is dead or stuck; a call without an answer is one only when it was overtaken.
_FAULTS: Final = frozenset({FailureKind.UNREACHABLE, FailureKind.SERVER_ERROR, FailureKind.WRONG_ANSWER})

_NO_ROOM: Final = "no call to it ended in time to make room for this one"


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """How one server is called.

    Attributes:
        timeout_s: the deadline of a call, in seconds.
        in_flight: most calls in flight.
        cpu_batch: most rows of a call to a model on a CPU.
        references: known inputs and outputs by the tower's name.
        breaker: when its circuit opens.
        clock: seconds that never go back; what the endpoint, its circuit and its monitor measure with.
    """

    timeout_s: float
    in_flight: int
    cpu_batch: int
    references: Mapping[str, Reference | None]
    breaker: BreakerLimits = field(default_factory=BreakerLimits)
    clock: Callable[[], float] = time.monotonic


class Endpoint:
    """One server. Belongs to the event loop on which it is made.

    A call is allowed when the circuit is closed and the model passed; the monitor sees to both, `attention` wakes it, and
    `suspected` asks for more than a look: a call got no answer.
    `faults` and `sick` tell of a server that answers some calls and fails others; whoever has another one calls that.
    """

    def __init__(
        self, url: str, towers: list[Tower], options: EndpointOptions, on_change: Callable[[], None] = lambda: None
    ) -> None:
        """
        Args:
            url: `host:port` of the gRPC.
            towers: the models that it has to serve.
            options: how it is called.
            on_change: called whenever what is known of it changes.
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
        """What is known of one model."""
        return self._verdicts.of(tower)

    @property
    def judged(self) -> bool:
        """Whether anything was ever found out about it."""
        return self._verdicts.judged

    def served(self, tower: Tower) -> Served | None:
        """The model that may be called now; None when it may not."""
        return self.verdict(tower).served if self.breaker.closed else None

    def undecided(self, tower: Tower) -> bool:
        """Whether the model is being verified, so that waiting for it is worth while."""
        return self.breaker.closed and self._verdicts.unknown(tower)

    def passed(self, tower: Tower, served: Served) -> None:
        """The model passed. One that passes again keeps its verdict, so that calls in flight stay valid."""
        self._verdicts.passed(tower, served)

    def rejected(self, tower: Tower, error: VisualSearchError) -> None:
        """The model did not pass."""
        self._verdicts.rejected(tower, error)

    def doubted(self, towers: list[Tower], why: str) -> None:
        """What runs there may be another model by now: it is called again only after it passed."""
        for tower in towers:
            if self.verdict(tower).served is not None:
                self._verdicts.doubted(tower, why)
        self.attention.set()

    def lost_connection(self) -> None:
        """Another server may be behind the next one."""
        self.faults.clear()
        self.doubted(self.towers, "its connection was lost")

    def error(self, tower: Tower) -> VisualSearchError | None:
        """Why the model may not be called now, other than that it is still being verified; None when it may."""
        if (error := self.verdict(tower).error) is not None:
            return error
        if not self.breaker.closed:
            last = f" (last: {self._last_failure})" if self._last_failure else ""
            message = f"it failed too often and is left alone for a while{last}"
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
            self.stats.cancelled()
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
            self.stats.failed(failure.kind, failure.server_text or failure.message)
            self._learn(failure, sent, fair=seconds >= _FAIR_PART * self.options.timeout_s)
            raise
        except asyncio.CancelledError:
            self.stats.cancelled()
            raise
        self._answered(sent)
        self.stats.answered(len(inputs), loop.time() - started)
        if self.verdict(tower) is not verdict:
            raise CallError(FailureKind.REFUSED, self._verdicts.why_in_doubt(tower))
        return vectors

    def note_fault(self, failure: CallError) -> None:
        """A call or a check was failed by a part of the server."""
        if failure.kind is FailureKind.BROKEN:
            self.faults.broken(failure.message)
        elif failure.kind in _FAULTS:
            self.faults.faulty(failure.message)

    @property
    def sick(self) -> str:
        """Why it seems that a part of it is dead or stuck while it answers other calls; empty when it does not."""
        timeout_s = self.options.timeout_s
        stuck = self._calls.stuck(self.client, timeout_s)
        return self.faults.sick or self.faults.hanging(len(stuck), stuck[0] - timeout_s if stuck else 0.0)

    def _failed_late(self, failure: CallError, sent: Sent) -> None:
        # A deadline of ours may be shorter than the time in which the server finds out what is wrong.
        if failure.kind is FailureKind.BROKEN and sent.client is self.client:
            self.stats.failed(failure.kind, failure.server_text)
            self.note_fault(failure)
            self._doubt_after(failure, sent)

    def _doubt_after(self, failure: CallError, sent: Sent) -> None:
        # Broken, too: where the process was only slow, Triton's Python backend gives the answers that it still makes to the
        # calls that come next, until it crashes over them (2.51; python_be.cc, ReceiveMessageFromStub).
        self.doubted([sent.tower], f"another call to its model failed ({failure.message})")

    def _answered(self, sent: Sent) -> None:
        self.breaker.succeeded()
        if sent.client is self.client:
            self.faults.sound()
            self._calls.overtake(sent, _OVERTAKEN_PART * self.options.timeout_s)

    def _learn(self, failure: CallError, sent: Sent, *, fair: bool) -> None:
        """A server that does not answer is left alone; one that answers with something else is verified anew."""
        kind = failure.kind
        if sent.client is self.client:
            if kind is not FailureKind.DEADLINE:
                self.note_fault(failure)
            elif fair and sent.overtaken:
                self.faults.faulty(f"{failure.message}, while later calls were answered", stuck=True)
        if kind is FailureKind.UNREACHABLE or (kind is FailureKind.DEADLINE and fair):
            self.suspected = True
            self.attention.set()
            self.unanswered(failure.message)
        elif kind is FailureKind.SERVER_ERROR:
            # Nothing speaks for another model: calls that run are valid.
            self.suspected = True
            self.attention.set()
        elif kind in (FailureKind.REFUSED, FailureKind.WRONG_ANSWER, FailureKind.BROKEN):
            self._doubt_after(failure, sent)

    def unanswered(self, why: str) -> None:
        """A call or a check got no answer."""
        self._last_failure = why
        self.breaker.failed()
        if not self.breaker.closed:
            self.slots.turn_away(_turned_away)
            self.attention.set()
            self.changed()

    def changed(self) -> None:
        """Tell whoever waits that something changed."""
        self._on_change()

    async def move(self, url: str) -> None:
        """Go on with a server at another address, or with a new one at the same."""
        old, self.client, self.url = self.client, connect(url), url
        self.breaker = CircuitBreaker(self.options.breaker, clock=self.options.clock)
        self.faults.clear()
        for tower in self.towers:
            self._verdicts.doubted(tower, "its server was started anew")
        self.attention.set()
        await old.close()

    async def close(self) -> None:
        """Close the client; calls in flight have a moment to end, and fail then."""
        await self._calls.wait(_CLOSING_S)
        await self.client.close()

    def state(self, tower: Tower) -> str:
        """One word: the circuit's state while it is not closed, else `ready`, `checking` or `refused`."""
        if not self.breaker.closed:
            return str(self.breaker.state)
        verdict = self.verdict(tower)
        return "ready" if verdict.served else "refused" if verdict.error else "checking"

    def status(self) -> dict[str, Any]:
        """What `/status` shows of it."""
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
