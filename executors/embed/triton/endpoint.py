"""One Triton server as one process sees it: its client, its calls in flight, its circuit, and what is known of its models."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from executors.embed.triton.breaker import BreakerLimits, CircuitBreaker
from executors.embed.triton.client import CallError, FailureKind, connect, infer
from executors.embed.triton.handshake import Served
from executors.embed.triton.slots import Slots
from executors.embed.triton.stats import CallStats
from executors.errors import VisualSearchError
from executors.models.reference import Reference
from executors.models.spec import Tower

# A deadline that its caller's own made shorter than this part of `timeout_s` says nothing against the server.
_FAIR_PART: Final = 0.5

# Triton may crash when a call is cancelled, or reaches the deadline that the server was told, at the moment that it completes:
# 2.51 does once in some thousand such calls; issues 7368 and 8034 of triton-inference-server/server tell it of others. So
# calls are not cancelled: whoever gives up, or has waited for `timeout_s`, just goes, and the server's own deadline is later.
_OWN_DEADLINE_LATER_S: Final = 30.0
_CLOSING_S: Final = 1.0

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
    """

    timeout_s: float
    in_flight: int
    cpu_batch: int
    references: Mapping[str, Reference | None]
    breaker: BreakerLimits = field(default_factory=BreakerLimits)


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What is known of a server's model: `served` when it passed, `error` when not, neither while it is being verified."""

    served: Served | None = None
    error: VisualSearchError | None = None


_UNKNOWN: Final = Verdict()


_Call: TypeAlias = "asyncio.Task[NDArray[np.float32]]"


class Endpoint:
    """One server. Belongs to the event loop on which it is made.

    A call is allowed when the circuit is closed and the model passed; the monitor sees to both, `attention` wakes it, and
    `suspected` asks for more than a look: a call got no answer. `judged`: whether anything was ever found out about it.
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
        self.breaker = CircuitBreaker(options.breaker, clock=time.monotonic)
        self.attention = asyncio.Event()
        self.suspected = False
        self.judged = False
        self._on_change = on_change
        self._verdicts = {tower.name: _UNKNOWN for tower in towers}
        self._calls: set[_Call] = set()
        self._abandoned: set[_Call] = set()

    def verdict(self, tower: Tower) -> Verdict:
        """What is known of one model."""
        return self._verdicts[tower.name]

    def served(self, tower: Tower) -> Served | None:
        """The model that may be called now; None when it may not."""
        return self.verdict(tower).served if self.breaker.closed else None

    def undecided(self, tower: Tower) -> bool:
        """Whether the model is being verified, so that waiting for it is worth while."""
        return self.breaker.closed and self.verdict(tower) is _UNKNOWN

    def passed(self, tower: Tower, served: Served) -> None:
        """The model passed. One that passes again keeps its verdict, so that calls in flight stay valid."""
        if self.verdict(tower).served != served:
            self._judge(tower, Verdict(served=served))

    def rejected(self, tower: Tower, error: VisualSearchError) -> None:
        """The model did not pass."""
        self._judge(tower, Verdict(error=error))

    def doubted(self, towers: list[Tower]) -> None:
        """What runs there may be another model by now: it is called again only after it passed."""
        for tower in towers:
            if self.verdict(tower).served is not None:
                self._judge(tower, _UNKNOWN)
        self.attention.set()

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
        try:
            await self.slots.take(deadline - loop.time())
        except TimeoutError:
            raise CallError(FailureKind.NO_SLOT, _NO_ROOM) from None
        except asyncio.CancelledError:
            self.stats.cancelled()
            raise
        started = loop.time()
        seconds = min(self.options.timeout_s, deadline - started)
        verdict = self.verdict(tower)
        if self.served(tower) is None or seconds <= 0:
            self.slots.give_back()
            raise CallError(FailureKind.NO_SLOT, _NO_ROOM) if seconds <= 0 else _turned_away()
        try:
            vectors = await self._answer_within(self._send(tower, inputs, seconds), seconds)
        except CallError as failure:
            self.stats.failed(failure.kind, failure.server_text or failure.message)
            self._learn(failure.kind, tower, fair=seconds >= _FAIR_PART * self.options.timeout_s)
            raise
        except asyncio.CancelledError:
            self.stats.cancelled()
            raise
        self.breaker.succeeded()
        self.stats.answered(len(inputs), loop.time() - started)
        if self.verdict(tower) is not verdict:
            raise CallError(FailureKind.REFUSED, "its model changed while it ran")
        return vectors

    def _send(self, tower: Tower, inputs: NDArray[Any], seconds: float) -> _Call:
        """Begin a call that holds its slot until the server is done with it, whether or not somebody still waits for it."""
        call = asyncio.create_task(infer(self.client, tower, inputs, seconds + _OWN_DEADLINE_LATER_S))
        self._calls.add(call)
        call.add_done_callback(self._ended)
        return call

    async def _answer_within(self, call: _Call, seconds: float) -> NDArray[np.float32]:
        """The answer to a call; one that nobody waits for any longer is left to end by itself."""
        try:
            await asyncio.wait({call}, timeout=seconds)
        finally:
            if not call.done():
                self._abandoned.add(call)
        if not call.done():
            raise CallError(FailureKind.DEADLINE, f"no answer within {seconds:.3g} s")
        return call.result()

    def _ended(self, call: _Call) -> None:
        self._calls.discard(call)
        self._abandoned.discard(call)
        self.slots.give_back()
        if not call.cancelled():
            call.exception()  # somebody has to look at it, also where nobody waits any longer

    def _learn(self, kind: FailureKind, tower: Tower, *, fair: bool) -> None:
        """A server that does not answer is left alone; one that answers with something else is verified anew."""
        if kind is FailureKind.UNREACHABLE or (kind is FailureKind.DEADLINE and fair):
            self.suspected = True
            self.attention.set()
            self.unanswered()
        elif kind in (FailureKind.REFUSED, FailureKind.WRONG_ANSWER):
            self.doubted([tower])

    def unanswered(self) -> None:
        """A call or a check got no answer."""
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
        self.breaker = CircuitBreaker(self.options.breaker, clock=time.monotonic)
        for tower in self.towers:
            self._judge(tower, _UNKNOWN)
        self.attention.set()
        await old.close()

    async def close(self) -> None:
        """Close the client; calls in flight have a moment to end, and fail then."""
        if self._calls:
            await asyncio.wait(self._calls, timeout=_CLOSING_S)
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
            verdict = self.verdict(tower)
            models[tower.name] = {
                "state": self.state(tower),
                "version": tower.version,
                "device": verdict.served.device if verdict.served else None,
                "rows_per_call": verdict.served.rows_per_call if verdict.served else None,
                "error": verdict.error.to_json() if verdict.error else None,
            }
        return {
            "url": self.url,
            "server": next((v.served.server for v in self._verdicts.values() if v.served), None),
            "breaker": str(self.breaker.state),
            "opened": self.breaker.opened,
            "in_flight": self.slots.taken,
            "abandoned": len(self._abandoned),
            "waiting": self.slots.waiting,
            **self.stats.to_json(),
            "models": models,
        }

    def _judge(self, tower: Tower, verdict: Verdict) -> None:
        self._verdicts[tower.name] = verdict
        self.judged = self.judged or verdict is not _UNKNOWN
        self.changed()


def _turned_away() -> CallError:
    return CallError(FailureKind.NOT_SENT, "it failed other calls while this one waited")
