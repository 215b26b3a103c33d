"""Keeps libjpeg and libpng from writing a line on stderr for each damaged picture; the caller gets a coded error
instead.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator
from functools import lru_cache

_lock = threading.Lock()
_depth = 0
_original: int | None = None


@contextlib.contextmanager
def silenced_native_stderr() -> Iterator[None]:
    """Point the C library's `stderr` at the null device while the body runs, for all threads.

    Only output of C code through stdio is dropped in that time; file descriptor 2, and with it Python's own stderr and
    the logs, is not changed. (glibc and macOS document the variable as assignable; elsewhere nothing is silenced.)
    """
    global _depth, _original
    streams = _streams()
    if streams is None:
        yield
        return
    variable, null = streams
    with _lock:
        if _depth == 0:
            _original = variable.value
            variable.value = null
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                variable.value = _original


@lru_cache(maxsize=1)
def _streams() -> tuple[ctypes.c_void_p, int] | None:
    """The C library's `stderr` variable and a stream to the null device, opened once for each process."""
    try:
        library = ctypes.CDLL(None)
        for name in ("stderr", "__stderrp"):
            with contextlib.suppress(ValueError):
                variable = ctypes.c_void_p.in_dll(library, name)
                library.fopen.restype = ctypes.c_void_p
                library.fopen.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
                null = library.fopen(os.devnull.encode(), b"w")
                return (variable, null) if null else None
    except (OSError, AttributeError, TypeError):
        return None
    return None


def _restore_in_child() -> None:
    """Restore stderr in a process that was forked while another thread was decoding."""
    global _depth, _lock
    _lock = threading.Lock()
    streams = _streams()
    if _depth and streams is not None:
        streams[0].value = _original
    _depth = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restore_in_child)
