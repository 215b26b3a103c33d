"""Forms of round-robin that name no GPU stop the start, in one line; Jina would run on the CPU, or show its insides."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.flows.flow import FLOW, TRITON_FLOW, start_flow, stop_flow
from tests.support.flows.gpus import flow_with_devices, simulated_gpus


@pytest.mark.parametrize("form", ["RR9:", "RR7,9", "RRfirst"])
def test_a_gpu_that_is_not_there_stops_the_start(tmp_path: Path, form: str) -> None:
    environment = simulated_gpus(tmp_path, VS_EMBED_BACKEND="onnx")
    flow = start_flow(tmp_path / "flow", flow_with_devices(tmp_path, form), **environment)
    try:
        assert flow.process.wait(60) == 1
        assert "error: invalid_setting: CUDA_VISIBLE_DEVICES" in flow.log
        assert "Traceback" not in flow.log
    finally:
        stop_flow(flow)


def test_the_triton_flow_differs_from_the_plain_one_by_its_backend_only() -> None:
    def essence(path: Path) -> list[str]:
        return [
            line for line in path.read_text("utf-8").splitlines() if line.strip() and not line.strip().startswith("#")
        ]

    plain, triton = essence(FLOW), essence(TRITON_FLOW)
    added = [line for line in triton if line not in plain]
    assert [line.strip() for line in added] == ["name: image-search-triton", "uses_with:", "backend: managed-triton"]
    assert [line for line in plain if line not in triton] == ["  name: image-search"]
