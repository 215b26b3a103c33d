"""The guard with a harmless server: no process is left when any of them is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from executors.triton_server import guard

# A stand-in for tritonserver: a child of its own (a stub) that ignores SIGTERM, a region of shared memory, a line of
# output.
SERVER = """
import os, signal, sys, time
if sys.argv[2] == "exit":
    print("as ordered"); sys.exit(3)
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)
signal.signal(signal.SIGTERM, lambda *_: (print("drained", flush=True), os._exit(5)))
open(sys.argv[1] + "region", "w").close()
print("hello", flush=True)
time.sleep(60)
"""
# A stand-in for the replica: it starts the guard, prints its process id and the server's, and waits.
REPLICA = """
import subprocess, sys, time
guard = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
print(guard.pid, guard.stdout.readline().decode().strip(), flush=True)
time.sleep(60)
"""
Started = tuple[subprocess.Popen[str], int, int]


@pytest.fixture
def prefix() -> Iterator[str]:
    name = f"{guard.PREFIX}test-{os.getpid()}-{time.monotonic_ns()}-"
    yield name
    guard.remove_regions(name)


def order(folder: Path, prefix: str, what: str = "run", **changes: Any) -> list[str]:
    regions = str(guard.SHARED_MEMORY / prefix)
    said = {
        "command": [sys.executable, "-I", "-S", "-c", SERVER, regions, what],
        "environment": {},
        "log": str(folder / "log"),
        "log_bytes": 10_000,
        "shm_prefix": prefix,
        "note": "start: a test",
    }
    return [sys.executable, "-I", "-S", str(guard.__file__), json.dumps(said | changes)]


@pytest.fixture
def start(tmp_path: Path, prefix: str) -> Iterator[Callable[[], Started]]:
    replicas: list[subprocess.Popen[str]] = []

    def started() -> Started:
        command = [sys.executable, "-I", "-S", "-c", REPLICA, *order(tmp_path, prefix)]
        replica = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        replicas.append(replica)
        assert replica.stdout is not None
        guard_pid, server_pid = map(int, replica.stdout.readline().split())
        until(lambda: regions(prefix) >= {"region"})
        assert len(alive(server_pid)) == 2
        return replica, guard_pid, server_pid

    yield started
    for replica in replicas:
        replica.kill()
        replica.communicate()


def regions(prefix: str) -> set[str]:
    return {file.name.removeprefix(prefix) for file in guard.SHARED_MEMORY.glob(f"{prefix}*")}


def alive(group: int) -> list[int]:
    """The living processes of a group; a zombie is not one."""
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if fields[0] != "Z" and int(fields[2]) == group:
                found.append(int(folder.name))
    return found


def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_nothing_outlives_a_killed_replica(start: Callable[[], Started], prefix: str) -> None:
    replica, guard_pid, server = start()
    replica.kill()
    until(lambda: not alive(server) and not alive(guard_pid) and not regions(prefix))


def test_a_stopped_server_dies_with_its_replica_too(start: Callable[[], Started], prefix: str) -> None:
    replica, guard_pid, server = start()
    os.killpg(server, signal.SIGSTOP)
    replica.kill()
    until(lambda: not alive(server) and not alive(guard_pid) and not regions(prefix))


def test_the_server_dies_with_a_killed_guard(start: Callable[[], Started]) -> None:
    _, guard_pid, server = start()
    os.kill(guard_pid, signal.SIGKILL)
    until(lambda: server not in alive(server))
    # Triton's stubs end when the server is gone; the harmless one here is ended by the process that started the guard.
    guard.kill_group(server)
    until(lambda: not alive(server))


def test_shared_memory_that_a_killed_guard_left_is_removed_by_the_next_server(
    start: Callable[[], Started], prefix: str
) -> None:
    _, guard_pid, server = start()
    old = time.time() - 60
    os.utime(guard.SHARED_MEMORY / f"{prefix}.lock", (old, old))
    guard.remove_abandoned_regions()
    assert regions(prefix) == {"region", ".lock"}, "the server lives and needs them"
    os.kill(guard_pid, signal.SIGKILL)
    until(lambda: server not in alive(server))
    guard.remove_abandoned_regions()
    assert regions(prefix) == {"region", ".lock"}, "its stub lives and needs them"
    guard.kill_group(server)
    until(lambda: not alive(server))
    guard.remove_abandoned_regions()
    assert regions(prefix) == set()


def test_links_for_the_server_go_with_it_and_what_they_lead_to_stays(tmp_path: Path, prefix: str) -> None:
    kept = tmp_path / "mödels" / "kept"
    kept.mkdir(parents=True)
    folder = guard.paths_folder(prefix)
    links, files = {str(folder / "models"): str(kept.parent)}, {str(folder / "env" / "cfg"): "home = /x"}
    command = order(tmp_path, prefix, links=links, files=files)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        server = int(running.stdout.readline())
        assert (folder / "models" / "kept").is_dir()
        assert (folder / "env" / "cfg").read_text() == "home = /x"
        assert folder.stat().st_mode & 0o077 == 0
        running.kill()
        running.wait()
    guard.kill_group(server)
    assert folder.exists(), "no process was left to remove it"
    guard.remove_regions(prefix)
    assert regions(prefix) == set()
    assert kept.is_dir()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        assert folder.exists()
    assert regions(prefix) == set()
    assert kept.is_dir()


def test_a_byte_from_the_replica_ends_everything(tmp_path: Path, prefix: str) -> None:
    with subprocess.Popen(order(tmp_path, prefix), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdin is not None
        server = int(running.stdout.readline())
        running.stdin.write(b".")
        running.stdin.flush()
        assert running.wait(5) == 128 + signal.SIGKILL
    assert alive(server) == []
    assert regions(prefix) == set()


def test_sigterm_lets_the_server_finish_and_its_status_comes_back(tmp_path: Path, prefix: str) -> None:
    with subprocess.Popen(order(tmp_path, prefix), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        server = int(running.stdout.readline())
        until(lambda: "region" in regions(prefix))
        until(lambda: b"hello" in (tmp_path / "log").read_bytes())
        running.terminate()
        assert running.wait(5) == 5
    assert alive(server) == [], "the stub ignores SIGTERM"
    assert b"drained" in (tmp_path / "log").read_bytes()


def test_a_server_that_ends_by_itself_leaves_its_last_words_and_its_status(tmp_path: Path, prefix: str) -> None:
    with subprocess.Popen(order(tmp_path, prefix, "exit"), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.wait(5) == 3
    log = (tmp_path / "log").read_text()
    assert "start: a test" in log
    assert "as ordered" in log
    assert regions(prefix) == set()


def test_a_server_that_is_not_there_is_said_in_the_log(tmp_path: Path, prefix: str) -> None:
    command = order(tmp_path, prefix, command=["/nowhere/tritonserver"])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.wait(5) == guard.NOT_STARTED
    assert "can't be started: No such file" in (tmp_path / "log").read_text()
    assert regions(prefix) == set()


def test_a_log_never_grows_beyond_its_bound_and_the_previous_one_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"before\n")
    log = guard.BoundedLog(file, 1000)
    for number in range(60):
        log.write(f"line {number:03}\n".encode() * 5)
        assert file.stat().st_size <= 1000
    log.close()
    kept = (tmp_path / "log.1").read_bytes() + file.read_bytes()
    assert kept.endswith(b"line 059\n")
    assert len(kept) > 1000
    assert {each.name for each in tmp_path.iterdir()} == {"log", "log.1"}
