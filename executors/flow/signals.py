"""Signals that come while a process is being forked: Python would lose them.

It calls functions of its own after a fork and swallows what is raised in them, also by the handler of a signal: now and then
Ctrl-C had no effect on a flow that was starting.
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
    """Around a fork, on the main thread: what comes meanwhile is handled afterwards. Elsewhere nothing is done."""
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
    """The first thing to do in a forked process: until it has handlers of its own, a signal ends it at once.

    What the inherited handlers raise could be swallowed by whatever runs at that moment, and the signal would be lost.

    Args:
        last: what it does before it ends.
    """

    def end(_number: int, _frame: FrameType | None) -> None:
        last()
        os._exit(1)

    came = bool(_held)
    # It never leaves the block of `_signals_held` in which it was forked.
    _handlers.clear()
    _held.clear()
    for each in _SIGNALS:
        signal.signal(each, end)
    if came:
        end(0, None)


def held_while(fork: Callable[[T], R], undo: Callable[[T], object]) -> Callable[[T], R]:
    """A function that forks, with signals held meanwhile.

    Args:
        undo: what is done when a signal ends it: no other code knows the new process yet.
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
