"""A file is fetched, and only the published bytes take its name."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.models.fetch.downloads import download
from tests.support.models.fetching import CONTENT, SHA256, fetch, names, refused
from tests.support.models.file_server import FileServer


def test_a_file_is_fetched_with_its_progress(server: FileServer, target: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    result = download(
        f"{server.url}/model.onnx",
        target,
        checksum=SHA256,
        size=len(CONTENT),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert result == "fetched"
    assert target.read_bytes() == CONTENT
    assert names(target) == ["model.onnx"], "nothing else stays"
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_file_that_is_here_is_not_fetched_again(server: FileServer, target: Path) -> None:
    fetch(server, target)
    assert fetch(server, target) == "present"
    assert len(server.asked) == 1


def test_md5_is_checked_where_that_is_what_is_published(server: FileServer, target: Path) -> None:
    assert fetch(server, target, checksum=f"md5:{hashlib.md5(CONTENT).hexdigest()}") == "fetched"
    refused(server, target.with_name("other"), "checksum_mismatch", checksum=f"md5:{hashlib.md5(b'').hexdigest()}")


def test_a_wrong_file_is_refused_and_thrown_away(server: FileServer, target: Path) -> None:
    server.files["/model.onnx"] = CONTENT[:-1] + b"?"
    error = refused(server, target, "checksum_mismatch")
    assert hashlib.sha256(server.files["/model.onnx"]).hexdigest() in error.message
    assert names(target) == []
    server.files["/model.onnx"] = CONTENT
    assert fetch(server, target) == "fetched"


def test_a_file_of_another_size_is_refused_before_it_is_sent(server: FileServer, target: Path) -> None:
    server.chunk, server.pause_s = 1000, 0.05
    error = refused(server, target, "checksum_mismatch", size=len(CONTENT) + 1)
    assert "2,000,000 bytes" in error.message
    assert server.sent < 1_000_000
    assert names(target) == []


def test_a_server_that_sends_more_than_the_file_has_is_cut_off(server: FileServer, target: Path) -> None:
    server.lengths = False
    server.files["/model.onnx"] = CONTENT * 3
    error = refused(server, target, "checksum_mismatch", size=1_000_000)
    assert "more than 1,000,000 bytes" in error.message
    assert names(target) == []


def test_a_file_of_unknown_length_is_checked_all_the_same(server: FileServer, target: Path) -> None:
    server.lengths = False
    server.cut_after = [1_000_000]
    refused(server, target, "checksum_mismatch")
    assert fetch(server, target) == "fetched"


def test_what_a_server_compressed_is_not_taken_apart(server: FileServer, target: Path) -> None:
    packed = gzip.compress(CONTENT[:1000], mtime=0)
    server.files["/model.onnx"], server.encoding = packed, "gzip"
    assert fetch(server, target, checksum=f"sha256:{hashlib.sha256(packed).hexdigest()}") == "fetched"
    assert server.asked[0].headers["Accept-Encoding"] == "identity"
    assert target.read_bytes() == packed


def test_a_file_of_this_machine_is_copied(tmp_path: Path, target: Path) -> None:
    source = tmp_path / "with space.onnx"
    source.write_bytes(CONTENT)
    assert download(source.as_uri(), target, checksum=SHA256) == "fetched"
    assert target.read_bytes() == CONTENT
    with pytest.raises(VisualSearchError, match=r"download_failed.*this machine"):
        download((tmp_path / "none").as_uri(), target.with_name("other"), checksum=SHA256)
    source.write_bytes(b"other")
    with pytest.raises(VisualSearchError, match="checksum_mismatch"):
        download(source.as_uri(), target.with_name("other"), checksum=SHA256)


def test_a_file_that_the_disk_has_no_room_for_is_not_begun(server: FileServer, target: Path) -> None:
    server.claimed = 10**18
    server.chunk, server.pause_s = 1000, 0.05
    error = refused(server, target, "storage_unavailable")
    assert error.details["needed"] > error.details["free"]
    assert server.sent < 1_000_000


def test_a_folder_that_cannot_be_written_is_an_error(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(VisualSearchError, match="storage_unavailable"):
        fetch(server, tmp_path / "file" / "model.onnx")
