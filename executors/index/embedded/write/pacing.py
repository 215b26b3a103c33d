"""Pacing: writes wait if the graphs have fallen behind, because every search compares the missing rows one by one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from executors.index.embedded.memory.collection_memory import CollectionMemory
from executors.index.embedded.memory.shard_memory import Memory

# Comparing this many takes about 8 ms on one core.
_MOST_UNCOVERED_BYTES: Final = 64_000_000
# Small writes wait only from twice as many rows on, so that bulk loads hardly slow them down.
_FEW: Final = 8
_POLL_S: Final = 0.01
# A graph that stands still this long is being saved or copied, or can't be kept up to date: no reason to refuse writes.
_LONGEST_STANDSTILL_S: Final = 1.0
_LONGEST_S: Final = 5.0


async def _pause() -> None:
    await asyncio.sleep(_POLL_S)


async def wait_for_graphs(
    memory: Memory,
    documents: int,
    *,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[], Awaitable[None]] = _pause,
) -> None:
    """Wait until the graphs have caught up enough, as long as they make progress, and never for long.

    Args:
        memory: what searches use, with the graphs of its collections.
        documents: how many are about to be written.
        clock: seconds that never go back.
        pause: waits between two looks at a graph.
    """
    end = clock() + _LONGEST_S
    most = _MOST_UNCOVERED_BYTES if documents > _FEW else 2 * _MOST_UNCOVERED_BYTES
    for held in list(memory.held.values()):
        await _wait_for(held, most, end, clock, pause)


async def _wait_for(
    held: CollectionMemory, most: int, end: float, clock: Callable[[], float], pause: Callable[[], Awaitable[None]]
) -> None:
    covered = _covered(held)
    moved_at = clock()
    while held.graph is not None and 4 * held.dimension * held.uncovered > most:
        now = clock()
        if _covered(held) != covered:
            covered, moved_at = _covered(held), now
        if now >= end or now - moved_at >= _LONGEST_STANDSTILL_S:
            return
        await pause()


def _covered(held: CollectionMemory) -> int:
    return held.graph.extent.covered if held.graph is not None else 0
