"""A stage that a flow file adds takes part in everything, without a change of the gateway."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import requests

from tests.support.flows.flow import FLOW, ROOT, running_flow, start_flow, stop_flow

STAGE = """\
  - name: audit
    uses: tests.support.flows.pass_through.PassThrough
    host: 127.0.0.1
    quiet_error: true
"""


def with_stage(tmp_path: Path, stage: str) -> Path:
    """The default flow file with a stage before its index."""
    before, index, after = FLOW.read_text().partition("  - name: index\n")
    assert index
    file = tmp_path / "flow.yml"
    file.write_text(before + stage + index + after)
    return file


@pytest.mark.usefixtures("models_dir")
def test_the_log_names_an_endpoint_that_a_further_stage_lacks(tmp_path: Path) -> None:
    file = with_stage(tmp_path, STAGE.replace("PassThrough", "WithoutEndpoints"))
    flow = start_flow(tmp_path, flow=file, VS_REPLICAS="1", PYTHONPATH=str(ROOT))
    try:
        assert flow.process.wait(60) != 0
    finally:
        stop_flow(flow)
    (line,) = [line for line in flow.log.splitlines() if "the gateway can't start" in line]
    assert "audit does not expose" in line


@pytest.mark.usefixtures("models_dir")
def test_a_further_stage_is_passed_shown_and_named_when_it_is_dead(tmp_path: Path, one_picture: bytes) -> None:
    file = with_stage(tmp_path, STAGE)
    with running_flow(tmp_path, shards=2, flow=file, VS_REPLICAS="1", PYTHONPATH=str(ROOT)) as flow:
        body = {"data": [{"id": "a", "embedding": [1.0] * 1280}]}
        assert requests.post(f"{flow.http_url}/index", json=body, timeout=30).status_code == 200
        answer = requests.post(f"{flow.http_url}/search", json={"data": [{"embedding": [1.0] * 1280}]}, timeout=30)
        # A document that brings its vector goes past the stages that declare that they would only check it.
        assert list(answer.json()["parameters"]["took_ms"]) == ["audit", "index", "total"]
        answer = requests.post(f"{flow.http_url}/search", files=[("file", ("q", one_picture))], timeout=30)
        assert list(answer.json()["parameters"]["took_ms"]) == ["preprocess", "embed", "audit", "index", "total"]

        stages = requests.get(f"{flow.http_url}/status", timeout=30).json()["stages"]
        assert list(stages) == ["preprocess", "embed", "audit"]
        assert stages["audit"]["passed"] == 3
        health = requests.get(f"{flow.http_url}/health/full", timeout=30)
        assert health.status_code == 200
        assert list(health.json()["stages"]) == ["preprocess", "embed", "audit", "index"]

        (process,) = flow.pids_of("audit")
        os.kill(process, signal.SIGKILL)
        health = requests.get(f"{flow.http_url}/health/full", timeout=30)
        state = health.json()["stages"]
        assert (health.status_code, state["audit"]["error"]["code"]) == (503, "unavailable")
        assert state["embed"]["ok"]
        assert requests.get(f"{flow.http_url}/status", timeout=30).json()["silent"] == ["audit/rep-0"]
        refused = requests.post(f"{flow.http_url}/index", json=body, timeout=30)
        assert refused.status_code == 503
        assert refused.json()["error"]["details"]["stage"] == "audit"
