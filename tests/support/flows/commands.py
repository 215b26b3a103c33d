"""The command line in a process of its own: for what concerns signals, kills and pipes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


def run_process(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """Type a command; its streams are pipes unless `options` (of `Popen`) say otherwise."""
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen([sys.executable, "-m", "executors.cli", *arguments], cwd=ROOT, **streams)


def wait_for(condition: Callable[[], bool], seconds: float = 15) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
