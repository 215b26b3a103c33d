"""Ends the work of a request whose caller has left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

T = TypeVar("T")


async def unless_gone(gone: Awaitable[None], work: Coroutine[Any, Any, T]) -> T:
    """Do work for a caller, and cancel it if the caller leaves.

    Args:
        gone: ends when the caller has left.

    Raises:
        ClientDisconnect: the caller has left.
    """
    task = asyncio.create_task(work)
    leaving = asyncio.ensure_future(gone)
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        for each in (task, leaving):
            each.cancel()
        await asyncio.gather(task, leaving, return_exceptions=True)


async def disconnected(request: Request) -> None:
    """Wait until the connection of a request, whose body was read, is closed."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
