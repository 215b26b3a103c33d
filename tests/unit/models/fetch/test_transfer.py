from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from executors.errors import VisualSearchError
from executors.models.fetch.downloads import download
from executors.models.fetch.transfer import Patience
from tests.support.models.fetching import CONTENT, QUICK, SHA256, fetch, refused
from tests.support.models.file_server import FileServer, file_server


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
    with pytest.raises(VisualSearchError, match="does not answer in time"):
        download(f"{server.url}/model.onnx", target, checksum=SHA256, patience=patience)


def test_a_server_that_never_answers_is_given_up(server: FileServer, target: Path) -> None:
    server.delay_s = 60
    with pytest.raises(VisualSearchError, match="does not answer in time"):
        download(f"{server.url}/model.onnx", target, checksum=SHA256, patience=Patience(attempts=1, idle_s=0.5))


@pytest.mark.parametrize("on_range", ["part", "416", "other tag", "other part"])
def test_bytes_that_come_again_and_again_are_no_progress(
    server: FileServer, target: Path, on_range: Literal["part", "416", "other tag", "other part"]
) -> None:
    server.cut_after = [100_000, 200_000] * 50
    server.on_range = on_range
    if on_range == "part":
        server.etag = ""
    told: list[str] = []
    with pytest.raises(VisualSearchError) as caught:
        download(f"{server.url}/model.onnx", target, checksum=SHA256, tell=told.append, patience=QUICK)
    assert caught.value.code == "download_failed"
    assert len(server.asked) <= 2 * QUICK.attempts
    assert any(line.endswith("from the first byte") for line in told)


def test_a_server_that_sends_all_of_it_again_is_told(server: FileServer, target: Path) -> None:
    server.ranges = False
    server.cut_after = [900_000]
    told: list[str] = []
    download(f"{server.url}/model.onnx", target, checksum=SHA256, tell=told.append, patience=QUICK)
    assert "model.onnx: the server sends it from the first byte" in told


def test_a_redirect_to_a_port_that_is_none_is_told(server: FileServer, target: Path) -> None:
    server.redirects = {"/latest": "http://127.0.0.1:99999/model.onnx"}
    assert "not the address of a file" in refused(server, target, "download_failed", path="/latest").message


def test_a_file_that_never_ends_is_stopped_and_thrown_away(server: FileServer, target: Path) -> None:
    server.lengths = False
    patience = replace(QUICK, most_bytes=500_000)
    with pytest.raises(VisualSearchError, match="its length is not known, and the server sent") as caught:
        download(f"{server.url}/model.onnx", target, checksum=SHA256, patience=patience)
    assert caught.value.code == "checksum_mismatch"
    assert [path.name for path in target.parent.iterdir()] == []


def test_a_file_of_unknown_length_is_stopped_before_the_disk_is_full(server: FileServer, target: Path) -> None:
    patience = replace(QUICK, least_free_bytes=10**18)
    assert download(f"{server.url}/model.onnx", target, checksum=SHA256, patience=patience) == "fetched"
    server.lengths = False
    with pytest.raises(VisualSearchError, match="whose length is not known, was stopped") as caught:
        download(f"{server.url}/model.onnx", target.with_name("other"), checksum=SHA256, patience=patience)
    assert caught.value.code == "storage_unavailable"


def test_credentials_in_an_address_are_not_written_down(server: FileServer, target: Path) -> None:
    server.cut_after = [700_000]
    url = server.url.replace("http://", "http://me:secret@") + "/model.onnx?token=secret"
    server.files["/model.onnx?token=secret"] = CONTENT
    with pytest.raises(VisualSearchError, match="download_failed"):
        download(url, target, checksum=SHA256, patience=replace(QUICK, attempts=1))
    assert "secret" not in target.with_name("model.onnx.part.json").read_text()
    assert download(url, target, checksum=SHA256, patience=QUICK) == "fetched"
    assert server.sent == len(CONTENT), "the part was gone on with"
