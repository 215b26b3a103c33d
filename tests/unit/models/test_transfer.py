from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.models.downloads import download
from executors.models.transfer import Patience
from tests.support.fetching import CONTENT, QUICK, SHA256, fetch, refused
from tests.support.file_server import FileServer, file_server


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as running:
        running.files["/model.onnx"] = CONTENT
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "downloads" / "model.onnx"


@pytest.mark.parametrize("status", [403, 404, 410])
def test_what_is_not_there_is_asked_for_once(server: FileServer, target: Path, status: int) -> None:
    server.statuses = [status]
    error = refused(server, target, "download_failed")
    assert error.message == f"model.onnx can't be fetched from 127.0.0.1: HTTP status {status}"
    assert error.details == {"host": "127.0.0.1", "file": "model.onnx", "status": status}
    assert len(server.asked) == 1


def test_a_server_that_is_busy_is_asked_again(server: FileServer, target: Path) -> None:
    server.statuses = [503, 429]
    told: list[str] = []
    assert download(f"{server.url}/model.onnx", target, checksum=SHA256, tell=told.append, patience=QUICK) == "fetched"
    assert [each.status for each in server.asked] == [503, 429, 200]
    assert "HTTP status 503; trying again" in told[0]


def test_a_server_that_stays_broken_is_given_up(server: FileServer, target: Path) -> None:
    server.statuses = [500] * 10
    assert "HTTP status 500" in refused(server, target, "download_failed").message
    assert len(server.asked) == QUICK.attempts


def test_many_breaks_do_not_end_a_download_that_advances(server: FileServer, target: Path) -> None:
    server.cut_after = [200_000] * 9
    assert fetch(server, target) == "fetched"
    assert len(server.asked) == 10 > QUICK.attempts
    assert server.sent == len(CONTENT)


def test_redirects_are_followed(server: FileServer, target: Path) -> None:
    server.redirects = {"/latest": "/somewhere", "/somewhere": f"{server.url}/model.onnx"}
    server.cut_after = [900_000]
    assert fetch(server, target, path="/latest") == "fetched"
    assert target.read_bytes() == CONTENT
    assert server.sent == len(CONTENT)


@pytest.mark.parametrize("goal", ["/loop", "file:///etc/hostname", "ftp://127.0.0.1/model.onnx", "http://"])
def test_redirects_that_lead_nowhere_are_an_error(server: FileServer, target: Path, goal: str) -> None:
    server.redirects = {"/loop": goal}
    assert "redirect" in refused(server, target, "download_failed", path="/loop").message


def test_a_server_that_is_not_there_is_named(target: Path) -> None:
    with file_server() as gone:
        pass
    error = refused(gone, target, "download_failed")
    assert "can't be fetched from 127.0.0.1: no connection" in error.message


def test_credentials_in_an_address_are_not_repeated(server: FileServer, target: Path) -> None:
    url = server.url.replace("http://", "http://me:secret@") + "/model.onnx?token=secret"
    with pytest.raises(VisualSearchError) as caught:
        download(url, target, checksum=SHA256, patience=QUICK)
    assert "secret" not in json.dumps(caught.value.to_json())


@pytest.mark.parametrize(
    ("chunk", "pause_s"), [(200_000, 5.0), (1, 0.05)], ids=["no byte any more", "a byte now and then"]
)
def test_a_server_that_is_too_slow_is_given_up(server: FileServer, target: Path, chunk: int, pause_s: float) -> None:
    server.chunk, server.pause_s = chunk, pause_s
    patience = Patience(attempts=2, backoff_s=0.02, idle_s=0.5, progress_bytes=1 << 21, progress_s=1.0)
    started = time.monotonic()
    with pytest.raises(VisualSearchError, match="does not answer in time"):
        download(f"{server.url}/model.onnx", target, checksum=SHA256, patience=patience)
    assert time.monotonic() - started < 20, "it would have taken 5 s at each pause, or a day"


def test_a_server_that_never_answers_is_given_up(server: FileServer, target: Path) -> None:
    server.delay_s = 60
    with pytest.raises(VisualSearchError, match="does not answer in time"):
        download(f"{server.url}/model.onnx", target, checksum=SHA256, patience=Patience(attempts=1, idle_s=0.5))
