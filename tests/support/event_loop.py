"""Waiting by turns of the event loop, where a test wants others to go on as far as they can, and no time to pass."""

from __future__ import annotations

import asyncio


async def others_have_run(turns: int = 100) -> None:
    """Let every other task run until it waits for something that this test has not done yet.

    Args:
        turns: of the event loop; more than any chain of tasks in a unit test is long.
    """
    for _ in range(turns):
        await asyncio.sleep(0)
