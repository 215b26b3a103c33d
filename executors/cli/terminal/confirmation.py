"""Asks for confirmation before something is removed for good."""

from __future__ import annotations

import sys

from executors.cli.terminal.output import printable
from executors.errors import VisualSearchError


def confirmed(question: str) -> bool:
    """Ask a question; True if the user says yes.

    Must not be called inside a running event loop, because Ctrl-C could not end the question there.

    Raises:
        VisualSearchError: `invalid_parameter` if there is no terminal.
    """
    # Python sets a stream to None if the process was started without it (`<&-`).
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr)):
        raise VisualSearchError("invalid_parameter", f"{question} Use --yes to confirm")
    sys.stderr.write(f"{printable(question)} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
