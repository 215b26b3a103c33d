"""The guard process between a replica and its Triton: whatever process ends, nothing of the server survives it.

    python -I -S guard.py '{"command": […], "environment": {…}, "log": "…", "log_bytes": …, "shm_prefix": "…", "note": "…"}'

The server (with its stubs) runs in a process group of its own. The guard ends that group and removes its shared memory
when anything happens to its standard input or its parent (the replica is gone, also by kill -9), and when the server
ends by itself. If the guard itself is killed, the kernel kills the server (PR_SET_PDEATHSIG), and the stubs end when
they notice. SIGTERM is forwarded, so that the server may finish running requests.

The guard is a program of its own with the standard library only: it must start in milliseconds and depend on nothing
that could fail.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

SHARED_MEMORY: Final = Path("/dev/shm")
# All regions of managed servers start with this prefix; the rest of the name is the server's own.
PREFIX: Final = "visual-search-triton-"
NOT_STARTED: Final = 127

_LOCK: Final = ".lock"
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_LOOK_S: Final = 0.25
_DRAINING_S: Final = 8.0
_STUBS_S: Final = 2.0
# A lock file is made a moment before it is locked.
_FRESH_S: Final = 5.0
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class BoundedLog:
    """A log file with a maximum size: when it is full, it is kept as `<name>.1` and a new one is begun."""

    def __init__(self, file: Path, most_bytes: int) -> None:
        self._file = file
        self._most = most_bytes
        self._stream = file.open("ab", buffering=0)

    def write(self, data: bytes) -> None:
        """Append data; on a full disk, lines are lost but the server goes on."""
        with contextlib.suppress(OSError):
            if self._stream.tell() + len(data) > self._most and self._stream.tell():
                self._stream.close()
                self._file.replace(self._file.with_name(f"{self._file.name}.1"))
                self._stream = self._file.open("ab", buffering=0)
            self._stream.write(data)

    def note(self, line: str) -> None:
        """Append a line of our own, with the time."""
        self.write(f"--- {time.strftime('%Y-%m-%dT%H:%M:%S%z')} {line}\n".encode())

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def hold_prefix(prefix: str) -> int:
    """Make the lock file of a prefix and hold the lock, as every process does that inherits the handle."""
    handle = os.open(SHARED_MEMORY / f"{prefix}{_LOCK}", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return handle


def remove_regions(prefix: str) -> None:
    """Remove a prefix's shared memory and its folder of links, its lock file last."""
    for region in sorted(SHARED_MEMORY.glob(f"{prefix}*"), key=lambda file: file.name.endswith(_LOCK)):
        with contextlib.suppress(OSError):
            if region.is_dir() and not region.is_symlink():
                shutil.rmtree(region)  # does not follow links
            else:
                region.unlink()


def paths_folder(prefix: str) -> Path:
    """The folder of a server's plain names for unusual paths (ascii_paths.py); removed with its regions."""
    return SHARED_MEMORY / f"{prefix}paths"


def make_paths(folder: Path, links: dict[str, str], files: dict[str, str]) -> None:
    """Make symbolic links and executable files in a folder that only this user may enter; do nothing if there are none."""
    if links or files:
        folder.mkdir(0o700)
    for link, target in links.items():
        Path(link).parent.mkdir(parents=True, exist_ok=True)
        Path(link).symlink_to(target)
    for file, text in files.items():
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text(text)
        Path(file).chmod(0o700)


def remove_abandoned_regions() -> None:
    """Remove the remains of servers that were killed together with their guard: prefixes whose lock is free."""
    for lock in SHARED_MEMORY.glob(f"{PREFIX}*{_LOCK}"):
        try:
            if time.time() - lock.stat().st_mtime < _FRESH_S:
                continue
            handle = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # another user's, or already gone
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_regions(lock.name.removesuffix(_LOCK))
        except OSError:  # locked: the server lives
            pass
        finally:
            os.close(handle)


def kill_group(group: int) -> None:
    """Send SIGKILL to every process of a group (also stopped ones), and wait until none is left."""
    deadline = time.monotonic() + _STUBS_S
    while time.monotonic() < deadline:
        try:
            os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return
        # A group exists until its last process is reaped; for our children, only this process does that.
        with contextlib.suppress(ChildProcessError):
            while os.waitid(os.P_PGID, group, os.WEXITED | os.WNOHANG):
                pass
        time.sleep(0.01)


def main(order: dict[str, Any]) -> int:
    """Run the server until it or the replica ends; returns the server's status as a shell would report it."""
    terminate: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: terminate.append(1))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The stubs become our children when the server is gone, so this process can wait for them, whatever process 1 is.
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    log = BoundedLog(Path(order["log"]), order["log_bytes"])
    log.note(order["note"])
    prefix = order["shm_prefix"]
    lock = hold_prefix(prefix)
    output, server_output = os.pipe()
    try:
        make_paths(paths_folder(prefix), order.get("links", {}), order.get("files", {}))
        server = _start(order, server_output, lock)
    except OSError as error:
        log.note(f"the server can't be started: {error.strerror}")
        remove_regions(prefix)
        return NOT_STARTED
    os.close(server_output)
    os.close(lock)
    print(server.pid, flush=True)
    status = _watch(server, output, log, terminate)
    kill_group(server.pid)
    remove_regions(prefix)
    log.write(_read(output))
    return status


def _start(order: dict[str, Any], output: int, lock: int) -> subprocess.Popen[bytes]:
    guard = os.getpid()

    def end_with_guard() -> None:
        # This is bound to the thread that forks: the guard has only one.
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:
            os._exit(NOT_STARTED)

    return subprocess.Popen(
        order["command"],
        env=order["environment"],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        process_group=0,
        pass_fds=[lock],
        preexec_fn=end_with_guard,
    )


def _watch(server: subprocess.Popen[bytes], output: int, log: BoundedLog, terminate: list[int]) -> int:
    """Copy the server's output to the log until the server ends, or has to end."""
    replica = os.getppid()
    watched = [0, output]
    kill_at = float("inf")
    while True:
        try:
            ready, _, _ = select.select(watched, [], [], _LOOK_S)
        except InterruptedError:
            continue
        if output in ready:
            data = os.read(output, 65536)
            log.write(data)
            if not data:
                watched.remove(output)
        if 0 in ready or os.getppid() != replica:
            server.kill()
            server.wait()
            return 128 + signal.SIGKILL
        if terminate and kill_at == float("inf"):
            kill_at = time.monotonic() + _DRAINING_S
            server.terminate()
        if time.monotonic() > kill_at:
            server.kill()
        status = server.poll()
        if status is not None:
            return status if status >= 0 else 128 - status


def _read(output: int) -> bytes:
    """Read the rest of the pipe, without waiting for more."""
    os.set_blocking(output, False)
    data = b""
    with contextlib.suppress(BlockingIOError):
        while part := os.read(output, 65536):
            data += part
    return data


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
