"""From JPEG to answer with Triton on a GPU, against the ceiling that perf_analyzer finds for the same server.

The flow's replicas call a Triton that this program starts on the first GPU; clients send forms of 32 photos to `/embed`, and
single photos to `/search`. perf_analyzer asks the same server for the model alone, with random pixels, at several numbers of
calls at once; its best is the ceiling. The two take turns. The aim is 0.8 of the ceiling while processors suffice: what of
the machine was busy is shown, and where it is all of it, processors and not the GPU are the limit.

Without a GPU it says so and measures nothing. `--cpu` runs the same with Triton on the CPU, to try the program itself.
perf_analyzer comes with tritonclient, and needs libb64 (Debian: libb64-0d).

    python -m tests.benchmarks.bench_gpu [--rounds 3] [--seconds 10] [--clients 16] [--replicas 4] [--cpu]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

import orjson

from executors.devices import CPU, Device, list_gpus
from executors.models.repository import load_spec
from executors.models.spec import ModelSpec
from executors.settings import read_settings
from tests.benchmarks.bench_embedding import triton
from tests.benchmarks.support.callers import Body, HttpCaller, pictures_as_form
from tests.benchmarks.support.common import Report, photo_files
from tests.benchmarks.support.processes import machine_ms
from tests.support.flows.flow import TRITON_FLOW, running_flow

NO_GPU: Final = "no GPU here (`nvidia-smi -L` lists none): nothing was measured. --cpu tries the program without one."
PHOTOS_A_REQUEST: Final = 32
_AIM: Final = 0.8
_BATCHES: Final = (1, 32)
_CALLS_AT_ONCE: Final = ("1", "4", "16")
_THROUGHPUT: Final = re.compile(r"throughput: ([\d.]+) infer/sec", re.IGNORECASE)


@dataclass(slots=True)
class Figures:
    """Pictures a second of each round, and the share of the machine's processors that was busy."""

    rates: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)

    def note(self, run: Callable[[], float]) -> None:
        """Run it and note both."""
        used, started = machine_ms(), time.perf_counter()
        self.rates.append(run())
        cores = os.cpu_count() or 1
        self.busy.append((machine_ms() - used) / 1000 / (time.perf_counter() - started) / cores)


def gpu_listing() -> str:
    """Return the lines of `nvidia-smi -L`; nothing where there is no such program or it fails."""
    if shutil.which("nvidia-smi") is None:
        return ""
    return subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout


def perf_analyzer() -> str | None:
    """Return the path of a perf_analyzer that starts: the one in PATH, or that of this environment."""
    for path in (shutil.which("perf_analyzer"), Path(sys.executable).with_name("perf_analyzer")):
        if path and Path(path).exists():
            tried = subprocess.run([str(path), "--version"], capture_output=True, check=False)
            if tried.returncode == 0:
                return str(path)
    return None


def ceiling(program: str, url: str, spec: ModelSpec, batch: int, seconds: float) -> float:
    """Return the most pictures a second that the server answers for calls of so many pictures.

    Raises:
        RuntimeError: perf_analyzer failed, or said nothing of the throughput.
    """
    rates = []
    shape = ",".join(map(str, spec.input_shape))
    for calls in _CALLS_AT_ONCE:
        command = [
            program, "-m", spec.name, "-i", "grpc", "-u", url, "-b", str(batch), "--shape", f"{spec.input_name}:{shape}",
            "--concurrency-range", calls, "--measurement-interval", f"{int(seconds * 1000 / len(_CALLS_AT_ONCE))}",
            "--max-trials", "3", "--stability-percentage", "50",
        ]  # fmt: skip
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        found = _THROUGHPUT.findall(answer.stdout)
        if not found:
            raise RuntimeError(f"perf_analyzer: {answer.stdout[-2000:]}{answer.stderr[-2000:]}")
        rates.append(float(found[-1]))
    return max(rates)


def through_the_flow(port: int, path: str, bodies: Sequence[Body], photos: int, clients: int, seconds: float) -> float:
    """Return pictures a second of clients that each send one request after the other.

    Args:
        photos: how many a body has.
    """
    end = time.perf_counter() + seconds
    done = [0] * clients

    def work(client: int) -> None:
        caller = HttpCaller(port)
        number = client
        while time.perf_counter() < end:
            parameters = orjson.loads(caller.post(path, bodies[number % len(bodies)]))["parameters"]
            if parameters["failed"]:
                raise RuntimeError(f"{path} failed: {parameters}")
            done[client] += photos
            number += clients
        caller.close()

    started = time.perf_counter()
    threads = [threading.Thread(target=work, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - started)


def measure(options: argparse.Namespace, device: Device, program: str, report: Report) -> None:
    """Measure and print."""
    chosen = read_settings()
    spec = load_spec(chosen.models_dir, chosen.model)
    photos = [file.read_bytes() for file in photo_files(options.photos)]
    chunks = [photos[start : start + PHOTOS_A_REQUEST] for start in range(0, len(photos), PHOTOS_A_REQUEST)]
    forms = [pictures_as_form(chunk) for chunk in chunks if len(chunk) == PHOTOS_A_REQUEST]
    single = [pictures_as_form([photo]) for photo in photos]
    figures = {name: Figures() for name in ("batch 1", "batch 32", "/embed", "/search")}
    with (
        tempfile.TemporaryDirectory(prefix="bench-gpu-") as name,
        triton(chosen, chosen.models_dir, Path(name), "bench", device) as server,
        running_flow(
            Path(name) / "flow", 1, TRITON_FLOW,
            VS_EMBED_BACKEND="triton", VS_TRITON_URLS=server.url, VS_REPLICAS=str(options.replicas),
        ) as flow,
    ):  # fmt: skip
        first = HttpCaller(flow.http_port)
        first.post("/index", pictures_as_form(photos[:PHOTOS_A_REQUEST], [f"{n}" for n in range(PHOTOS_A_REQUEST)]))
        for _ in range(options.rounds):
            for batch in _BATCHES:
                figures[f"batch {batch}"].note(partial(ceiling, program, server.url, spec, batch, options.seconds))
            for path, bodies, count in (("/embed", forms, PHOTOS_A_REQUEST), ("/search", single, 1)):
                figures[path].note(
                    partial(through_the_flow, flow.http_port, path, bodies, count, options.clients, options.seconds)
                )
    best = max(median(figures[f"batch {batch}"].rates) for batch in _BATCHES)
    names = {
        "batch 1": "perf_analyzer, single pictures",
        "batch 32": "perf_analyzer, 32 pictures a call",
        "/embed": f"JPEG to vector, {PHOTOS_A_REQUEST} a request",
        "/search": "JPEG to hits, one a request",
    }
    rows = [
        [
            names[kind],
            f"{median(each.rates):.0f}",
            f"{median(each.rates) / best:.2f}",
            f"{100 * median(each.busy):.0f} %",
        ]
        for kind, each in figures.items()
    ]
    columns = ["", "pictures/s", f"of the ceiling (aim {_AIM})", "processors busy"]
    report.table(f"Triton on {device}, {options.clients} clients, {options.replicas} replicas", columns, rows)


def main() -> None:
    """Measure, or say what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="of a side in a round")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--replicas", type=int, default=2, help="of the embedding stage")
    parser.add_argument("--cpu", action="store_true", help="with Triton on the CPU, to try this program")
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--markdown", type=Path, help="append the table to this file")
    options = parser.parse_args()
    if not options.cpu and not list_gpus(gpu_listing()).count:
        print(NO_GPU)
        return
    program = perf_analyzer()
    if program is None:
        raise SystemExit(
            "perf_analyzer does not start: it comes with tritonclient and needs libb64 (Debian: libb64-0d)"
        )
    report = Report("python -m tests.benchmarks.bench_gpu" + (" --cpu" if options.cpu else ""), options.markdown)
    measure(options, CPU if options.cpu else Device("gpu", "0"), program, report)


if __name__ == "__main__":
    main()
