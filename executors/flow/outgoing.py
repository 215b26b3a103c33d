"""Remembers the calls to stages that are in flight for a request, so that they end when its caller no longer waits.

Jina's streamer runs calls in tasks of its own, which go on when the caller is cancelled. These tasks inherit the context of
the request. The function that makes the calls (`executors.flow.jina_patches.connections.send_unmeasured`) notes them here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Protocol


class Call(Protocol):
    """The part of a gRPC call that this module uses."""

    def cancel(self) -> bool:
        """Cancel the call, also in the process that is called."""

    def done(self) -> bool:
        """Return whether the call has ended."""


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
        """Cancel all calls, and those that are noted later."""
        self.gone = True
        for call in self._calls:
            if not call.done():
                call.cancel()

    def forget(self) -> None:
        """Drop the calls. A call holds the data that it sent, and would stay in memory until the next garbage collection."""
        self._calls.clear()


_current: Final[ContextVar[OutgoingCalls | None]] = ContextVar("outgoing_calls", default=None)


def note_call(call: Call) -> None:
    """Remember a call for the request that this task works for; outside of a request, do nothing."""
    calls = _current.get()
    if calls is not None:
        calls.note(call)


@contextmanager
def ended_with_caller() -> Iterator[None]:
    """Cancel the calls to stages that are made inside the block if the block is cancelled."""
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
