"""Several processes fetch the same file at once, are interrupted, or fill the disk."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from executors.models.fetch.downloads import download, exclusive
from tests.support.models.fetching import CONTENT, SHA256, fetch, names
from tests.support.models.file_server import FileServer

ROOT = Path(__file__).resolve().parents[4]
# A pull in a process of its own, to test Ctrl-C and a full disk.
PROGRAM = """
import sys
from pathlib import Path
from executors.errors import VisualSearchError
from executors.models.fetch.downloads import download
try:
    print(download(sys.argv[1], Path(sys.argv[2]), checksum=sys.argv[3], tell=lambda line: print(line, flush=True)))
except VisualSearchError as error:
    sys.exit(str(error))
"""


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
    """The kernel lets the process write 1 MB a file, which looks like a full disk to a program."""
    process = start_process(server, target, most_bytes=1_000_000)
    _, errors = process.communicate(timeout=30)
    assert errors.startswith("storage_unavailable: model.onnx can't be written")
    assert not target.exists()
    kept = target.with_name("model.onnx.part").stat().st_size
    assert 0 < kept <= 1_000_000
    server.asked.clear()
    assert fetch(server, target) == "fetched"
    assert server.sent == len(CONTENT) - kept
