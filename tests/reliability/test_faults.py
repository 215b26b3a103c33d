"""When a part of the flow dies, a user gets an error with a code or an answer marked as partial, never silence."""

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.flows.api import Api, unit_vectors
from tests.support.flows.commands import wait_for
from tests.support.flows.flow import RunningFlow, answered_status, kill_flow, running_flow, start_flow, wait_until


@pytest.fixture
def flow(tmp_path: Path, models_dir: Path) -> Iterator[RunningFlow]:
    started = start_flow(tmp_path)
    try:
        wait_until(started)
        yield started
    finally:
        kill_flow(started)


def kill(flow: RunningFlow, name: str) -> None:
    pids = flow.pids_of(name)
    assert pids, f"no process {name} in the log"
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def test_a_missing_shard_is_refused_or_flagged(flow: RunningFlow) -> None:
    api = Api(flow.http_url, "images")
    vectors = unit_vectors(40)
    for n, vector in enumerate(vectors):
        api.index_vectors({str(n): vector})
    kill(flow, "index/shard-1")

    assert api.refused("/search", [{"embedding": vectors[0].tolist()}], limit=40) == (503, "shard_missing")
    answer = api.post("/search", [{"embedding": vectors[0].tolist()}], limit=40, allow_partial=True).json()
    assert answer["parameters"]["partial"] is True
    assert answer["parameters"]["shards"] == {"total": 2, "answered": 1}
    assert 0 < len(answer["data"][0]["matches"]) < 40

    assert api.refused("/get", [{"id": "0"}]) == (503, "shard_missing")
    assert api.refused("/delete", [{"id": "0"}]) == (503, "shard_missing")
    assert api.refused("/index", [{"id": "0", "embedding": vectors[1].tolist()}])[0] == 503
    full = requests.get(f"{flow.http_url}/health/full", timeout=30)
    assert full.status_code == 503
    assert full.json()["stages"]["index"]["ok"] is False
    assert full.json()["stages"]["embed"]["ok"] is True
    assert requests.get(f"{flow.http_url}/status", timeout=30).json()["index"]["missing"] == [1]


def test_a_dead_embedding_stage_is_named_and_the_index_goes_on(flow: RunningFlow, one_picture: bytes) -> None:
    api = Api(flow.http_url, "images")
    api.index_vectors({"a": unit_vectors(1)[0]})
    kill(flow, "embed/rep-0")
    kill(flow, "embed/rep-1")
    answer = requests.post(f"{flow.http_url}/search", files=[("file", ("q", one_picture))], timeout=30)
    assert answer.status_code == 503
    error = answer.json()["error"]
    assert (error["code"], error["details"]["stage"]) == ("unavailable", "embed")
    assert api.ok("/search", [{"embedding": unit_vectors(1)[0].tolist()}])[0]["matches"][0]["id"] == "a"
    assert api.ok("/get", [{"id": "a"}])[0]["error"] is None
    assert api.ok("/delete", [{"id": "a"}])[0]["result"] == "deleted"
    assert answered_status(f"{flow.http_url}/status") == 200
    full = requests.get(f"{flow.http_url}/health/full", timeout=30)
    assert (full.status_code, full.json()["stages"]["embed"]["ok"]) == (503, False)


def test_a_replica_killed_under_load_costs_no_request(flow: RunningFlow, pictures: list[bytes]) -> None:
    statuses: list[int] = []
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            files = [("file", ("q.jpg", pictures[len(statuses) % len(pictures)]))]
            statuses.append(requests.post(f"{flow.http_url}/search", files=files, timeout=60).status_code)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(statuses) > 8, 60)
    kill(flow, "embed/rep-1")
    asked = len(statuses)
    wait_for(lambda: len(statuses) > asked + 20, 60)
    stop.set()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200}


def test_acknowledged_documents_survive_kill_9_of_the_whole_flow(tmp_path: Path, models_dir: Path) -> None:
    vectors = unit_vectors(64, seed=12)
    acknowledged: dict[str, int] = {}
    for cycle in range(2):
        flow = start_flow(tmp_path)
        wait_until(flow)
        api = Api(flow.http_url, "images")
        for n in range(cycle * 32, cycle * 32 + 32, 4):
            answers = api.index_vectors({str(m): vectors[m] for m in range(n, n + 4)}, tags={"cycle": cycle})
            acknowledged.update({each["id"]: cycle for each in answers})
        if cycle:
            api.ok("/delete", [{"id": "0"}])
            acknowledged.pop("0")
        kill_flow(flow)
    with running_flow(tmp_path) as flow:
        api = Api(flow.http_url, "images")
        found = {match["id"]: match["tags"]["cycle"] for match in api.search_vector(vectors[1], limit=1000)}
        assert found == acknowledged
        for n in (1, 40, 63):
            best = api.search_vector(vectors[n], limit=1)[0]
            assert (best["id"], best["score"]) == (str(n), pytest.approx(1, abs=1e-6))
        assert requests.post(f"{flow.http_url}/verify", json={}, timeout=60).json()["ok"] is True


@pytest.mark.parametrize("loss", ["empty", "foreign"])
def test_a_shard_that_comes_up_empty_or_foreign_is_refused(tmp_path: Path, models_dir: Path, loss: str) -> None:
    vectors = unit_vectors(8)
    with running_flow(tmp_path / "a") as flow:
        Api(flow.http_url, "images").index_vectors({str(n): vector for n, vector in enumerate(vectors)})
    shard = tmp_path / "a" / "index" / "shard-1"
    shutil.rmtree(shard)
    if loss == "foreign":
        with running_flow(tmp_path / "b"):
            pass
        shutil.copytree(tmp_path / "b" / "index" / "shard-1", shard)
    flow = start_flow(tmp_path / "a")
    try:
        wait_until(flow, "/health/live")
        api = Api(flow.http_url, "images")
        assert api.refused("/search", [{"embedding": vectors[0].tolist()}]) == (503, "shard_identity")
        assert api.refused("/index", [{"id": "new", "embedding": vectors[0].tolist()}]) == (503, "shard_identity")
        assert answered_status(f"{flow.http_url}/health/ready") == 503
        assert answered_status(f"{flow.http_url}/health/full") == 503
        assert "shard_identity" in flow.log
    finally:
        kill_flow(flow)


def test_shards_may_be_added_but_not_taken_away(tmp_path: Path, models_dir: Path) -> None:
    vectors = unit_vectors(12)
    with running_flow(tmp_path, shards=2) as flow:
        for n in range(6):
            Api(flow.http_url, "images").index_vectors({str(n): vectors[n]})
    with running_flow(tmp_path, shards=3) as flow:
        api = Api(flow.http_url, "images")
        for n in range(6, 12):
            api.index_vectors({str(n): vectors[n]})
        assert {match["id"] for match in api.search_vector(vectors[0], limit=50)} == {str(n) for n in range(12)}
        documents = [
            s["documents"] for s in requests.get(f"{flow.http_url}/status", timeout=30).json()["index"]["shards"]
        ]
        assert sum(documents) == 12
        assert documents[2] > 0
    flow = start_flow(tmp_path, VS_SHARDS="2")
    try:
        wait_until(flow, "/health/live")
        assert Api(flow.http_url, "images").refused("/search", [{"embedding": vectors[0].tolist()}]) == (
            503,
            "shard_identity",
        )
    finally:
        kill_flow(flow)


def test_a_flood_is_refused_quickly_and_the_flow_recovers(tmp_path: Path, models_dir: Path, one_picture: bytes) -> None:
    with running_flow(tmp_path, VS_MAX_CONCURRENCY="2") as flow:
        statuses: list[int] = []
        retry_after: list[str | None] = []

        def ask() -> None:
            answer = requests.post(
                f"{flow.http_url}/search", files=[("file", (f"q{n}", one_picture)) for n in range(8)], timeout=60
            )
            statuses.append(answer.status_code)
            retry_after.append(answer.headers.get("Retry-After"))

        threads = [threading.Thread(target=ask) for _ in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(statuses) <= {200, 429}
        assert statuses.count(200) >= 2
        assert statuses.count(429) >= 1
        assert all(after == "1" for status, after in zip(statuses, retry_after, strict=True) if status == 429)
        assert answered_status(f"{flow.http_url}/health/full") == 200
        assert (
            requests.post(f"{flow.http_url}/search", files=[("file", ("q", one_picture))], timeout=60).status_code
            == 200
        )


def test_a_hung_replica_is_given_up_and_another_one_answers(
    tmp_path: Path, models_dir: Path, one_picture: bytes
) -> None:
    flow = start_flow(tmp_path, VS_TIMEOUT_MS="6000")
    try:
        wait_until(flow)
        for pid in flow.pids_of("embed/rep-1"):
            os.kill(pid, signal.SIGSTOP)
        for _ in range(3):
            answer = requests.post(f"{flow.http_url}/search", files=[("file", ("q", one_picture))], timeout=30)
            assert answer.status_code == 200, answer.text
    finally:
        kill_flow(flow)


def test_a_hung_stage_is_a_coded_error_within_the_deadline(
    tmp_path: Path, models_dir: Path, one_picture: bytes
) -> None:
    flow = start_flow(tmp_path, VS_TIMEOUT_MS="3000")
    try:
        wait_until(flow)
        (pid,) = flow.pids_of("preprocess/rep-0")
        os.kill(pid, signal.SIGSTOP)
        answer = requests.post(f"{flow.http_url}/search", files=[("file", ("q", one_picture))], timeout=30)
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
        os.kill(pid, signal.SIGCONT)
        answer = requests.post(f"{flow.http_url}/search", files=[("file", ("q", one_picture))], timeout=30)
        assert answer.status_code == 200, answer.text
    finally:
        kill_flow(flow)
