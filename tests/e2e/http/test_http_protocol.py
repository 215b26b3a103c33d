"""HTTP around the documents: bodies, callers, health, reports and the description, against a real flow."""

import json
import socket
from pathlib import Path

import pytest
import requests

from tests.support.flows.api import Api, unit_vectors
from tests.support.flows.flow import RunningFlow, running_flow


@pytest.fixture
def api(flow: RunningFlow) -> Api:
    return Api(flow.http_url)


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b'{"data": [', "application/json", 400, "malformed_body"),
        (b"[1, 2]", "application/json", 400, "malformed_body"),
        (b'{"dta": []}', "application/json", 400, "malformed_body"),
        (b"\xff\xfe", "application/json", 400, "malformed_body"),
        (b"a,b", "text/csv", 415, "unsupported_media_type"),
        (b"--x\r\nnothing", "multipart/form-data; boundary=x", 400, "malformed_body"),
        (b"nothing", "multipart/form-data", 400, "malformed_body"),
    ],
)
def test_a_malformed_body_is_refused(flow: RunningFlow, body: bytes, content_type: str, status: int, code: str) -> None:
    answer = requests.post(f"{flow.http_url}/search", data=body, headers={"Content-Type": content_type}, timeout=30)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text


def test_methods_hosts_and_origins_are_checked(flow: RunningFlow) -> None:
    assert requests.get(f"{flow.http_url}/search", timeout=30).json()["error"]["code"] == "method_not_allowed"
    for headers, code in (
        ({"Host": "evil.example"}, "forbidden_host"),
        ({"Origin": "http://evil.example"}, "forbidden_origin"),
    ):
        answer = requests.get(f"{flow.http_url}/status", headers=headers, timeout=30)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, code)


def test_status_names_the_index_the_model_and_every_stage(flow: RunningFlow) -> None:
    status = requests.get(f"{flow.http_url}/status", timeout=30).json()
    assert status["api"] == 1
    assert status["ready"] is True
    assert [shard["shard"] for shard in status["index"]["shards"]] == [0, 1]
    assert status["model"]["dimension"] == 1280
    assert {"preprocess", "embed"} == set(status["stages"])


def test_health_of_a_sound_flow(flow: RunningFlow) -> None:
    for path in ("/health/live", "/health/ready", "/health/full", "/"):
        assert requests.get(flow.http_url + path, timeout=30).status_code == 200, path


def test_the_examples_of_the_docs_work_when_pasted(flow: RunningFlow) -> None:
    described = requests.get(f"{flow.http_url}/openapi.json", timeout=30).json()
    posted = ["/index", "/search", "/update", "/get", "/scroll", "/count", "/facets", "/embed", "/reindex", "/verify"]
    posted += ["/quality", "/delete"]
    for path in posted:
        content = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        named = content.get("examples") or {"example": {"value": content.get("example")}}
        for name, example in named.items():
            if name == "text":  # the default model takes none
                continue
            answer = requests.post(flow.http_url + path, json=example["value"], timeout=30)
            assert answer.status_code == 200, (path, name, answer.text)
            assert answer.json().get("parameters", {}).get("failed", 0) == 0
    assert {path for path, methods in described["paths"].items() if "post" in methods} == set(posted)
    body = described["paths"]["/collections/{name}"]["put"]["requestBody"]["content"]["application/json"]["example"]
    path = f"{flow.http_url}/collections/pasted"
    assert requests.put(path, json=body, timeout=30).json()["result"] == "created"
    assert requests.delete(path, timeout=30).json() == {"result": "deleted", "documents": 0}


def test_the_docs_page_needs_no_other_host(flow: RunningFlow) -> None:
    page = requests.get(f"{flow.http_url}/docs", timeout=30).text
    assert "swagger" in page.lower()
    assert "https://" not in page
    assert "http://" not in page.replace(flow.http_url, "")


def test_verify_finds_nothing_wrong(flow: RunningFlow) -> None:
    report = requests.post(f"{flow.http_url}/verify", json={}, timeout=60).json()
    assert report["ok"] is True
    assert report["faults"] == []
    assert report["double_ids"] == []


def test_a_caller_that_hangs_up_costs_nothing_and_is_no_defect(flow: RunningFlow, api: Api, one_picture: bytes) -> None:
    before = flow.log.count("defect")
    for content_type in ("application/json", "multipart/form-data; boundary=x"):
        with socket.create_connection(("127.0.0.1", flow.http_port)) as connection:
            head = f"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: 1000\r\n\r\n"
            connection.sendall(head.encode() + b"--x\r\n")
    api.index_vectors({"a": unit_vectors(1)[0]})
    assert requests.get(f"{flow.http_url}/status", timeout=30).json()["gateway"]["in_flight"] == 0
    assert flow.log.count("defect") == before


def test_empty_tags_and_wrong_parameters_in_forms(api: Api, one_picture: bytes) -> None:
    parameters = json.dumps({"collection": api.collection})
    form = {"tags": "null", "parameters": parameters}
    answer = requests.post(f"{api.url}/index", files={"file": ("a", one_picture)}, data=form, timeout=30)
    assert answer.json()["data"][0]["result"] == "created"
    wrong = requests.post(
        f"{api.url}/search", files={"file": ("a", one_picture)}, data={"parameters": "[]"}, timeout=30
    )
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "invalid_parameter")


def test_balancers_may_ask_for_health_without_a_body(flow: RunningFlow) -> None:
    assert requests.head(f"{flow.http_url}/health/ready", timeout=30).status_code == 200


def test_pages_of_allowed_origins_can_call(tmp_path: Path, models_dir: Path) -> None:
    with running_flow(tmp_path, shards=1, VS_ALLOWED_ORIGINS="https://shop.example") as flow:
        headers = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
        asked = requests.options(f"{flow.http_url}/search", headers=headers, timeout=30)
        assert (asked.status_code, asked.headers["Access-Control-Allow-Origin"]) == (200, "https://shop.example")
        answer = requests.get(f"{flow.http_url}/status", headers={"Origin": "https://shop.example"}, timeout=30)
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, "https://shop.example")
        assert "X-Request-Id" in answer.headers["Access-Control-Expose-Headers"]
        foreign = requests.get(f"{flow.http_url}/status", headers={"Origin": "https://evil.example"}, timeout=30)
        assert foreign.json()["error"]["code"] == "forbidden_origin"


def test_a_client_that_sends_slowly_holds_no_place_and_is_given_up(tmp_path: Path, models_dir: Path) -> None:
    with running_flow(tmp_path, shards=1, VS_MAX_CONCURRENCY="3", VS_BODY_TIMEOUT_MS="4000") as flow:
        head = b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{"
        slow = [socket.create_connection(("127.0.0.1", flow.http_port)) for _ in range(3)]
        for connection in slow:
            connection.sendall(head)
        api = Api(flow.http_url)
        assert api.post("/search", [{}]).status_code == 400, "refused for what it is, not for want of a place"
        slow[0].settimeout(20)
        answered = b""
        while piece := slow[0].recv(10_000):
            answered += piece
        assert answered.startswith(b"HTTP/1.1 408"), "and then the connection is closed"
        assert b"body_timeout" in answered
        for connection in slow:
            connection.close()
