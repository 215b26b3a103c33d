"""The number of cores that this process may use, and the share of each replica."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_CPU_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")
_FEW_CORES: Final = 8


def threads_for(replicas: int, cores: int, configured: int) -> int:
    """Return the computing threads of one replica: the configured number, or if that is 0 its share of the cores (at least 1)."""
    return configured or max(1, cores // replicas)


def threads_of_run(replicas: int, cores: int, configured: int) -> int:
    """Return the threads of one run of the model in one of so many replicas.

    That is the configured number, or if that is 0 the replica's share of the cores, but at least 2 where there are so
    many: a picture that is alone is embedded in two thirds of the time, and replicas that run together lose nothing.
    """
    return configured or max(min(2, cores), cores // replicas)


def helper_cores(replica: int, allowed: Sequence[int]) -> list[int]:
    """Return the cores for the threads that help one replica's computing thread: all but one, another one for each replica.

    Without this, the kernel may wake such a thread on the core where it is waited for, so that it computes afterwards and
    not at the same time. Where there are many cores it finds an idle one, and nothing is returned.
    """
    if not 1 < len(allowed) <= _FEW_CORES:
        return []
    own = allowed[replica % len(allowed)]
    return [core for core in allowed if core != own]


def allowed_cores() -> list[int]:
    """Return the numbers of the cores that this process may run on; none if the system does not tell."""
    try:
        return sorted(os.sched_getaffinity(0))
    except AttributeError:  # only Linux has it
        return []


def available_cores() -> int:
    """Return how many cores this process may use, by its CPU affinity and the quota of its control group (containers)."""
    allowed = len(allowed_cores()) or os.cpu_count() or 1
    try:
        quota = _CPU_QUOTA.read_text("ascii")
    except OSError:
        return allowed
    return min(allowed, cores_of_quota(quota) or allowed)


def cores_of_quota(quota: str) -> int | None:
    """Return the cores, rounded up, of a `cpu.max` such as `150000 100000` (microseconds per period); None means no limit."""
    match = re.fullmatch(r"(\d+) ([1-9]\d*)\s*", quota)
    return max(1, -(-int(match[1]) // int(match[2]))) if match else None
