"""The start of a stage: it runs coroutines from a constructor, and logs one line if the stage can't start."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from types import FrameType
from typing import Any, TypeVar

from executors.errors import VisualSearchError

T = TypeVar("T")
_log = logging.getLogger(__name__)


@contextmanager
def starting(stage: str) -> Iterator[None]:
    """Wrap the work of a constructor: if it fails, log one line that says why the stage can't start, and raise again.

    Jina then ends the flow. Its own line about it is empty with `quiet_error`, and a long traceback without.
    """
    try:
        yield
        leave_start_uncollected()
    except VisualSearchError as error:
        _log.error("the stage %r can't start: %s", stage, error)
        raise
    except Exception as error:
        _log.error("the stage %r can't start: %r", stage, error, exc_info=error)
        raise


@cache
def leave_start_uncollected() -> None:
    """Take every object that exists now out of Python's garbage collection; only the first call in a process does so.

    Modules and models are never freed. Each full collection would look at all of them, and every thread waits for
    that: 50 to 60 ms in a process that has imported Jina.
    """
    gc.collect()
    gc.freeze()


def run_now(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end from inside a function that Jina calls on a running event loop."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="run") as pool:
        return pool.submit(asyncio.run, work).result()


def start_now(start: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end from inside a constructor; a signal to stop cancels it.

    Jina's own signal handlers wait for the event loop, which stands still in a constructor: Ctrl-C would have to wait
    until the model is loaded.

    Raises:
        VisualSearchError: what the coroutine raised, or `unavailable` after a signal; Jina then ends the process.
    """
    begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = Future()

    async def cancellable() -> T:
        task = asyncio.current_task()
        assert task is not None
        begun.set_result((asyncio.get_running_loop(), task))
        return await start

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="start") as pool:
        outcome = pool.submit(asyncio.run, cancellable())
        try:
            with _raising_at_signals():
                return outcome.result()
        except _Stopped:
            loop, task = begun.result()
            with suppress(RuntimeError):  # the loop has just ended
                loop.call_soon_threadsafe(task.cancel)
            raise VisualSearchError("unavailable", "it was told to stop while it started") from None


class _Stopped(BaseException):
    """A signal to stop arrived."""


@contextmanager
def _raising_at_signals() -> Iterator[None]:
    """Let SIGTERM and SIGINT raise `_Stopped`; does nothing outside the main thread, which alone may set handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise _Stopped

    before = {each: signal.signal(each, stop) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
