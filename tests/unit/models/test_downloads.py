from __future__ import annotations

import gzip
import hashlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.models.downloads import download, exclusive
from executors.models.transfer import Patience
from tests.support.fetching import CONTENT, SHA256, fetch, refused
from tests.support.file_server import FileServer, file_server

ROOT = Path(__file__).resolve().parents[3]
# What a person's Ctrl-C and a full disk are tested with: a pull in a process of its own.
PROGRAM = """
import sys
from pathlib import Path
from executors.errors import VisualSearchError
from executors.models.downloads import download
try:
    print(download(sys.argv[1], Path(sys.argv[2]), checksum=sys.argv[3], tell=lambda line: print(line, flush=True)))
except VisualSearchError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as running:
        running.files["/model.onnx"] = CONTENT
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "downloads" / "model.onnx"


def leave_a_part(server: FileServer, target: Path, length: int = 700_000) -> None:
    """Fetch the first bytes, then lose the server."""
    server.cut_after = [length]
    with pytest.raises(VisualSearchError, match="download_failed"):
        download(f"{server.url}/model.onnx", target, checksum=SHA256, patience=Patience(attempts=1))
    assert target.with_name("model.onnx.part").stat().st_size == length
    server.asked.clear()


def names(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


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
def test_a_part_that_nobody_can_tell_the_file_of_is_not_used(
    server: FileServer, target: Path, note: str | None
) -> None:
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


def test_a_wrong_file_is_refused_and_thrown_away(server: FileServer, target: Path) -> None:
    server.files["/model.onnx"] = CONTENT[:-1] + b"?"
    error = refused(server, target, "checksum_mismatch")
    assert hashlib.sha256(server.files["/model.onnx"]).hexdigest() in error.message
    assert names(target) == []
    server.files["/model.onnx"] = CONTENT
    assert fetch(server, target) == "fetched"


def test_a_part_whose_bytes_were_changed_is_refused(server: FileServer, target: Path) -> None:
    leave_a_part(server, target)
    target.with_name("model.onnx.part").write_bytes(bytes(700_000))
    refused(server, target, "checksum_mismatch")
    assert names(target) == []
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


def test_a_file_whose_length_nobody_says_is_checked_all_the_same(server: FileServer, target: Path) -> None:
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


def test_of_two_that_want_the_same_file_one_fetches_it(server: FileServer, target: Path) -> None:
    server.chunk, server.pause_s = 200_000, 0.05
    results: list[str] = []
    waits: list[str] = []

    def pull() -> None:
        results.append(download(f"{server.url}/model.onnx", target, checksum=SHA256, tell=waits.append))

    threads = [threading.Thread(target=pull) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["fetched", "present", "present"]
    assert len(server.asked) == 1
    assert sum("another process is fetching it" in line for line in waits) == 2
    assert names(target) == ["model.onnx"], "the lock is gone, too"


def test_a_lock_that_is_removed_and_made_again_has_one_holder_at_a_time(target: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def hold() -> None:
        for _ in range(60):
            with exclusive(target, "it", lambda line: None):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.0005)
                inside.pop()

    threads = [threading.Thread(target=hold) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (max(most), len(most)) == (1, 360)


def start_process(server: FileServer, target: Path, most_bytes: int | None = None) -> subprocess.Popen[str]:
    def limit_files() -> None:
        if most_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, f"{server.url}/model.onnx", str(target), SHA256],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        preexec_fn=limit_files,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_an_interrupted_process_leaves_a_part_that_the_next_one_completes(
    server: FileServer, target: Path, number: signal.Signals
) -> None:
    server.chunk, server.pause_s = 50_000, 0.05
    process = start_process(server, target)
    part = target.with_name("model.onnx.part")
    for _ in range(600):
        if part.exists() and part.stat().st_size >= 200_000:
            break
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode != 0
    assert not target.exists()
    kept = part.stat().st_size
    assert 200_000 <= kept < len(CONTENT)
    server.pause_s = 0
    server.asked.clear()
    assert fetch(server, target) == "fetched"
    assert server.sent == len(CONTENT) - kept


def test_a_full_disk_is_an_error_and_what_fits_is_kept(server: FileServer, target: Path) -> None:
    """The kernel lets the process write 1 MB a file, which to a program looks like a disk that is full."""
    process = start_process(server, target, most_bytes=1_000_000)
    _, errors = process.communicate(timeout=30)
    assert errors.startswith("storage_unavailable: model.onnx can't be written")
    assert not target.exists()
    kept = target.with_name("model.onnx.part").stat().st_size
    assert 0 < kept <= 1_000_000
    server.asked.clear()
    assert fetch(server, target) == "fetched"
    assert server.sent == len(CONTENT) - kept


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
