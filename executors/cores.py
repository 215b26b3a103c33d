"""The number of cores that this process may use, and the share of each replica."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

_CPU_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


def threads_for(replicas: int, cores: int, configured: int) -> int:
    """Return the computing threads of one replica: the configured number, or if that is 0 its share of the cores (at least 1)."""
    return configured or max(1, cores // replicas)


def available_cores() -> int:
    """Return how many cores this process may use, by its CPU affinity and the quota of its control group (containers)."""
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
    """Return the cores, rounded up, of a `cpu.max` such as `150000 100000` (microseconds per period); None means no limit."""
    match = re.fullmatch(r"(\d+) ([1-9]\d*)\s*", quota)
    return max(1, -(-int(match[1]) // int(match[2]))) if match else None
