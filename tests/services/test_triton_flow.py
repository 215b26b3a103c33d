"""The whole flow over real Triton servers: managed and remote, missing, wrong, killed; nothing hangs, multiplies, or lies."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import requests

from executors.models.repository import load_spec
from executors.triton.installation import Installation
from tests.support.api import Api
from tests.support.flow import TRITON_FLOW, RunningFlow, answered_status, running_flow, start_flow, stop_flow
from tests.support.flow import wait_until as wait_for_flow
from tests.support.models import TINY, tiny_config, tiny_model, write_entry
from tests.support.pictures import encode, scene
from tests.support.triton_server import RawTriton

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]

MODEL = "efficientnet-lite0"
T = TypeVar("T")


def embed_reports(flow: RunningFlow) -> list[dict[str, Any]]:
    status = requests.get(f"{flow.http_url}/status", timeout=30).json()
    found: list[dict[str, Any]] = status["stages"]["embed"]["replicas"]
    return found


def full_health(flow: RunningFlow) -> tuple[int, dict[str, Any]]:
    answer = requests.get(f"{flow.http_url}/health/full", timeout=30)
    return answer.status_code, answer.json()["stages"]["embed"]


def send(flow: RunningFlow, picture: bytes, name: str = "p.jpg", endpoint: str = "/embed") -> requests.Response:
    return requests.post(f"{flow.http_url}{endpoint}", files={"file": (name, picture)}, timeout=60)


def eventually(condition: Callable[[], T], seconds: float = 40.0) -> T:
    """Wait until `condition()` is true, and return what it gave."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not become true in time")


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


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
    assert all(send(managed, encode(scene(1))).status_code == 200 for _ in range(4))


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


def descendants(pid: int) -> list[int]:
    """Processes that a process started, and those that these started."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found = list(children.get(pid, []))
    for each in found:
        found += children.get(each, [])
    return found


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
        time.sleep(2)
        assert answered_status(f"{flow.http_url}/health/ready") != 200
        everything = descendants(flow.process.pid)
        flow.process.send_signal(how)
        flow.process.wait(30)
        eventually(lambda: all(gone(pid) for pid in everything), 10)
    finally:
        stop_flow(flow)


@contextmanager
def running_triton(server: RawTriton) -> Iterator[RawTriton]:
    """Ready, and gone at the end."""
    server.start()
    try:
        server.wait_ready()
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def two_servers(
    triton_installation: Installation, models_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RawTriton, RawTriton]]:
    folder = tmp_path_factory.mktemp("servers")
    with (
        running_triton(RawTriton(triton_installation, models_dir, [MODEL], folder / "first.log")) as first,
        running_triton(RawTriton(triton_installation, models_dir, [MODEL], folder / "second.log")) as second,
    ):
        yield first, second


def remote(*servers: str, **environment: str) -> dict[str, str]:
    return {"VS_EMBED_BACKEND": "triton", "VS_TRITON_URLS": ",".join(servers), **environment}


def test_replicas_prefer_servers_in_turn_and_fall_over_without_a_failed_request(
    triton_installation: Installation, models_dir: Path, tmp_path: Path
) -> None:
    with (
        running_triton(RawTriton(triton_installation, models_dir, [MODEL], tmp_path / "first.log")) as first,
        running_triton(RawTriton(triton_installation, models_dir, [MODEL], tmp_path / "second.log")) as second,
        running_flow(tmp_path, 1, **remote(first.url, second.url)) as flow,
    ):
        assert [each["endpoints"][0]["url"] for each in embed_reports(flow)] == [first.url, second.url]
        pictures = [encode(scene(seed)) for seed in range(8)]
        with ThreadPoolExecutor(8) as callers:
            answers = [callers.submit(send, flow, pictures[n % 8]) for n in range(200)]
            eventually(lambda: sum(each.done() for each in answers) > 40)
            second.kill()
            statuses = [each.result().status_code for each in answers]
        assert statuses == [200] * 200
        status, stage = full_health(flow)
        assert status == 503
        assert {each["url"] for each in stage["error"]["details"]["endpoints"]} == {second.url}


def test_it_does_not_matter_which_starts_first(
    triton_installation: Installation, models_dir: Path, tmp_path: Path
) -> None:
    server = RawTriton(triton_installation, models_dir, [MODEL], tmp_path / "triton.log")
    flow = start_flow(tmp_path, **remote(server.url))
    try:
        wait_for_flow(flow, "/health/live")
        assert answered_status(f"{flow.http_url}/health/ready") == 503
        refused = send(flow, encode(scene(0)))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
        assert server.url in refused.text
        with running_triton(server):
            wait_for_flow(flow)
            assert send(flow, encode(scene(0))).status_code == 200
        # Alone and gone: an error at once, not after a deadline, and again without a restart when it is back.
        eventually(lambda: full_health(flow)[0] == 503)
        started = time.monotonic()
        refused = send(flow, encode(scene(0)))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
        assert time.monotonic() - started < 5
        with running_triton(server):
            eventually(lambda: full_health(flow)[0] == 200)
            assert send(flow, encode(scene(0))).status_code == 200
    finally:
        assert stop_flow(flow) == 0


def test_a_server_with_another_model_stops_the_start_and_says_what_differs(
    triton_installation: Installation, tmp_path: Path
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    expected = write_entry(ours, tiny_model())
    write_entry(theirs, tiny_model(dimension=5), tiny_config(dimension=5))
    with running_triton(RawTriton(triton_installation, theirs, [TINY], tmp_path / "triton.log")) as server:
        flow = start_flow(tmp_path / "flow", **remote(server.url, VS_MODELS_DIR=str(ours), VS_MODEL=TINY))
        try:
            assert flow.process.wait(60) == 1
        finally:
            stop_flow(flow)
    line = next(line for line in flow.log.splitlines() if "the stage 'embed' can't start" in line)
    assert server.url in line
    assert expected.model_id in line or "dimension" in line or "[5]" in line, line
    assert "Traceback" not in flow.log


def test_other_weights_of_the_same_dimension_never_reach_the_index(
    triton_installation: Installation, tmp_path: Path
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    write_entry(ours, tiny_model(seed=0))
    write_entry(theirs, tiny_model(seed=1))
    server = RawTriton(triton_installation, ours, [TINY], tmp_path / "triton.log")
    environment = remote(server.url, VS_MODELS_DIR=str(ours), VS_MODEL=TINY)
    flow = start_flow(tmp_path / "flow", **environment)
    try:
        with running_triton(server):
            wait_for_flow(flow)
            assert send(flow, encode(scene(0)), "a.jpg", "/index").status_code == 200
        server.repository = theirs
        with running_triton(server):

            def refused() -> bool:
                answer = send(flow, encode(scene(1)), "b.jpg", "/index")
                assert answer.status_code != 200, answer.text
                error = answer.json()["error"]
                assert error["code"] == "unavailable"
                reasons = [each["error"]["code"] for each in error["details"].get("endpoints", []) if each["error"]]
                return reasons == ["model_mismatch"]

            eventually(refused)
            listed = [
                model["state"] for each in embed_reports(flow) for model in each["endpoints"][0]["models"].values()
            ]
            assert listed == ["refused", "refused"]
        assert Api(flow.http_url, "images").ok("/get", [{"id": "a.jpg"}])[0]["error"] is None
    finally:
        stop_flow(flow)


def test_retries_never_multiply_with_jinas_own(triton_installation: Installation, tmp_path: Path) -> None:
    """A model that answers after the deadline: each server is asked at most once, by one replica, for one request."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    write_entry(ours, tiny_model())
    write_entry(theirs, tiny_model())
    slow = theirs / TINY / "slow"
    environment = remote(VS_MODELS_DIR=str(ours), VS_MODEL=TINY, VS_TRITON_TIMEOUT_MS="1000", VS_TIMEOUT_MS="30000")
    make_slow_on_demand(theirs, slow)
    with (
        running_triton(RawTriton(triton_installation, theirs, [TINY], tmp_path / "first.log")) as first,
        running_triton(RawTriton(triton_installation, theirs, [TINY], tmp_path / "second.log")) as second,
    ):
        environment["VS_TRITON_URLS"] = f"{first.url},{second.url}"
        with running_flow(tmp_path / "flow", 1, **environment) as flow:
            calls = slow.with_name("calls")
            before = set(calls.read_text().split())
            assert send(flow, encode(scene(1))).status_code == 200
            (ours_only,) = set(calls.read_text().split()) - before
            calls.write_text("")
            slow.touch()
            answer = send(flow, encode(scene(1)))
            assert answer.status_code in (503, 504), answer.text
            time.sleep(4)  # whatever was sent is written down by then
            assert calls.read_text().split().count(ours_only) == 2


def make_slow_on_demand(models_dir: Path, switch: Path) -> None:
    """Serve the tiny model by a Python model that writes down each call, and takes 3 s while `switch` is there."""
    entry = models_dir / TINY
    config = (entry / "config.pbtxt").read_text("utf-8").replace('backend: "onnxruntime"', 'backend: "python"')
    (entry / "config.pbtxt").write_text(config, "utf-8")
    (entry / "1" / "model.py").write_text(SLOW_MODEL.format(switch=str(switch), calls=str(switch.with_name("calls"))))


SLOW_MODEL = """
import os, time, zlib
import numpy as np
import onnxruntime
import triton_python_backend_utils as pb


class TritonPythonModel:
    def initialize(self, args):
        path = os.path.join(args["model_repository"], args["model_version"], "model.onnx")
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def execute(self, requests):
        answers = []
        for request in requests:
            pictures = pb.get_input_tensor_by_name(request, "image").as_numpy()
            with open({calls!r}, "a") as calls:
                calls.write(f"{{zlib.crc32(pictures.tobytes())}}\\n")
            if os.path.exists({switch!r}):
                time.sleep(3)
            vectors = self.session.run(["embedding"], {{"image": pictures}})[0]
            answers.append(pb.InferenceResponse([pb.Tensor("embedding", vectors)]))
        return answers
"""


def test_callers_that_hang_up_free_their_slots(
    two_servers: tuple[RawTriton, RawTriton], models_dir: Path, tmp_path: Path
) -> None:
    with running_flow(tmp_path, 1, **remote(two_servers[0].url, VS_TRITON_IN_FLIGHT="2")) as flow:
        picture = encode(scene(0))
        for _ in range(20):
            with pytest.raises(requests.exceptions.RequestException):
                requests.post(f"{flow.http_url}/embed", files={"file": ("p.jpg", picture)}, timeout=0.005)

        def idle() -> bool:
            return all(each["endpoints"][0]["in_flight"] == 0 for each in embed_reports(flow))

        eventually(idle)
        assert send(flow, picture).status_code == 200


def test_the_model_id_of_vectors_is_the_servers_own(
    two_servers: tuple[RawTriton, RawTriton], models_dir: Path, tmp_path: Path
) -> None:
    with running_flow(tmp_path, 1, **remote(two_servers[1].url)) as flow:
        answer = send(flow, encode(scene(0))).json()["data"][0]
        assert answer["model_id"] == load_spec(models_dir, MODEL).model_id
        endpoint = embed_reports(flow)[0]["endpoints"][0]
        assert {"in_flight", "p50_ms", "inputs_per_call", "retries", "breaker"} <= set(endpoint)
