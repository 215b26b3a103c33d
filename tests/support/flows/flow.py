"""Start a real flow the way a user does, in a process of its own, for tests that talk to it from outside."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError, URLError

ROOT = Path(__file__).resolve().parents[3]
FLOW = ROOT / "flows" / "image-search.yml"
TRITON_FLOW = ROOT / "flows" / "image-search-triton.yml"
OPENSEARCH_FLOW = ROOT / "flows" / "image-search-opensearch.yml"
START_TIMEOUT_S = 90
STOP_TIMEOUT_S = 20
_BOUND = re.compile(r"(\S+)@ *(\d+)\[I\]: *start server bound to \S+:(\d+)")


@dataclass(slots=True)
class RunningFlow:
    """A flow that answers, and how to reach it and its processes."""

    process: subprocess.Popen[bytes]
    http_port: int
    grpc_port: int
    log_file: Path
    workspace: Path
    environment: dict[str, str] = field(repr=False, default_factory=dict)

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def grpc_url(self) -> str:
        return f"grpc://127.0.0.1:{self.grpc_port}"

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def pids_of(self, name: str) -> list[int]:
        """Processes whose port Jina logged under this pod name (`embed/rep-0`, `index/shard-1/rep-0`, `gateway`)."""
        return sorted({pid for pod, pid, _ in self.bound() if pod.startswith(name)})

    def bound(self) -> list[tuple[str, int, int]]:
        """Each process of the flow that Jina logged: its name, its process id, the port that it listens on."""
        found = _BOUND.findall(self.log)
        return sorted((pod, int(pid), int(port)) for pod, pid, port in found)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def processes_of_group(group: int) -> list[int]:
    """The living processes of a process group (zombies do not count)."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == group and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def start_flow(workspace: Path, flow: Path = FLOW, *, command: Sequence[str] = (), **environment: str) -> RunningFlow:
    """Start `jina flow --uses …`, or another command, in a process group of its own; returns before it is ready."""
    workspace.mkdir(parents=True, exist_ok=True)
    http_port, grpc_port = free_port(), free_port()
    variables = {
        **os.environ,
        "VS_HTTP_PORT": str(http_port),
        "VS_GRPC_PORT": str(grpc_port),
        "VS_WORKSPACE": str(workspace / "index"),
        **environment,
    }
    log_file = workspace / f"flow-{http_port}.log"
    program = list(command) or [str(Path(sys.executable).with_name("jina")), "flow", "--uses", str(flow)]
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            program, stdout=log, stderr=subprocess.STDOUT, env=variables, cwd=workspace, start_new_session=True
        )
    return RunningFlow(process, http_port, grpc_port, log_file, workspace, variables)


def wait_until(flow: RunningFlow, path: str = "/health/ready", status: int = 200) -> None:
    """Wait until the flow answers `path` with `status`; fail at once when its process ends."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if flow.process.poll() is not None:
            raise AssertionError(f"the flow ended with {flow.process.returncode}:\n{flow.log[-3000:]}")
        if answered_status(flow.http_url + path) == status:
            return
        time.sleep(0.1)
    raise AssertionError(f"{path} did not answer {status} in {START_TIMEOUT_S} s:\n{flow.log[-3000:]}")


def answered_status(url: str) -> int | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code
    except (URLError, OSError):
        return None


def stop_flow(flow: RunningFlow, how: signal.Signals = signal.SIGINT) -> int:
    """Stop as Ctrl-C does (the main process only is signalled), and clean up by force if anything is left."""
    if flow.process.poll() is None:
        flow.process.send_signal(how)
    try:
        return flow.process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return -1
    finally:
        kill_flow(flow)


def kill_flow(flow: RunningFlow) -> None:
    """kill -9 everything that belongs to the flow."""
    for pid in processes_of_group(flow.process.pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    flow.process.wait(STOP_TIMEOUT_S)


@contextmanager
def running_flow(workspace: Path, shards: int = 2, flow: Path = FLOW, **environment: str) -> Iterator[RunningFlow]:
    """A flow that is ready, stopped at the end."""
    started = start_flow(workspace, flow, VS_SHARDS=str(shards), **environment)
    try:
        wait_until(started)
        yield started
    finally:
        stop_flow(started)
