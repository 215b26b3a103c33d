"""Opens a file or a named pipe to write to, and says so if it has to wait for a pipe's reader."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import BinaryIO, Final

from executors.cli.terminal.output import print_warning

_PATIENCE_S: Final = 3.0
_POLL_S: Final = 0.05


def open_output(path: Path) -> BinaryIO:
    """Open a file (emptied, or made if it is missing) or a named pipe. Opening a pipe waits until a program reads it.

    Raises:
        OSError: it can't be opened.
    """
    if path.is_fifo():
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            if (stream := _open_if_read(path)) is not None:
                return stream
            time.sleep(_POLL_S)
        print_warning(f"{path} is a pipe that no program reads yet; waiting for a reader (Ctrl-C ends the wait)")
    return path.open("wb")


def _open_if_read(pipe: Path) -> BinaryIO | None:
    """Open a pipe if a program reads it."""
    try:
        descriptor = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "wb")
