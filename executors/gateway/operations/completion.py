"""Work that is completed even if its caller leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from executors.errors import VisualSearchError

T = TypeVar("T")

# Several times the number of requests in flight.
MOST_RUNNING: Final = 2_000
# The event loop itself holds tasks by weak references only.
_running: Final[set[asyncio.Task[Any]]] = set()


async def completed(work: Coroutine[Any, Any, T]) -> T:
    """Await work that goes on if its caller is cancelled, because a write that has reached a store must be completed.

    Raises:
        VisualSearchError: `overloaded` if too much such work runs, including that of callers who left; the work's own error.
    """
    if len(_running) >= MOST_RUNNING:
        work.close()
        raise VisualSearchError("overloaded", "too many writes wait for their turn; try again", retry_after_s=1)
    task = asyncio.create_task(work)
    _running.add(task)
    task.add_done_callback(_ended)
    return await asyncio.shield(task)


async def all_completed(within_s: float) -> None:
    """Wait for all such work of this process, but no longer than `within_s` seconds."""
    if _running:
        await asyncio.wait(_running, timeout=within_s)


def _ended(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled():
        task.exception()  # otherwise asyncio logs it as never retrieved if the caller has left
