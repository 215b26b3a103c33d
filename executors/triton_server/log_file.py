"""The log of one server: the claim on its name, and its most recent lines."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

_TAIL_BYTES: Final = 100_000


def claim_log(folder: Path, name: str) -> tuple[Path, int]:
    """The first log of this name that no living server writes to, and the handle that keeps others from claiming it."""
    folder.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        unique = name if number == 1 else f"{name}-{number}"
        handle = os.open(folder / f".{unique}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return folder / f"{unique}.log", handle
        except BlockingIOError:
            os.close(handle)
            number += 1


def tail_of(log: Path, start: int) -> str:
    """The last part of what was written since `start`."""
    try:
        with log.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            # If the log is shorter than it was, it was rotated meanwhile.
            stream.seek(max(start if start <= size else 0, size - _TAIL_BYTES))
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
