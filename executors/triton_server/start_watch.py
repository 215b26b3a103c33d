"""Distinguishes a server that is loading from one that waits for a dead stub, for which Triton itself waits for
minutes.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Final

# Triton prints this when all models are loaded.
_SERVES: Final = "Started GRPCInferenceService"
# If a stub reports the error itself, the server ends by itself a moment later, with more details.
_GRACE_S: Final = 3.0


class StartWatch:
    """Watches one server from its start until it serves.

    Args:
        pid: of the server.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._lost_at = 0.0
        self.over = False

    def is_hopeless(self, log: str) -> bool:
        """Whether a process that the server needs to serve a model ended some time ago, and the server still waits for
        it.

        Args:
            log: the server's output in this life.
        """
        self.over = self.over or _SERVES in log
        if self.over or not has_ended_child(self._pid):
            return False
        self._lost_at = self._lost_at or time.monotonic()
        return time.monotonic() - self._lost_at >= _GRACE_S


def has_ended_child(pid: int) -> bool:
    """Whether a process has a dead child that it has not noticed (a zombie)."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent = (folder / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[:2]
                if state == "Z" and int(parent) == pid:
                    return True
    return False
