"""Which device a replica computes on, and with how many threads. Pure functions of what they are given."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from executors.errors import VisualSearchError

_GPU_ID: Final = re.compile(r"\d+|(GPU|MIG)-\S+")
_CPU_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True, slots=True)
class Device:
    """What a replica computes on; `id` is the GPU's number or UUID on this machine, empty for the CPU.

    A process whose `CUDA_VISIBLE_DEVICES` names one GPU sees that one as its number 0, whatever `id` says.
    """

    kind: Literal["cpu", "gpu"]
    id: str = ""

    def __str__(self) -> str:
        return f"gpu {self.id}" if self.kind == "gpu" else "cpu"


CPU: Final = Device("cpu")


def parse_device(visible: str) -> Device:
    """Read what `CUDA_VISIBLE_DEVICES` gave a replica.

    Empty, -1, and a literal `RR…` that round-robin did not resolve (it found no GPU) mean the CPU. Of a list the first
    counts, as CUDA numbers them.

    Raises:
        VisualSearchError: `invalid_setting` for anything else, which CUDA would silently take for "no GPU".
    """
    first = visible.split(",")[0].strip()
    if first in ("", "-1") or first.startswith("RR"):
        return CPU
    if not _GPU_ID.fullmatch(first):
        message = f"CUDA_VISIBLE_DEVICES: {visible!r} is neither a GPU's number nor its UUID, nor RR…"
        raise VisualSearchError("invalid_setting", message, variables=["CUDA_VISIBLE_DEVICES"])
    return Device("gpu", first)


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
