"""Runs `jina flow` as a separate process, and stops all its processes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from executors.errors import VisualSearchError

START_TIMEOUT_S: Final = 120.0
STOP_TIMEOUT_S: Final = 20.0
TERMINATE_TIMEOUT_S: Final = 5.0
_LOG_LINES_SHOWN: Final = 12
_OF_A_SERVICE: Final = frozenset({"VS_KEYS_FILE", "VS_API_KEY", "VS_METRICS_PORT", "VS_ROOT_PATH"})


class FlowProcess:
    """A flow on free ports of this machine. As a context manager, it is ready inside and stopped afterwards.

    Args:
        command: the command that starts it, such as `flow_command(...)`.
        folder: the folder of its index and temporary files. Jina leaves some behind, so the caller removes the folder.
        log_file: the file that gets its output.
        environment: additional environment variables.
    """

    def __init__(
        self, command: Sequence[str], folder: Path, log_file: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        http_port, grpc_port = free_ports(2)
        self.url = f"http://127.0.0.1:{http_port}"
        self.log_file = log_file
        self.seconds_to_ready = 0.0
        self._command = list(command)
        # The user's environment applies, except for what is said about the address, the callers and the folder of a service
        # that lasts.
        inherited = {name: value for name, value in os.environ.items() if name not in _OF_A_SERVICE}
        self._environment = {
            **inherited,
            **(environment or {}),
            "VS_HOST": "127.0.0.1",
            "VS_HTTP_PORT": str(http_port),
            "VS_GRPC_PORT": str(grpc_port),
            "VS_WORKSPACE": str(folder / "index"),
            "TMPDIR": str(folder / "tmp"),
        }
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the flow and wait until it is ready.

        Raises:
            VisualSearchError: `unavailable`, with the last lines of its log.
        """
        started = time.monotonic()
        (self._folder / "tmp").mkdir(parents=True, exist_ok=True)
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                # A process group of its own: Ctrl-C reaches only this program, which then stops the flow.
                start_new_session=True,
            )
        while not self._is_ready():
            ended = self._process.poll()
            if ended is not None:
                raise self._failure(f"the flow ended with exit status {ended}")
            if time.monotonic() - started > START_TIMEOUT_S:
                raise self._failure(f"the flow was not ready after {START_TIMEOUT_S:g} s")
            time.sleep(0.1)
        self.seconds_to_ready = time.monotonic() - started

    def wait(self) -> int:
        """Wait until the flow ends, and return its exit status."""
        return self._process.wait() if self._process else 0

    def stop(self) -> list[int]:
        """Stop the flow, with SIGINT, SIGTERM and SIGKILL in turn.

        Returns:
            The processes of its group that are still alive; none, unless the system can't end them.
        """
        if self._process is None:
            return []
        group = self._process.pid
        self._signal_process(signal.SIGINT)
        if not self._wait_for_group(group, STOP_TIMEOUT_S):
            for number in (signal.SIGTERM, signal.SIGKILL):
                _signal_group(group, number)
                if self._wait_for_group(group, TERMINATE_TIMEOUT_S):
                    break
        return processes_of_group(group)

    def __enter__(self) -> FlowProcess:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _failure(self, what: str) -> VisualSearchError:
        lines = self.log_file.read_text("utf-8", "replace").rstrip().splitlines()[-_LOG_LINES_SHOWN:]
        return VisualSearchError("unavailable", "\n  ".join([f"{what}; its last lines ({self.log_file}):", *lines]))

    def _signal_process(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _wait_for_group(self, group: int, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None and not processes_of_group(group):
                return True
            time.sleep(0.05)
        return False


def flow_command(flow_file: Path) -> list[str]:
    """The command `jina flow --uses FILE`, with the `jina` of this environment.

    Raises:
        VisualSearchError: `unavailable` if this environment has no `jina`.
    """
    beside = Path(sys.executable).with_name("jina")
    found = str(beside) if beside.exists() else shutil.which("jina")
    if found is None:
        raise VisualSearchError(
            "unavailable", "the command `jina` is not in this environment; `make install` installs it"
        )
    return [found, "flow", "--uses", str(flow_file)]


def free_ports(count: int) -> list[int]:
    """Find ports of 127.0.0.1 that are free now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def processes_of_group(group: int) -> list[int]:
    """The living processes of a process group, without zombies."""
    processes = Path("/proc")
    if not (processes / "self" / "stat").exists():
        return _group_without_proc(group)
    found = []
    for entry in processes.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The fields after the name in parentheses: state, parent, group.
            state, _, group_of_entry = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(group_of_entry) == group and state not in "ZX":
            found.append(int(entry.name))
    return found


def _group_without_proc(group: int) -> list[int]:
    """The group itself, if it has any process, on systems without /proc (macOS)."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return []
    return [group]


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return
