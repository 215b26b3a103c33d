"""How many cores there are to share, and how they are shared."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

_CPU_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


def threads_for(replicas: int, cores: int, configured: int) -> int:
    """Threads that one replica computes with: its share of the cores, at least 1; a configured number (not 0) wins."""
    return configured or max(1, cores // replicas)


def available_cores() -> int:
    """Cores that this process may use: those it is allowed on, within the quota of its control group (containers)."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # only Linux has it
        allowed = os.cpu_count() or 1
    try:
        quota = _CPU_QUOTA.read_text("ascii")
    except OSError:
        return allowed
    return min(allowed, cores_of_quota(quota) or allowed)


def cores_of_quota(quota: str) -> int | None:
    """Whole cores, rounded up, of a `cpu.max` such as `150000 100000` (microseconds in each period); None: no limit."""
    match = re.fullmatch(r"(\d+) ([1-9]\d*)\s*", quota)
    return max(1, -(-int(match[1]) // int(match[2]))) if match else None
