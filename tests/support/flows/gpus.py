"""GPUs that are not there: a stand-in for `nvidia-smi`, which is all that round-robin asks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from tests.support.flows.flow import TRITON_FLOW
from tests.support.models.models import TINY, tiny_model, write_entry

SIMULATED: Final = 4
UUIDS: Final = [f"GPU-{number:08x}-0000-0000-0000-000000000000" for number in range(SIMULATED)]


def path_with_gpus(folder: Path, count: int) -> str:
    """A value for PATH under which `nvidia-smi -L` lists `count` GPUs."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "nvidia-smi"
    lines = [f"GPU {number}: Simulated (UUID: {uuid})" for number, uuid in enumerate(UUIDS[:count])]
    listing = "\n".join(lines)
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{listing}\nEND\n")
    program.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def flow_with_devices(folder: Path, devices: str) -> Path:
    """The Triton flow as it comes, with another form of round-robin."""
    text = TRITON_FLOW.read_text("utf-8")
    changed = text.replace("CUDA_VISIBLE_DEVICES: RR\n", f"CUDA_VISIBLE_DEVICES: '{devices}'\n")
    assert changed != text
    target = folder / "flow.yml"
    target.write_text(changed, "utf-8")
    return target


def simulated_gpus(folder: Path, **environment: str) -> dict[str, str]:
    """Variables for a flow of three replicas with a tiny model on a machine of four simulated GPUs."""
    write_entry(folder / "models", tiny_model())
    return {
        "PATH": path_with_gpus(folder / "bin", SIMULATED),
        "VS_MODEL": TINY,
        "VS_MODELS_DIR": str(folder / "models"),
        "VS_REPLICAS": "3",
        # The packages for real GPUs are not needed.
        "VS_TRITON_PACKAGES": "cpu",
        **environment,
    }
