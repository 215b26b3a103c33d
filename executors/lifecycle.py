"""The start of a stage: something asynchronous from a constructor, and one line for what keeps the stage from starting."""

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

from executors.errors import Logger, VisualSearchError

T = TypeVar("T")
_log = logging.getLogger(__name__)


@contextmanager
def starting(stage: str, logger: Logger = _log) -> Iterator[None]:
    """Around the work of a constructor: one line that says what keeps the stage from starting, then the flow ends.

    Jina's own line for it is empty with `quiet_error`, and a page of its internals without.
    """
    try:
        yield
        leave_start_uncollected()
    except VisualSearchError as error:
        logger.error("the stage %r can't start: %s", stage, error)
        raise
    except Exception as error:
        logger.error("the stage %r can't start: %r", stage, error, exc_info=error)
        raise


@cache
def leave_start_uncollected() -> None:
    """Take everything that is there once a process has started out of Python's garbage collection; once a process.

    Modules and models stay for good. A full collection would look at all of them again and again, and every thread waits for
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

    Jina's own handlers of signals wait for the event loop, which stands still in a constructor: Ctrl-C
    would wait for a model to load that is not wanted any more.

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
            with suppress(RuntimeError):  # it has just ended
                loop.call_soon_threadsafe(task.cancel)
            raise VisualSearchError("unavailable", "it was told to stop while it started") from None


class _Stopped(BaseException):
    """A signal to stop arrived."""


@contextmanager
def _raising_at_signals() -> Iterator[None]:
    """SIGTERM and SIGINT raise; only the main thread may ask for that."""
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
