"""Calls in flight to a server, with or without a caller that still waits: none of them is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from executors.embed.triton.client import CallError, FailureKind, infer
from executors.models.spec import Tower
from executors.scheduling.turns import Turn

# Triton may crash if a call is cancelled, or reaches the deadline that the server was told, at the moment that it
# completes: 2.51 does once in some thousand such calls; others report it in issues 7368 and 8034 of
# triton-inference-server/server. So calls are not cancelled: a caller that gives up, or has waited for `timeout_s`,
# leaves the call running, and the server's own deadline is later.
_OWN_DEADLINE_LATER_S: Final = 30.0

_SMALL: Final = Turn()
_Call: TypeAlias = "asyncio.Task[NDArray[np.float32]]"
T = TypeVar("T")

# Questions of checks without a waiting caller; the event loop itself holds tasks by weak references only.
_left: Final[set[asyncio.Task[Any]]] = set()


async def answer_within(seconds: float, send: Callable[[float], Coroutine[Any, Any, T]]) -> T:
    """Send one question of a check and wait for its answer; if it is late, it is left to end by itself.

    Args:
        seconds: how long to wait.
        send: makes the call, with the deadline in seconds that the server is told.

    Raises:
        CallError: as `ask`.
    """
    call = asyncio.create_task(send(seconds + _OWN_DEADLINE_LATER_S))
    try:
        await asyncio.wait({call}, timeout=seconds)
    finally:
        if not call.done():
            _left.add(call)
            call.add_done_callback(_forget)
    if not call.done():
        raise _late(seconds)
    return call.result()


def _forget(call: asyncio.Task[Any]) -> None:
    _left.discard(call)
    if not call.cancelled():
        call.exception()  # retrieve the exception, so that asyncio does not report it


def _late(seconds: float) -> CallError:
    return CallError(FailureKind.DEADLINE, f"no answer within {seconds:.3g} s")


@dataclass(slots=True, eq=False)
class Sent:
    """One call.

    Attributes:
        tower: the model.
        rows: of the input.
        at: when it was sent, by the event loop's clock.
        client: the client that sent it.
        turn: of its request.
        overtaken: whether a call that was sent long after it was answered before it.
    """

    tower: Tower
    rows: int
    at: float
    client: Any
    turn: Turn = _SMALL
    overtaken: bool = False


class CallsInFlight:
    """Sends calls, and keeps them until the server has ended them. Belongs to one event loop."""

    def __init__(self, on_end: Callable[[Sent], None], on_late_failure: Callable[[CallError, Sent], None]) -> None:
        """Begin without calls.

        Args:
            on_end: called with each call that the server has ended.
            on_late_failure: called with a failure for which no caller was waiting any longer.
        """
        self._on_end = on_end
        self._on_late_failure = on_late_failure
        self._calls: dict[_Call, Sent] = {}  # in the order in which they were sent
        self._abandoned: set[_Call] = set()

    @property
    def abandoned(self) -> int:
        """How many calls run without a waiting caller."""
        return len(self._abandoned)

    async def answer(self, sent: Sent, inputs: NDArray[Any], seconds: float) -> NDArray[np.float32]:
        """Send a call and wait for its answer; if the caller stops waiting, the call is left to end by itself.

        Raises:
            CallError: as `infer`.
        """
        call = asyncio.create_task(infer(sent.client, sent.tower, inputs, seconds + _OWN_DEADLINE_LATER_S))
        self._calls[call] = sent
        call.add_done_callback(self._ended)
        try:
            await asyncio.wait({call}, timeout=seconds)
        finally:
            if not call.done():
                self._abandoned.add(call)
        if not call.done():
            raise _late(seconds)
        return call.result()

    def mark_overtaken(self, answered: Sent, by_s: float) -> None:
        """Mark the calls to the same model, with at most as many rows, that were sent `by_s` or more before one that is
        answered.
        """
        for other in self._calls.values():
            if other.at > answered.at - by_s:
                break
            if other.tower is answered.tower and other.rows <= answered.rows:
                other.overtaken = True

    def stuck(self, client: Any, longer_than_s: float) -> list[float]:
        """The age in seconds of each overtaken call of a client that is older than that, the oldest first."""
        now = asyncio.get_running_loop().time()
        mine = [sent for sent in self._calls.values() if sent.overtaken and sent.client is client]
        return [now - sent.at for sent in mine if now - sent.at > longer_than_s]

    async def wait(self, seconds: float) -> None:
        """Wait until all calls have ended, at most for that time."""
        if self._calls:
            await asyncio.wait(list(self._calls), timeout=seconds)

    def _ended(self, call: _Call) -> None:
        sent = self._calls.pop(call)
        late = call in self._abandoned
        self._abandoned.discard(call)
        self._on_end(sent)
        if not call.cancelled():
            # Retrieve the exception even if no caller waits, so that asyncio does not report it.
            failure = call.exception()
            if late and isinstance(failure, CallError):
                self._on_late_failure(failure, sent)
