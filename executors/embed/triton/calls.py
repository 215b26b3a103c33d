"""Calls that a server has not ended yet, whether or not somebody still waits for them: none is cancelled."""

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

# Triton may crash when a call is cancelled, or reaches the deadline that the server was told, at the moment that it completes:
# 2.51 does once in some thousand such calls; issues 7368 and 8034 of triton-inference-server/server tell it of others. So
# calls are not cancelled: whoever gives up, or has waited for `timeout_s`, just goes, and the server's own deadline is later.
_OWN_DEADLINE_LATER_S: Final = 30.0

_SMALL: Final = Turn()
_Call: TypeAlias = "asyncio.Task[NDArray[np.float32]]"
T = TypeVar("T")

# Questions of checks that nobody waits for any longer; the event loop itself holds tasks by weak references only.
_left: Final[set[asyncio.Task[Any]]] = set()


async def answer_within(seconds: float, send: Callable[[float], Coroutine[Any, Any, T]]) -> T:
    """Send one question of a check and wait for its answer; when it is late, it is left to end by itself.

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
        call.exception()  # somebody has to look at it


def _late(seconds: float) -> CallError:
    return CallError(FailureKind.DEADLINE, f"no answer within {seconds:.3g} s")


@dataclass(slots=True, eq=False)
class Sent:
    """One call.

    Attributes:
        tower: the model.
        rows: of the input.
        at: when it was sent, by the event loop's clock.
        client: through which.
        turn: whose it is.
        overtaken: whether a call that was sent long after it was answered before it.
    """

    tower: Tower
    rows: int
    at: float
    client: Any
    turn: Turn = _SMALL
    overtaken: bool = False


class CallsInFlight:
    """Sends calls, and keeps them until the server is done with them. Belongs to one event loop."""

    def __init__(self, on_end: Callable[[Sent], None], on_late_failure: Callable[[CallError, Sent], None]) -> None:
        """
        Args:
            on_end: called with each one that the server is done with.
            on_late_failure: called with a failure that nobody waited for any longer.
        """
        self._on_end = on_end
        self._on_late_failure = on_late_failure
        self._calls: dict[_Call, Sent] = {}  # in the order in which they were sent
        self._abandoned: set[_Call] = set()

    @property
    def abandoned(self) -> int:
        """How many run for nobody."""
        return len(self._abandoned)

    async def answer(self, sent: Sent, inputs: NDArray[Any], seconds: float) -> NDArray[np.float32]:
        """Send a call and wait for its answer; when nobody waits any longer, it is left to end by itself.

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

    def overtake(self, answered: Sent, by_s: float) -> None:
        """Mark the calls to the same model, with as many rows at most, that were sent `by_s` before one that is answered."""
        for other in self._calls.values():
            if other.at > answered.at - by_s:
                break
            if other.tower is answered.tower and other.rows <= answered.rows:
                other.overtaken = True

    def stuck(self, client: Any, longer_than_s: float) -> list[float]:
        """The age in seconds of each call of a client that was overtaken and is older than that, the oldest first."""
        now = asyncio.get_running_loop().time()
        mine = [sent for sent in self._calls.values() if sent.overtaken and sent.client is client]
        return [now - sent.at for sent in mine if now - sent.at > longer_than_s]

    async def wait(self, seconds: float) -> None:
        """Until all have ended, or for so long."""
        if self._calls:
            await asyncio.wait(list(self._calls), timeout=seconds)

    def _ended(self, call: _Call) -> None:
        sent = self._calls.pop(call)
        late = call in self._abandoned
        self._abandoned.discard(call)
        self._on_end(sent)
        if not call.cancelled():
            failure = call.exception()  # somebody has to look at it, also where nobody waits any longer
            if late and isinstance(failure, CallError):
                self._on_late_failure(failure, sent)
