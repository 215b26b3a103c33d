"""A flow with few file descriptors beside callers that open many connections."""

from __future__ import annotations

import json
import resource
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest

from tests.support.flows.flow import RunningFlow, running_flow

DESCRIPTORS = 150
CONNECTIONS = 400
HEAD = b"POST /search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n"


@pytest.fixture
def scarce(models_dir: Path, tmp_path: Path) -> Iterator[RunningFlow]:
    """A flow whose processes may open few files; this process may open as many as before."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))
    try:
        context = running_flow(tmp_path, shards=1, VS_REPLICAS="1")
        flow = context.__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    yield flow
    context.__exit__(None, None, None)


def answers(flow: RunningFlow) -> bool:
    request = urllib.request.Request(f"{flow.http_url}/count", b"{}", {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return "count" in json.load(answer)["parameters"]
    except (HTTPError, URLError, OSError):
        return False


def wait_for_an_answer(flow: RunningFlow) -> None:
    end = time.monotonic() + 30
    while not answers(flow):
        assert time.monotonic() < end, flow.log[-2000:]
        time.sleep(0.1)


@pytest.mark.parametrize("begun", [HEAD[:40], HEAD + b'{"data": ['], ids=["half a head", "ten bytes"])
def test_more_connections_than_descriptors_leave_it_alive_and_its_log_short(scarce: RunningFlow, begun: bytes) -> None:
    before = len(scarce.log)
    held: list[socket.socket] = []
    try:
        for _ in range(CONNECTIONS):
            held.append(socket.create_connection(("127.0.0.1", scarce.http_port)))
            held[-1].setblocking(False)
            try:
                held[-1].send(begun)
            except OSError:
                continue
        wait_for_an_answer(scarce)
    finally:
        for each in held:
            each.close()
    wait_for_an_answer(scarce)
    assert len(scarce.log) - before < 20_000
    assert "Too many open files" not in scarce.log[before:]


@pytest.mark.parametrize("begun", [b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], ids=["nothing", "half a greeting"])
def test_connections_to_the_grpc_port_are_bounded_and_leave_http_alive(scarce: RunningFlow, begun: bytes) -> None:
    before = len(scarce.log)
    held: list[socket.socket] = []
    try:
        for _ in range(CONNECTIONS):
            held.append(socket.create_connection(("127.0.0.1", scarce.grpc_port)))
            held[-1].setblocking(False)
            try:
                held[-1].send(begun)
            except OSError:
                continue
        for _ in range(5):
            assert answers(scarce)
    finally:
        for each in held:
            each.close()
    assert len(scarce.log) - before < 20_000
    assert "Too many open files" not in scarce.log[before:]
