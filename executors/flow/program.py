"""Ends a program that is a flow: cleanly after a signal, and with one line and exit status 1 after an expected failure."""

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
# Set after a signal to stop. A terminal sends it to every process of the flow, so their ends are not reported as losses.
STOPPING: Final = threading.Event()
_program = False

FAILED_START: Final = "error: the flow could not start; a line above names the stage and the reason"


def end_cleanly() -> None:
    """Make SIGTERM act like Ctrl-C, and turn an expected failure into one line and exit status 1.

    This applies only if the flow is the program (`jina flow`, `visual-search serve`). A notebook or script that loads a
    flow keeps its own signal handlers and its own way to end.
    """
    global _program
    _program = True
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell may have set it to be ignored
            signal.signal(signal.SIGINT, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # With this, any path can be printed in any encoding of the terminal.
            stream.reconfigure(errors="backslashreplace")
    sys.excepthook = _say_in_one_line


def is_program() -> bool:
    """Return whether the flow is the program."""
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
        # Until the flow blocks, Jina does not catch this exception and would leave its pods behind.
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
