"""Keeps signals that arrive while a process is being forked; Python would lose them.

After a fork, Python calls functions of its own and swallows any exception in them, even one from a signal handler. So now
and then Ctrl-C had no effect on a flow that was starting.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, TypeVar

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
T = TypeVar("T")
R = TypeVar("R")
_handlers: dict[int, Any] = {}
_held: list[int] = []


@contextmanager
def _signals_held() -> Iterator[None]:
    """Hold signals that arrive during a fork in the block, and handle them after it; on other threads, do nothing."""
    if threading.current_thread() is not threading.main_thread() or _handlers:
        yield
        return
    for each in _SIGNALS:
        _handlers[each] = signal.signal(each, _hold)
    try:
        yield
    finally:
        handlers, held = dict(_handlers), list(_held)
        _handlers.clear()
        _held.clear()
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in held:
            signal.raise_signal(number)


def end_at_signals(last: Callable[[], object]) -> None:
    """Make signals end a forked process at once, until it sets handlers of its own; the process calls this first.

    The inherited handlers raise an exception, which any code that runs at that moment could swallow; the signal would be lost.

    Args:
        last: called before the process ends.
    """

    def end(_number: int, _frame: FrameType | None) -> None:
        last()
        os._exit(1)

    came = bool(_held)
    # A forked process never leaves the block of `_signals_held` in which it was forked.
    _handlers.clear()
    _held.clear()
    for each in _SIGNALS:
        signal.signal(each, end)
    if came:
        end(0, None)


def held_while(fork: Callable[[T], R], undo: Callable[[T], object]) -> Callable[[T], R]:
    """Return a function that forks, and holds signals meanwhile.

    Args:
        fork: starts a process.
        undo: called if a signal or an error interrupts it, because no other code knows the new process yet.
    """

    def forking(what: T) -> R:
        try:
            with _signals_held():
                return fork(what)
        except BaseException:
            undo(what)
            raise

    return forking


def _hold(number: int, _frame: FrameType | None) -> None:
    _held.append(number)
