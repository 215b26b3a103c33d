"""Start of the flow until it is ready, its memory and its processes, beside a flow of Jina's own that does nothing.

The sides take turns: `visual-search serve` with two shards, a plain Jina flow with the same executors and shards, which do
nothing, and the floor of both, `python -c "import jina"`. Memory is the proportional set size (PSS) of all processes some
seconds after the start, where a page that several of them share counts once; processor time is that of all processes until
the flow is ready. With `--against` the `visual-search` of another checkout takes turns with this one.

    python -m tests.benchmarks.bench_start [--rounds 5] [--against CHECKOUT] [--markdown FILE]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from tests.benchmarks.support.common import Report
from tests.support.flows.flow import ROOT, answered_status, processes_of_group, start_flow, stop_flow

# A flow that has just started still ends threads, and gives memory back.
_IDLE_S: Final = 3.0
_LOOK_S: Final = 0.01
_START_S: Final = 120.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Start:
    """One start: wall and processor seconds until it was ready; then MiB and processes while nothing is asked."""

    seconds: float
    cpu_s: float
    pss_mib: float
    processes: int


def start_of_flow(command: list[str], path: str, folder: Path) -> Start:
    """Start a program that is a flow, measure it and stop it.

    Args:
        command: the program; it finds its ports in VS_HTTP_PORT and VS_GRPC_PORT.
        path: what it answers with 200 over HTTP once it is ready.
        folder: for its files.

    Raises:
        SystemExit: the flow did not start.
    """
    started = time.perf_counter()
    flow = start_flow(
        folder, command=command, VS_SHARDS="2", VS_REPLICAS="2", PYTHONPATH=os.environ.get("PYTHONPATH", "")
    )
    try:
        while answered_status(flow.http_url + path) != 200:
            if flow.process.poll() is not None or time.perf_counter() - started > _START_S:
                raise SystemExit(f"the flow did not start:\n{flow.log[-3000:]}")
            time.sleep(_LOOK_S)
        seconds = time.perf_counter() - started
        cpu_s = sum(cpu_seconds(each) for each in processes_of_group(flow.process.pid))
        time.sleep(_IDLE_S)
        processes = processes_of_group(flow.process.pid)
        return Start(seconds, cpu_s, sum(pss_mib(each) for each in processes), len(processes))
    finally:
        stop_flow(flow)


def start_of_import(_folder: Path) -> Start:
    """Import Jina in a process of its own."""
    program = [sys.executable, "-c", "import jina; print(flush=True); input()"]
    started = time.perf_counter()
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        start = Start(time.perf_counter() - started, cpu_seconds(process.pid), pss_mib(process.pid), 1)
        process.stdin.write(b"\n")
    return start


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process until now, that of the children that it has waited for included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def pss_mib(pid: int) -> float:
    """Return the proportional set size of a process, in MiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/PID/smaps_rollup has no Pss: this needs Linux")


def serve_command(checkout: Path) -> list[str]:
    """Return what starts the flow of a checkout with its own environment."""
    return [str(checkout / ".venv" / "bin" / "visual-search"), "serve"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="starts of each side (5)")
    parser.add_argument("--against", type=Path, help="another checkout with its .venv")
    parser.add_argument("--markdown", type=Path, help="append the table to this file")
    chosen = parser.parse_args()
    here = [str(Path(sys.executable).with_name("visual-search")), "serve"]
    plain = [sys.executable, str(ROOT / "tests" / "benchmarks" / "support" / "plain_flow.py")]
    sides: dict[str, Callable[[Path], Start]] = {"visual-search serve": partial(start_of_flow, here, "/health/ready")}
    if chosen.against is not None:
        sides[f"the same in {chosen.against.name}"] = partial(
            start_of_flow, serve_command(chosen.against), "/health/ready"
        )
    sides["a plain Jina flow that does nothing"] = partial(start_of_flow, plain, "/")
    sides["python -c 'import jina'"] = start_of_import
    starts: dict[str, list[Start]] = {name: [] for name in sides}
    with tempfile.TemporaryDirectory(prefix="bench-start-") as folder:
        for _ in range(chosen.rounds):
            for name, start in sides.items():
                starts[name].append(start(Path(folder)))
    Report(f"python -m tests.benchmarks.bench_start --rounds {chosen.rounds}", chosen.markdown).table(
        f"Start until ready, and idle after it: medians of {chosen.rounds}",
        ["", "s", "fastest", "processor s", "PSS MiB", "processes"],
        [row_of(name, each) for name, each in starts.items()],
    )


def row_of(name: str, starts: list[Start]) -> list[str]:
    """Return the row of a side."""
    return [
        name,
        f"{statistics.median(each.seconds for each in starts):.2f}",
        f"{min(each.seconds for each in starts):.2f}",
        f"{statistics.median(each.cpu_s for each in starts):.2f}",
        f"{statistics.median(each.pss_mib for each in starts):.0f}",
        f"{starts[-1].processes}",
    ]


if __name__ == "__main__":
    main()
