"""The device that a replica computes on: a pure function of its `CUDA_VISIBLE_DEVICES`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from executors.errors import VisualSearchError

_GPU_ID: Final = re.compile(r"\d+|(GPU|MIG)-\S+")


@dataclass(frozen=True, slots=True)
class Device:
    """The device that a replica computes on; `id` is the GPU's number or UUID on this machine, empty for the CPU.

    A process whose `CUDA_VISIBLE_DEVICES` names one GPU sees that one as its number 0, whatever `id` says.
    """

    kind: Literal["cpu", "gpu"]
    id: str = ""

    def __str__(self) -> str:
        return f"gpu {self.id}" if self.kind == "gpu" else "cpu"


CPU: Final = Device("cpu")


def parse_device(visible: str) -> Device:
    """Read the value of `CUDA_VISIBLE_DEVICES` in a replica.

    Empty, -1, and a literal `RR…` that round-robin did not resolve (because it found no GPU) mean the CPU. Of a list
    the first counts, as CUDA numbers them.

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
