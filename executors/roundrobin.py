"""Which GPUs the replicas of an executor may take: what a flow file's `CUDA_VISIBLE_DEVICES: RR…` means on this machine.

Jina resolves `RR…` itself; these are the checks around it. Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from executors.errors import VisualSearchError

VARIABLE: Final = "CUDA_VISIBLE_DEVICES"

_UUID: Final = re.compile(r"(GPU|MIG)-\S+")
_GPU_LINE: Final = re.compile(r"^GPU \d+:", re.MULTILINE)


def requested_devices(in_flow: str, inherited: str | None) -> str:
    """What to share out, where the flow file says one thing and the environment another.

    A flow file's plain `RR` means «whatever there is»: GPUs that the environment names (a scheduler's `2,3`, or a form of
    `RR…` typed before the command) are what there is. Any other value in the flow file stands.

    Returns:
        A value for Jina: `RR…`, or what turns GPUs off (empty or -1).
    """
    if in_flow != "RR" or inherited is None or inherited.startswith("RR"):
        return inherited if in_flow == "RR" and inherited else in_flow
    given = inherited.strip()
    return given if given in ("", "-1") else f"RR{given}"


def count_gpus(listing: str) -> int:
    """GPUs in the output of `nvidia-smi -L`; parts of a GPU (MIG), which have lines of their own, are not GPUs."""
    return len(_GPU_LINE.findall(listing))


def check_devices(value: str, assigned: Iterable[object], gpus: int | None) -> None:
    """Refuse what CUDA would silently take for «no GPU».

    Args:
        value: the `RR…` as it was given.
        assigned: the device that each replica was given.
        gpus: how many GPUs there are, or None where nobody knows.

    Raises:
        VisualSearchError: `invalid_setting`, naming the device.
    """
    for device in assigned:
        text = str(device).strip()
        if text.isdigit():
            if gpus is not None and int(text) >= gpus:
                raise invalid_devices(value, f"GPU {text} is not there: this machine has {gpus} (numbered from 0)")
        elif not _UUID.fullmatch(text):
            raise invalid_devices(value, f"{text!r} is neither a GPU's number nor its UUID")


def invalid_devices(value: str, why: str) -> VisualSearchError:
    """The error for a value that names no GPU."""
    return VisualSearchError("invalid_setting", f"{VARIABLE}: {value!r}: {why}", variables=[VARIABLE])
