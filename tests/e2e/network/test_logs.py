"""The log of a real flow has the project's own lines, and the id of a request in every process that works on it."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from docarray import DocList
from jina import Client
from jina.excepts import BadServer

from executors.documents import ImageDoc
from tests.support.flows.api import Api, unit_vectors
from tests.support.flows.flow import FLOW, ROOT, RunningFlow, running_flow

_LINE = re.compile(r"\S+Z (?P<name>\S+?)@\d+\[(?P<level>.)\](\[(?P<request_id>\S+)\])?:(?P<message>.*)")


@dataclass
class Line:
    name: str
    level: str
    message: str
    request_id: str | None = None


def lines_of(flow: RunningFlow) -> list[Line]:
    """The log as lines; those that only go on with a traceback are left out."""
    found = []
    for text in flow.log.splitlines():
        if text.startswith("{"):
            line = json.loads(text)
            found.append(Line(line["name"], line["level"][0], line["message"], line.get("request_id")))
        elif match := _LINE.match(text):
            found.append(Line(match["name"], match["level"], match["message"], match["request_id"]))
    return found


def wait_for(flow: RunningFlow, text: str) -> None:
    deadline = time.monotonic() + 60
    while text not in flow.log:
        assert time.monotonic() < deadline, flow.log
        time.sleep(0.1)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_graph_that_is_rebuilt_or_saved_is_logged(tmp_path: Path, models_dir: Path, log_format: str) -> None:
    with running_flow(tmp_path, shards=1, VS_GRAPH_FROM="100", VS_LOG_FORMAT=log_format) as flow:
        api = Api(flow.http_url, "images")
        api.index_vectors({str(number): vector for number, vector in enumerate(unit_vectors(1_500))})
        api.ok("/delete", [{"id": str(number)} for number in range(400)])
        wait_for(flow, "rebuilt in")
    lines = lines_of(flow)
    for message in (r"collection 1: graph of \d+ documents rebuilt in ", r"graph of collection 1 saved: \d+ rows"):
        (line,) = [each for each in lines if re.match(message, each.message)]
        assert (line.name, line.level, line.request_id) == ("index/rep-0", "I", None)


@pytest.fixture(scope="module", params=["text", "json"])
def broken(
    tmp_path_factory: pytest.TempPathFactory, models_dir: Path, request: pytest.FixtureRequest
) -> Iterator[RunningFlow]:
    """A flow of two shards whose preprocess fails."""
    folder = tmp_path_factory.mktemp("broken")
    flow_file = folder / "broken.yml"
    stage = "executors.preprocess.executor.ImagePreprocessor"
    flow_file.write_text(FLOW.read_text().replace(stage, "tests.support.flows.broken_stage.BrokenPreprocessor"))
    with running_flow(folder, flow=flow_file, VS_LOG_FORMAT=request.param, PYTHONPATH=str(ROOT)) as flow:
        yield flow


def check_lines(flow: RunningFlow, request_id: str) -> None:
    """The failure of a request is logged with its id by the gateway, and by the stage from a thread."""
    told = [(line.name, line.message) for line in lines_of(flow) if line.request_id == request_id]
    for name, message in (
        ("preprocess/rep-0", "preprocess: defect: RuntimeError('the picture is too beautiful')"),
        ("gateway/rep-0", "/search: BrokenPreprocessor: RuntimeError('the whole request, too')"),
    ):
        assert any(each == name and text.startswith(message) for each, text in told), (name, message, told)


def test_the_id_of_a_request_over_http_is_logged_by_all_that_work_on_it(
    broken: RunningFlow, one_picture: bytes
) -> None:
    answer = requests.post(
        f"{broken.http_url}/search",
        data=one_picture,
        headers={"Content-Type": "image/jpeg", "X-Request-Id": "http-17"},
        timeout=30,
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    assert answer.headers["X-Request-Id"] == "http-17"
    check_lines(broken, "http-17")


def test_the_id_of_a_request_over_grpc_is_logged_by_all_that_work_on_it(
    broken: RunningFlow, one_picture: bytes
) -> None:
    with pytest.raises(BadServer) as failure:
        Client(host=broken.grpc_url).post(
            "/search", DocList[ImageDoc]([ImageDoc(blob=one_picture)]), metadata=(("x-request-id", "grpc-17"),)
        )
    assert failure.value.args[0].request_id == "grpc-17"
    check_lines(broken, "grpc-17")


@pytest.mark.parametrize(("calls", "teller"), [("direct", "gateway/rep-0"), ("jina", "index/head")])
def test_what_misses_a_shard_logs_the_id(calls: str, teller: str, tmp_path: Path, models_dir: Path) -> None:
    with running_flow(tmp_path, VS_STAGE_CALLS=calls) as flow:
        (pid,) = flow.pids_of("index/shard-1")

        os.kill(pid, signal.SIGKILL)
        answer = requests.post(f"{flow.http_url}/count", json={}, headers={"X-Request-Id": "count-17"}, timeout=30)
        assert answer.json()["error"]["code"] == "shard_missing"
        wait_for(flow, "is left out")
    told = [line.name for line in lines_of(flow) if line.request_id == "count-17"]
    assert teller in told


def test_each_answer_has_an_id_and_a_bad_one_is_replaced(flow: RunningFlow) -> None:
    def id_of(path: str, **headers: str) -> str:
        return requests.get(flow.http_url + path, headers=headers, timeout=30).headers["X-Request-Id"]

    first, second = id_of("/status"), id_of("/nowhere")
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert first != second
    assert id_of("/health/live", **{"X-Request-Id": "mine"}) == "mine"
    assert id_of("/status", **{"X-Request-Id": "refused", "Host": "evil.example"}) == "refused"
    assert id_of("/status", **{"X-Request-Id": "two words"}) != "two words"
    assert id_of("/status", **{"X-Request-Id": "x" * 129}) != "x" * 129
