"""Runs a function that may never return in a daemon thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

_Result = TypeVar("_Result")


async def in_daemon_thread(function: Callable[[], _Result]) -> _Result:
    """Run a function that may wait for ever, such as reading a pipe, without keeping the process from ending.

    Raises:
        Exception: what the function raised.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_Result] = loop.create_future()

    def set_result(result: _Result | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # there is a result where there is no error

    def run() -> None:
        result, raised = None, None
        try:
            result = function()
        except Exception as error:
            raised = error
        # The loop may be closed, if the caller does not wait for the result any more.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(set_result, result, raised)

    threading.Thread(target=run, daemon=True).start()
    return await future
