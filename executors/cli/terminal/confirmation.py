"""Asks before something is removed that can't be had back."""

from __future__ import annotations

import sys

from executors.cli.terminal.output import printable
from executors.errors import VisualSearchError


def confirmed(question: str) -> bool:
    """Whether a person says yes. Not to be used inside a running loop: that would keep Ctrl-C from ending the question.

    Raises:
        VisualSearchError: `invalid_parameter` where nobody can be asked.
    """
    # Python sets a stream to None where the process was started without it (`<&-`).
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr)):
        raise VisualSearchError("invalid_parameter", f"{question} Say so with --yes")
    sys.stderr.write(f"{printable(question)} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
