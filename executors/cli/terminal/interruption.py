"""Turns Ctrl-C into a request to stop, instead of an exception."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_on_signal() -> Iterator[asyncio.Event]:
    """Yield an event that Ctrl-C or SIGTERM sets; a second signal cancels the task at once.

    Must be used inside a running event loop of the main thread.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    requested = asyncio.Event()

    def on_signal() -> None:
        if requested.is_set() and task is not None:
            task.cancel()
        requested.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal)
    try:
        yield requested
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
