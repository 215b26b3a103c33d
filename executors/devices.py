"""`CUDA_VISIBLE_DEVICES`: what a flow file's `RR…` means on this machine, and which device a replica computes on.

Jina resolves `RR…` itself, into one device a replica; these are the checks around it. Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from executors.errors import VisualSearchError

VARIABLE: Final = "CUDA_VISIBLE_DEVICES"

_UUID: Final = re.compile(r"(GPU|MIG)-\S+")
_GPU_ID: Final = re.compile(r"\d+|(GPU|MIG)-\S+")
_UUID_IN_LINE: Final = re.compile(r"\(UUID: ((?:GPU|MIG)-[^)\s]+)\)")
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


@dataclass(frozen=True, slots=True)
class Gpus:
    """The GPUs of this machine.

    Attributes:
        count: how many there are; parts of a GPU (MIG) are not GPUs.
        uuids: of the GPUs and their parts; empty where only the number is known.
    """

    count: int
    uuids: frozenset[str] = frozenset()


def list_gpus(listing: str) -> Gpus:
    """Read the output of `nvidia-smi -L`, where parts of a GPU have lines of their own."""
    return Gpus(len(_GPU_LINE.findall(listing)), frozenset(_UUID_IN_LINE.findall(listing)))


def check_devices(value: str, assigned: Iterable[object], gpus: Gpus | None) -> None:
    """Refuse what CUDA would silently take for «no GPU».

    Args:
        value: the `RR…` as it was given.
        assigned: the device that each replica was given; a UUID may be shortened, as CUDA allows.
        gpus: the GPUs of this machine; None if they are not known.

    Raises:
        VisualSearchError: `invalid_setting`, naming the device.
    """
    for device in assigned:
        text = str(device).strip()
        if text.isdigit():
            if gpus is not None and int(text) >= gpus.count:
                there = f"this machine has {gpus.count} (numbered from 0)"
                raise invalid_devices(value, f"GPU {text} is not there: {there}")
        elif not _UUID.fullmatch(text):
            raise invalid_devices(value, f"{text!r} is neither a GPU's number nor its UUID")
        elif gpus is not None and gpus.uuids and not any(each.startswith(text) for each in gpus.uuids):
            raise invalid_devices(value, f"{text} is not there: `nvidia-smi -L` lists the UUIDs that are")


def invalid_devices(value: str, why: str) -> VisualSearchError:
    """The error for a value that names no GPU."""
    return VisualSearchError("invalid_setting", f"{VARIABLE}: {value!r}: {why}", variables=[VARIABLE])


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

    Empty, -1, and a literal `RR…` that round-robin did not resolve (it found no GPU) mean the CPU. Of a list the first
    counts, as CUDA numbers them.

    Raises:
        VisualSearchError: `invalid_setting` for anything else, which CUDA would silently take for "no GPU".
    """
    first = visible.split(",")[0].strip()
    if first in ("", "-1") or first.startswith("RR"):
        return CPU
    if not _GPU_ID.fullmatch(first):
        message = f"{VARIABLE}: {visible!r} is neither a GPU's number nor its UUID, nor RR…"
        raise VisualSearchError("invalid_setting", message, variables=[VARIABLE])
    return Device("gpu", first)
