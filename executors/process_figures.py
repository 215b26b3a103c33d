"""What this process takes: processor time, memory, files and threads (Linux)."""

from __future__ import annotations

import os
import resource
import threading
import time
from pathlib import Path
from typing import Any, Final

_PROCESS: Final = Path("/proc/self")
_TICKS: Final = os.sysconf("SC_CLK_TCK")


def process_figures() -> dict[str, Any]:
    """Return the figures of this process.

    Returns:
        `cpu_seconds`, user and system; `resident_bytes`; `open_files`; `threads`; `started`, seconds since 1970. What the
        system does not tell is missing.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    figures: dict[str, Any] = {
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 3),
        "threads": threading.active_count(),
    }
    try:
        fields = (_PROCESS / "stat").read_text("ascii", "replace").rpartition(")")[2].split()
        pages = int((_PROCESS / "statm").read_text("ascii").split()[1])
        figures |= {
            "threads": int(fields[17]),
            "resident_bytes": pages * resource.getpagesize(),
            "open_files": len(os.listdir(_PROCESS / "fd")),  # noqa: PTH208 - names only, which is faster
            "started": round(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + int(fields[19]) / _TICKS, 2),
        }
    except (OSError, ValueError, IndexError):
        pass
    return figures
