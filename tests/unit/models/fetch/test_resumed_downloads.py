"""An aborted download resumes where it stopped, if the server still has the same file."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.models.fetch.downloads import download
from executors.models.fetch.transfer import Patience
from tests.support.models.fetching import CONTENT, SHA256, fetch, names, refused
from tests.support.models.file_server import FileServer


def leave_a_part(server: FileServer, target: Path, length: int = 700_000) -> None:
    """Fetch the first bytes, then lose the server."""
    server.cut_after = [length]
    with pytest.raises(VisualSearchError, match="download_failed"):
        download(f"{server.url}/model.onnx", target, checksum=SHA256, patience=Patience(attempts=1))
    assert target.with_name("model.onnx.part").stat().st_size == length
    server.asked.clear()


def test_a_connection_that_breaks_in_the_middle_is_resumed_where_it_broke(server: FileServer, target: Path) -> None:
    server.cut_after = [900_000, 600_000]
    assert fetch(server, target) == "fetched"
    assert target.read_bytes() == CONTENT
    assert [each.headers.get("Range") for each in server.asked] == [None, "bytes=900000-", "bytes=1500000-"]
    assert [each.headers.get("If-Range") for each in server.asked] == [None, '"1"', '"1"']
    assert server.sent == len(CONTENT), "no byte was sent twice"


def test_the_next_call_goes_on_where_the_last_one_stopped(server: FileServer, target: Path) -> None:
    leave_a_part(server, target)
    assert fetch(server, target) == "fetched"
    assert target.read_bytes() == CONTENT
    assert server.sent == len(CONTENT) - 700_000
    assert names(target) == ["model.onnx"]


def test_a_part_is_resumed_by_its_date_where_there_is_no_tag(server: FileServer, target: Path) -> None:
    server.etag, server.modified = "", time.time() - 3600
    server.cut_after = [900_000]
    assert fetch(server, target) == "fetched"
    assert server.asked[1].headers["If-Range"].endswith("GMT")
    assert server.sent == len(CONTENT)


@pytest.mark.parametrize(
    ("etag", "modified"), [("", None), ('W/"1"', None), ("", time.time() + 3600)], ids=["none", "weak", "ambiguous"]
)
def test_without_a_strong_validator_nothing_is_resumed(
    server: FileServer, target: Path, etag: str, modified: float | None
) -> None:
    server.etag, server.modified = etag, modified
    server.cut_after = [900_000]
    assert fetch(server, target) == "fetched"
    assert target.read_bytes() == CONTENT
    assert "Range" not in server.asked[1].headers


def test_a_server_that_ignores_ranges_sends_the_file_anew(server: FileServer, target: Path) -> None:
    server.ranges = False
    server.cut_after = [900_000]
    assert fetch(server, target) == "fetched"
    assert target.read_bytes() == CONTENT
    assert server.sent == 900_000 + len(CONTENT)


@pytest.mark.parametrize("if_range", [True, False], ids=["If-Range", "If-Range ignored"])
def test_a_file_that_changed_between_two_parts_is_fetched_anew(
    server: FileServer, target: Path, if_range: bool
) -> None:
    server.if_range = if_range
    server.files["/model.onnx"] = bytes(len(CONTENT))
    leave_a_part(server, target)
    server.files["/model.onnx"], server.etag = CONTENT, '"2"'
    assert fetch(server, target) == "fetched"
    assert target.read_bytes() == CONTENT


def test_a_part_of_another_address_is_not_used(server: FileServer, target: Path) -> None:
    leave_a_part(server, target)
    server.files["/moved.onnx"] = CONTENT
    assert fetch(server, target, path="/moved.onnx") == "fetched"
    assert server.sent == len(CONTENT)


@pytest.mark.parametrize("note", [None, "", "{", "[]", '{"url": 1}'], ids=["none", "empty", "cut", "list", "other"])
def test_a_part_of_an_unknown_file_is_not_used(server: FileServer, target: Path, note: str | None) -> None:
    leave_a_part(server, target)
    sidecar = target.with_name("model.onnx.part.json")
    if note is None:
        sidecar.unlink()
    else:
        sidecar.write_text(note)
    assert fetch(server, target) == "fetched"
    assert target.read_bytes() == CONTENT
    assert server.sent == len(CONTENT)


def test_a_part_that_is_complete_only_needs_its_check(server: FileServer, target: Path) -> None:
    leave_a_part(server, target)
    target.with_name("model.onnx.part").write_bytes(CONTENT)
    assert fetch(server, target) == "fetched"
    assert server.asked == []


def test_a_part_that_is_longer_than_the_file_is_fetched_anew(server: FileServer, target: Path) -> None:
    leave_a_part(server, target)
    target.with_name("model.onnx.part").write_bytes(CONTENT + b"more")
    assert fetch(server, target) == "fetched"
    assert [each.status for each in server.asked] == [416, 200]
    assert target.read_bytes() == CONTENT


def test_a_part_whose_bytes_were_changed_is_refused(server: FileServer, target: Path) -> None:
    leave_a_part(server, target)
    target.with_name("model.onnx.part").write_bytes(bytes(700_000))
    refused(server, target, "checksum_mismatch")
    assert names(target) == []
    assert fetch(server, target) == "fetched"
