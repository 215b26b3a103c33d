"""Asks stages with a timeout, and gives an error in place of an answer that does not come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from executors.errors import VisualSearchError

T = TypeVar("T")


async def answer_or_error(question: Awaitable[T], stage: str, within_s: float) -> T | VisualSearchError:
    """What a stage answers, or why it does not.

    Args:
        stage: its name, for the error `deadline_exceeded`.
        within_s: how long it is waited for, in seconds.
    """
    try:
        async with asyncio.timeout(within_s):
            return await question
    except VisualSearchError as error:
        return error
    except TimeoutError:
        message = f"the stage {stage!r} did not answer in time"
        return VisualSearchError("deadline_exceeded", message, stage=stage, silent=[stage])
