"""Processes that freeze or die: the log and the status name them, and the rest of the flow goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.flows.api import Api, unit_vectors
from tests.support.flows.flow import RunningFlow, kill_flow, processes_of_group, running_flow, start_flow, wait_until

CLI = str(Path(sys.executable).with_name("visual-search"))


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[RunningFlow]:
    """A flow that these tests share: what they freeze they wake up again; the last ones kill for good."""
    started = start_flow(tmp_path_factory.mktemp("processes"))
    try:
        wait_until(started)
        Api(started.http_url, "images").index_vectors({str(n): vector for n, vector in enumerate(unit_vectors(8))})
        yield started
    finally:
        kill_flow(started)


@pytest.fixture
def frozen(flow: RunningFlow, request: pytest.FixtureRequest) -> Iterator[str]:
    """A process that does not answer as long as the test runs; its name is the parameter."""
    pids = flow.pids_of(request.param)
    assert len(pids) == 1
    os.kill(pids[0], signal.SIGSTOP)
    yield request.param
    os.kill(pids[0], signal.SIGCONT)
    wait_until(flow, "/health/full")


def search(flow: RunningFlow, picture: bytes) -> requests.Response:
    return requests.post(f"{flow.http_url}/search", files=[("file", ("q", picture))], timeout=60)


def told_by_status(flow: RunningFlow) -> tuple[int, list[str], str]:
    """The exit status of `visual-search status`, what it says is silent, and all that it says."""
    done = subprocess.run(
        [CLI, "status", "--url", flow.http_url], capture_output=True, text=True, timeout=60, check=False
    )
    silent = [line.removesuffix(" does not answer") for line in done.stdout.splitlines() if "does not answer" in line]
    return done.returncode, silent, done.stdout


def test_a_sound_flow_is_told_as_such(flow: RunningFlow) -> None:
    status, silent, told = told_by_status(flow)
    assert (status, silent) == (0, [])
    assert "8 documents" in told


@pytest.mark.parametrize("frozen", ["embed/rep-1"], indirect=True)
def test_a_frozen_replica_is_left_out_after_the_first_request(
    flow: RunningFlow, frozen: str, one_picture: bytes
) -> None:
    answers = [search(flow, one_picture) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 6
    # One of them met it and waited; the others were sent past it.
    assert flow.log.count(f"{frozen} (127.0.0.1:") == flow.log.count("does not answer and is left out") == 1
    full = requests.get(f"{flow.http_url}/health/full", timeout=30)
    assert full.status_code == 503
    assert full.json()["stages"]["embed"]["error"]["details"]["replicas"]["silent"] == [frozen]
    assert told_by_status(flow)[:2] == (3, [frozen])


@pytest.mark.parametrize("frozen", ["index/shard-0/rep-0"], indirect=True)
def test_a_frozen_shard_is_named_alone_and_its_documents_are_not_counted_as_none(
    flow: RunningFlow, frozen: str
) -> None:
    full = requests.get(f"{flow.http_url}/health/full", timeout=30).json()["stages"]
    assert (full["preprocess"]["ok"], full["embed"]["ok"], full["index"]["ok"]) == (True, True, False)
    assert full["index"]["error"]["details"]["silent"] == ["index/shard-0"]
    index = requests.get(f"{flow.http_url}/status", timeout=30).json()["index"]
    assert index["missing"] == [0]
    assert index["documents"] is None
    assert index["documents_counted"] == sum(shard["documents"] for shard in index["shards"])
    assert [each["documents"] for each in index["collections"]] == [None]
    status, silent, told = told_by_status(flow)
    assert (status, silent) == (3, ["index/shard-0"])
    assert "an unknown number of documents" in told
    part = Api(flow.http_url, "images").post(
        "/search", [{"embedding": unit_vectors(1)[0].tolist()}], limit=8, allow_partial=True
    )
    assert part.json()["parameters"]["shards"] == {"total": 2, "answered": 1}


@pytest.mark.parametrize("frozen", ["preprocess/rep-0"], indirect=True)
def test_another_frozen_process_is_named_and_no_shard_is_blamed(flow: RunningFlow, frozen: str) -> None:
    assert told_by_status(flow)[:2] == (3, [frozen])
    assert requests.get(f"{flow.http_url}/status", timeout=30).json()["index"]["missing"] == []


def test_a_frozen_head_or_merge_is_named_and_no_shard_is_blamed(tmp_path: Path, models_dir: Path) -> None:
    with running_flow(tmp_path, VS_STAGE_CALLS="jina") as flow:
        for name in ("index/head", "index/uses_after-0"):
            (pid,) = flow.pids_of(name)
            os.kill(pid, signal.SIGSTOP)
            assert told_by_status(flow)[:2] == (3, [name])
            assert requests.get(f"{flow.http_url}/status", timeout=30).json()["index"]["missing"] == []
            os.kill(pid, signal.SIGCONT)
            wait_until(flow, "/health/full")


def test_a_stage_that_dies_is_told_by_name_and_the_rest_goes_on(flow: RunningFlow) -> None:
    (pid,) = flow.pids_of("embed/rep-0")
    os.kill(pid, signal.SIGKILL)
    wait_for_log(flow, f"embed/rep-0 (process {pid}) was ended by SIGKILL")
    assert told_by_status(flow)[:2] == (3, ["embed/rep-0"])
    assert flow.process.poll() is None
    (pid,) = flow.pids_of("index/shard-1")
    os.kill(pid, signal.SIGKILL)
    wait_for_log(flow, "shard 1 is missing")
    assert told_by_status(flow)[:2] == (3, ["embed/rep-0", "index/shard-1"])
    assert flow.process.poll() is None


def test_without_its_gateway_a_flow_ends_with_an_error_and_leaves_nothing_behind(flow: RunningFlow) -> None:
    """The last one: it ends the flow that the others share, in which two processes are dead by now."""
    (pid,) = flow.pids_of("gateway")
    os.kill(pid, signal.SIGKILL)
    assert flow.process.wait(20) == 1
    assert f"gateway/rep-0 (process {pid}) was ended by SIGKILL" in flow.log
    assert "the flow ends, since it can't answer anything any more" in flow.log
    assert "Traceback" not in flow.log
    assert processes_of_group(flow.process.pid) == []


def test_serve_ends_with_an_error_when_the_index_is_lost_also_as_json(
    tmp_path: Path, models_dir: Path, one_picture: bytes
) -> None:
    flow = start_flow(tmp_path, command=[CLI, "serve"], VS_LOG_FORMAT="json", VS_TIMEOUT_MS="3000")
    try:
        wait_until(flow)
        lines = [json.loads(line) for line in flow.log.splitlines()]
        pid = next(line["process"] for line in lines if line["name"] == "preprocess/rep-0")
        os.kill(pid, signal.SIGSTOP)
        codes = {search(flow, one_picture).json()["error"]["code"] for _ in range(3)}
        assert codes <= {"deadline_exceeded", "unavailable"}
        for pid in {line["process"] for line in lines if line["name"].startswith("index/")}:
            os.kill(pid, signal.SIGKILL)
        # The frozen process is woken up to end.
        assert flow.process.wait(20) == 1
        assert processes_of_group(flow.process.pid) == []
        lines = [json.loads(line) for line in flow.log.splitlines()]
        assert all(line["time"] and line["message"] for line in lines)
        assert [line["message"] for line in lines if "trace" in line] == []
    finally:
        kill_flow(flow)


def wait_for_log(flow: RunningFlow, text: str) -> None:
    deadline = time.monotonic() + 15
    while text not in flow.log:
        assert time.monotonic() < deadline, flow.log[-2000:]
        time.sleep(0.1)
