"""The flow whose replicas each run a Triton of their own: it starts, serves, survives, and stops."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import requests

from executors.triton_server.installation import Installation
from tests.support.flows.flow import TRITON_FLOW, RunningFlow, answered_status, running_flow, start_flow, stop_flow
from tests.support.pictures.pictures import encode, scene
from tests.support.triton.triton_flows import descendants, embed_reports, eventually, full_health, gone, send

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def managed(
    triton_installation: Installation, models_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningFlow]:
    """The flow as `jina flow --uses flows/image-search-triton.yml` starts it."""
    with running_flow(tmp_path_factory.mktemp("managed"), 2, TRITON_FLOW) as flow:
        yield flow


def test_the_flow_file_alone_brings_a_real_triton_for_each_replica(managed: RunningFlow) -> None:
    reports = embed_reports(managed)
    assert [each["backend"] for each in reports] == ["managed-triton"] * 2
    assert len({each["server"]["pid"] for each in reports}) == 2
    assert full_health(managed)[0] == 200


def test_vectors_are_those_of_the_model_in_process(managed: RunningFlow, flow: RunningFlow) -> None:
    for seed in range(4):
        picture = encode(scene(seed))
        triton, onnx = (send(each, picture).json()["data"][0] for each in (managed, flow))
        assert triton["model_id"] == onnx["model_id"]
        assert float(np.dot(triton["embedding"], onnx["embedding"])) > 0.9999


def test_pictures_are_indexed_and_found(managed: RunningFlow) -> None:
    pictures = {f"{seed}.jpg": encode(scene(seed)) for seed in range(8)}
    for name, picture in pictures.items():
        assert send(managed, picture, name, "/index").json()["data"][0]["error"] is None
    for name, picture in pictures.items():
        assert send(managed, picture, name, "/search").json()["data"][0]["matches"][0]["id"] == name


def test_a_bad_picture_costs_no_neighbour(managed: RunningFlow) -> None:
    files = [("file", (f"{seed}.jpg", encode(scene(seed)))) for seed in range(5)]
    files.insert(2, ("file", ("bad.jpg", b"\xff\xd8\xff no picture")))
    answers = requests.post(f"{managed.http_url}/embed", files=files, timeout=60).json()["data"]
    assert [each["error"] is None for each in answers] == [True, True, False, True, True, True]


def test_single_pictures_of_many_callers_run_in_batches(managed: RunningFlow) -> None:
    with ThreadPoolExecutor(16) as callers:
        answers = list(callers.map(lambda seed: send(managed, encode(scene(seed))).status_code, range(96)))
    assert set(answers) == {200}
    inferences = executions = 0.0
    for report in embed_reports(managed):
        text = requests.get(report["server"]["metrics_url"], timeout=10).text
        for line in text.splitlines():
            if line.startswith("nv_inference_count{"):
                inferences += float(line.split()[-1])
            elif line.startswith("nv_inference_exec_count{"):
                executions += float(line.split()[-1])
    assert inferences >= 96
    assert executions < inferences


def test_a_managed_server_that_dies_is_back_without_a_restart_of_the_flow(managed: RunningFlow) -> None:
    victim = embed_reports(managed)[0]
    os.kill(victim["server"]["pid"], signal.SIGKILL)
    answers = [send(managed, encode(scene(1))) for _ in range(6)]
    for answer in answers:
        # The other replica answers; this one says at once what is the matter.
        assert answer.status_code == 200 or answer.json()["error"]["code"] == "unavailable", answer.text

    def back() -> bool:
        now = next(each for each in embed_reports(managed) if each["replica"] == victim["replica"])
        return bool(now["ready"]) and now["server"]["restarts"] == 1

    eventually(back)
    eventually(lambda: full_health(managed)[0] == 200)
    answers = [send(managed, encode(scene(1))) for _ in range(4)]
    assert [each.status_code for each in answers] == [200] * 4, [each.text for each in answers]


def test_a_managed_server_never_outlives_its_replica(
    triton_installation: Installation, models_dir: Path, tmp_path: Path
) -> None:
    with running_flow(tmp_path, 1, TRITON_FLOW) as flow:
        servers = [each["server"]["pid"] for each in embed_reports(flow)]
        for pid in flow.pids_of("embed/rep-0"):
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: sum(gone(pid) for pid in servers) == 1, 10)
        eventually(lambda: full_health(flow)[0] == 503)
        survivors = [pid for pid in servers if not gone(pid)]
    eventually(lambda: all(gone(pid) for pid in survivors), 10)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_flow_whose_servers_hang_while_they_start_can_be_stopped(
    triton_installation: Installation, models_dir: Path, tmp_path: Path, how: signal.Signals
) -> None:
    flow = start_flow(tmp_path, TRITON_FLOW)

    def servers() -> list[int]:
        found = []
        for pid in descendants(flow.process.pid):
            with suppress(OSError):
                found += [pid] * (Path(f"/proc/{pid}/comm").read_text() == "tritonserver\n")
        return found if len(found) == 2 else []

    try:
        frozen = eventually(servers)
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        eventually(lambda: answered_status(f"{flow.http_url}/health/ready") != 200)
        everything = descendants(flow.process.pid)
        flow.process.send_signal(how)
        flow.process.wait(30)
        eventually(lambda: all(gone(pid) for pid in everything), 10)
    finally:
        stop_flow(flow)
