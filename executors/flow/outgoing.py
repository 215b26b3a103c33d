"""The calls to stages that are in flight for one request, so that they end when the caller no longer waits.

Jina's streamer runs calls in tasks of its own, which a cancelled caller leaves running. They inherit the context that
they were started in; what makes the calls (see `executors.flow.jina_patches.connections.send_unmeasured`) notes them here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Protocol


class Call(Protocol):
    """The part of a gRPC call that is needed."""

    def cancel(self) -> bool:
        """End it, at the other side, too."""

    def done(self) -> bool:
        """Whether it has ended."""


class OutgoingCalls:
    """The calls of one request."""

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self.gone = False

    def note(self, call: Call) -> None:
        """Remember a call.

        Raises:
            asyncio.CancelledError: the caller no longer waits.
        """
        if self.gone:
            call.cancel()
            raise asyncio.CancelledError
        self._calls.append(call)

    def cancel(self) -> None:
        """End all of them, and those that would come."""
        self.gone = True
        for call in self._calls:
            if not call.done():
                call.cancel()

    def forget(self) -> None:
        """Let go of them: a call holds what it sent, and is held by the context that holds this, until cycles are looked for."""
        self._calls.clear()


_current: Final[ContextVar[OutgoingCalls | None]] = ContextVar("outgoing_calls", default=None)


def note_call(call: Call) -> None:
    """Remember a call for the request that this task works for; outside of one, nothing is to be done."""
    calls = _current.get()
    if calls is not None:
        calls.note(call)


@contextmanager
def ended_with_caller() -> Iterator[None]:
    """Around a request to the stages: when it is cancelled, its calls are."""
    calls = OutgoingCalls()
    token = _current.set(calls)
    try:
        yield
    except (asyncio.CancelledError, GeneratorExit):
        calls.cancel()
        raise
    finally:
        calls.forget()
        _current.reset(token)
