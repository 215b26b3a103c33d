"""`CUDA_VISIBLE_DEVICES`: the meaning of a flow file's `RR…` on this machine, and the device of a replica.

Jina itself resolves `RR…` into one device for each replica; this module checks its input and its result. Pure functions.
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
    """Return the devices to share among the replicas, from the flow file and the environment.

    A plain `RR` in the flow file means all available GPUs. If the environment names some (a scheduler's `2,3`, or an `RR…`
    typed before the command), those are the available ones. Any other value in the flow file is used as it is.

    Returns:
        A value for Jina: `RR…`, or a value that turns GPUs off (empty or -1).
    """
    if in_flow != "RR" or inherited is None or inherited.startswith("RR"):
        return inherited if in_flow == "RR" and inherited else in_flow
    given = inherited.strip()
    return given if given in ("", "-1") else f"RR{given}"


@dataclass(frozen=True, slots=True)
class Gpus:
    """The GPUs of this machine.

    Attributes:
        count: the number of GPUs; parts of a GPU (MIG) don't count.
        uuids: the UUIDs of the GPUs and their parts; empty if only the number is known.
    """

    count: int
    uuids: frozenset[str] = frozenset()


def list_gpus(listing: str) -> Gpus:
    """Parse the output of `nvidia-smi -L`, in which parts of a GPU have lines of their own."""
    return Gpus(len(_GPU_LINE.findall(listing)), frozenset(_UUID_IN_LINE.findall(listing)))


def check_devices(value: str, assigned: Iterable[object], gpus: Gpus | None) -> None:
    """Refuse a device that CUDA would silently take for "no GPU".

    Args:
        value: the `RR…` as it was given.
        assigned: the device of each replica; a UUID may be shortened, as CUDA allows.
        gpus: the GPUs of this machine; None if they are not known.

    Raises:
        VisualSearchError: `invalid_setting`; the message names the device.
    """
    for device in assigned:
        text = str(device).strip()
        if text.isdigit():
            if gpus is not None and int(text) >= gpus.count:
                there = f"this machine has {gpus.count} (numbered from 0)"
                raise invalid_devices(value, f"GPU {text} does not exist: {there}")
        elif not _UUID.fullmatch(text):
            raise invalid_devices(value, f"{text!r} is neither a GPU's number nor its UUID")
        elif gpus is not None and gpus.uuids and not any(each.startswith(text) for each in gpus.uuids):
            raise invalid_devices(value, f"{text} does not exist: `nvidia-smi -L` lists the UUIDs")


def invalid_devices(value: str, why: str) -> VisualSearchError:
    """Return the error for a value that names no GPU."""
    return VisualSearchError("invalid_setting", f"{VARIABLE}: {value!r}: {why}", variables=[VARIABLE])


@dataclass(frozen=True, slots=True)
class Device:
    """The device that a replica computes on; `id` is the GPU's number or UUID on this machine, empty for the CPU.

    A process whose `CUDA_VISIBLE_DEVICES` names one GPU sees it as number 0, with any `id`.
    """

    kind: Literal["cpu", "gpu"]
    id: str = ""

    def __str__(self) -> str:
        return f"gpu {self.id}" if self.kind == "gpu" else "cpu"


CPU: Final = Device("cpu")


def parse_device(visible: str) -> Device:
    """Return the device of a replica, from its `CUDA_VISIBLE_DEVICES`.

    Empty, -1, and a literal `RR…` (Jina found no GPU) mean the CPU. In a list, the first entry counts.

    Raises:
        VisualSearchError: `invalid_setting` for any other value, which CUDA would silently take for "no GPU".
    """
    first = visible.split(",")[0].strip()
    if first in ("", "-1") or first.startswith("RR"):
        return CPU
    if not _GPU_ID.fullmatch(first):
        message = f"{VARIABLE}: {visible!r} is neither a GPU's number nor its UUID, nor RR…"
        raise VisualSearchError("invalid_setting", message, variables=[VARIABLE])
    return Device("gpu", first)
