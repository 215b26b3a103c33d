"""Asks stages with a timeout; returns an error if no answer arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from executors.errors import VisualSearchError

T = TypeVar("T")


async def answer_or_error(question: Awaitable[T], stage: str, within_s: float) -> T | VisualSearchError:
    """Return the answer of a stage, or the error in its place.

    Args:
        question: awaits the answer.
        stage: the stage's name, for the error `deadline_exceeded`.
        within_s: the timeout, in seconds.
    """
    try:
        async with asyncio.timeout(within_s):
            return await question
    except VisualSearchError as error:
        return error
    except TimeoutError:
        message = f"the stage {stage!r} did not answer in time"
        return VisualSearchError("deadline_exceeded", message, stage=stage, silent=[stage])
