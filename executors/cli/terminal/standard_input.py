"""Reads standard input, which a shell may have closed (`<&-`)."""

from __future__ import annotations

import sys
from typing import TextIO

from executors.errors import VisualSearchError
from executors.files.reading import read_at_most


def read_standard_input(limit: int) -> bytes:
    """Read all of standard input, at most `limit` bytes.

    Raises:
        VisualSearchError: `image_too_large`; `unreadable_file` if there is no standard input.
        OSError: it can't be read.
    """
    require_standard_input()
    return read_at_most(sys.stdin.buffer, limit, too_large="image_too_large")


def require_standard_input() -> None:
    """Check that there is a standard input. If it was closed, descriptor 0 may be a file that was opened later.

    Raises:
        VisualSearchError: `unreadable_file`.
    """
    # Python sets it to None if the process was started without one; its type does not say so.
    stream: TextIO | None = sys.stdin
    if stream is None:
        raise VisualSearchError("unreadable_file", "there is no standard input")
