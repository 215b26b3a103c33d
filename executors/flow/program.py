"""How a program that is a flow ends: at a signal cleanly, at an expected failure with one line and exit status 1."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Final

import yaml
from jina.excepts import BaseJinaException, RuntimeFailToStart

from executors.errors import VisualSearchError

_STOP_S: Final = 10.0
# A signal to stop came, which a terminal sends to every process of the flow: that they end is no news.
STOPPING: Final = threading.Event()
_program = False

FAILED_START: Final = "error: the flow could not start; a line above names the stage and the reason"


def end_cleanly() -> None:
    """Turn SIGTERM into what Ctrl-C does, and an expected failure into one line and exit status 1.

    Only where the flow is the program (`jina flow`, `visual-search serve`): a notebook or a script of the user's that
    loads a flow keeps its own signals and its own way to end.
    """
    global _program
    _program = True
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell may have it ignored
            signal.signal(signal.SIGINT, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Any path can be printed, whatever the encoding of the terminal is.
            stream.reconfigure(errors="backslashreplace")
    sys.excepthook = _say_in_one_line


def is_program() -> bool:
    """Whether the flow is the program."""
    return _program


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    STOPPING.set()
    raise KeyboardInterrupt


def _say_in_one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, VisualSearchError):
        print(f"error: {error}", file=sys.stderr)
    elif isinstance(error, RuntimeFailToStart):
        print(FAILED_START, file=sys.stderr)
    elif isinstance(error, yaml.YAMLError):
        print(f"error: invalid_flow: {' '.join(str(error).split())}", file=sys.stderr)
    elif isinstance(error, BaseJinaException):
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
    elif isinstance(error, KeyboardInterrupt):
        # Before the flow blocks, no code of Jina's catches this one: Jina would leave its pods behind.
        _stop_pods()
        os._exit(0)
    else:
        sys.__excepthook__(kind, error, trace)


def _stop_pods() -> None:
    STOPPING.set()
    pods = multiprocessing.active_children()
    for pod in pods:
        pod.terminate()
    deadline = time.monotonic() + _STOP_S
    for pod in pods:
        pod.join(max(0.0, deadline - time.monotonic()))
        if pod.is_alive():
            pod.kill()
            pod.join(1)
    sys.stdout.flush()
    sys.stderr.flush()
