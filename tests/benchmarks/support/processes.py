"""Processor time and memory of the processes that a benchmark asks, by name, and programs that it starts beside the flow."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from tests.support.flows.flow import ROOT, RunningFlow, answered_status, processes_of_group

_START_S: Final = 60.0
_STOP_S: Final = 10.0
# The names that Jina gives to pods, and the stage that each belongs to. What logs no port is the flow's main process.
_STAGES: Final = (
    (re.compile("^gateway"), "gateway"),
    (re.compile("^preprocess"), "preprocess"),
    (re.compile("^embed"), "embed"),
    (re.compile("/head"), "head"),
    (re.compile("/uses_after"), "merge"),
    (re.compile("^index"), "shards"),
)


def cpu_ms(pid: int) -> float:
    """Return the processor time of a process until now, of all its threads, in milliseconds (user and system).

    It is what utime and stime of /proc/PID/stat add up to, but in nanoseconds rather than in ticks of 10 ms: a clock of
    the kernel that clock_getcpuclockid(3) names in this way. A process that has ended has used nothing more: 0.
    """
    try:
        return time.clock_gettime((~pid << 3) | 2) * 1000
    except OSError:
        return 0.0


def cpu_by_name(processes: Mapping[int, str]) -> dict[str, float]:
    """Return the processor time until now in milliseconds, added up by name.

    Args:
        processes: the name of each process id; several processes may share one.
    """
    used: dict[str, float] = {}
    for pid, name in processes.items():
        used[name] = used.get(name, 0.0) + cpu_ms(pid)
    return used


def machine_ms() -> float:
    """Return the processor time that the whole machine has used until now in milliseconds; what a host took from it counts."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) * 1000 / os.sysconf("SC_CLK_TCK")


def stages_of(flow: RunningFlow) -> dict[int, str]:
    """Return the stage of each process of a flow, by process id, as Jina's log names it."""
    pods = {pid: pod for pod, pid, _ in flow.bound()}
    return {pid: _stage(pods.get(pid, "")) for pid in processes_of_group(flow.process.pid)}


def _stage(pod: str) -> str:
    return next((stage for pattern, stage in _STAGES if pattern.search(pod)), pod.split("/")[0] or "main")


def pss_mib(pids: Sequence[int]) -> float:
    """Return the memory of processes in MiB, in which a page that several of them share counts once."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


@contextmanager
def running_program(
    arguments: Sequence[str], log: IO[bytes], *, python: Path | None = None, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A program of Python's in a process group of its own, in the root of the repository; all of it ends at the end.

    Args:
        arguments: what follows `python`.
        python: another interpreter.
    """
    process = subprocess.Popen(
        [str(python or sys.executable), *arguments],
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, **environment},
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_S)
    for pid in processes_of_group(process.pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait(_STOP_S)


def wait_for_http(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Wait until a program answers 200.

    Raises:
        RuntimeError: it ended, or did not answer in time.
    """
    _wait(process, log, url, lambda: answered_status(url) == 200)


def wait_for_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until a program listens on a port of this machine.

    Raises:
        RuntimeError: it ended, or did not listen in time.
    """

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    _wait(process, log, str(port), listens)


def _wait(process: subprocess.Popen[bytes], log: Path, what: str, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if ready():
            return
        time.sleep(0.05)
    raise RuntimeError(f"{what} did not answer:\n{log.read_text(errors='replace')[-3000:]}")
