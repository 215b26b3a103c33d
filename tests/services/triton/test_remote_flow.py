"""The flow over Triton servers of someone else: missing, wrong, killed; nothing hangs, multiplies, or lies."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from executors.models.repository import load_spec
from executors.triton_server.installation import Installation
from tests.support.flows.api import Api
from tests.support.flows.flow import answered_status, running_flow, start_flow, stop_flow
from tests.support.flows.flow import wait_until as wait_for_flow
from tests.support.models.models import TINY, tiny_config, tiny_model, write_entry
from tests.support.pictures.pictures import encode, scene
from tests.support.triton.triton_flows import embed_reports, eventually, full_health, send
from tests.support.triton.triton_server import RawTriton

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]

MODEL = "efficientnet-lite0"


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


def remote(*servers: str, **environment: str) -> dict[str, Any]:
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
        # Alone and gone: an error that is not one of a deadline, and again without a restart when it is back.
        eventually(lambda: full_health(flow)[0] == 503)
        refused = send(flow, encode(scene(0)))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
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

            def both_refused() -> bool:
                reports = embed_reports(flow)
                listed = [model["state"] for each in reports for model in each["endpoints"][0]["models"].values()]
                return listed == ["refused", "refused"]

            eventually(refused)
            # The other replica looks for itself, in its own time.
            eventually(both_refused)
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
            eventually(lambda: calls.read_text().split().count(ours_only) == 2)
            slow.unlink()
            assert send(flow, encode(scene(2))).status_code == 200  # the servers have done what was sent before
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
