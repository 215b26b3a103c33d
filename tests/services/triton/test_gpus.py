"""Each replica of a real flow owns the GPU that round-robin gave it: its Triton sees that one and no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.flows.flow import TRITON_FLOW, RunningFlow, running_flow
from tests.support.flows.gpus import UUIDS, flow_with_devices, path_with_gpus, simulated_gpus

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]


def replicas(flow: RunningFlow) -> list[dict[str, Any]]:
    status = requests.get(f"{flow.http_url}/status", timeout=30).json()
    found: list[dict[str, Any]] = status["stages"]["embed"]["replicas"]
    return sorted(found, key=lambda each: str(each["replica"]))


def visible_to(pid: int) -> str:
    """Return the `CUDA_VISIBLE_DEVICES` with which a process was started."""
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(each.decode().partition("=")[2] for each in variables if each.startswith(b"CUDA_VISIBLE_DEVICES="))


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("RR", ["0", "1", "2"]),
        ("RR0:2", ["0", "1", "0"]),
        ("RR1,3", ["1", "3", "1"]),
        (f"RR{UUIDS[2]},{UUIDS[0]}", [UUIDS[2], UUIDS[0], UUIDS[2]]),
    ],
)
def test_each_replicas_triton_sees_its_gpu_and_no_other(
    triton_installation: object, tmp_path: Path, form: str, expected: list[str]
) -> None:
    with running_flow(tmp_path / "flow", 2, flow_with_devices(tmp_path, form), **simulated_gpus(tmp_path)) as flow:
        reports = replicas(flow)
        assert [each["replica"] for each in reports] == ["embed/rep-0", "embed/rep-1", "embed/rep-2"]
        assert [visible_to(each["server"]["pid"]) for each in reports] == expected
        assert len({each["server"]["url"] for each in reports}) == 3


def test_gpus_named_by_the_environment_are_what_there_is(triton_installation: object, tmp_path: Path) -> None:
    environment = simulated_gpus(tmp_path, CUDA_VISIBLE_DEVICES="2,3")
    with running_flow(tmp_path / "flow", 1, TRITON_FLOW, **environment) as flow:
        assert [visible_to(each["server"]["pid"]) for each in replicas(flow)] == ["2", "3", "2"]


def test_without_a_gpu_replicas_run_on_the_cpu(triton_installation: object, tmp_path: Path) -> None:
    environment = simulated_gpus(tmp_path, VS_REPLICAS="2") | {"PATH": path_with_gpus(tmp_path / "none", 0)}
    # The stand-in says, as the real one does, that there are none.
    (tmp_path / "none" / "nvidia-smi").write_text("#!/bin/sh\necho 'No devices were found'\nexit 6\n")
    with running_flow(tmp_path / "flow", 1, TRITON_FLOW, **environment) as flow:
        reports = replicas(flow)
        assert [each["server"]["device"] for each in reports] == ["cpu", "cpu"]
        assert [visible_to(each["server"]["pid"]) for each in reports] == ["", ""]
