"""Indexing photos through the flow, as forms, gRPC and JSON, against a raw loop with the same work on the same cores.

The raw loop is two processes, one a core, that read, decode, fit, make the thumbnail and embed with the project's own
code, and keep nothing (raw_loop). The flow does the same and stores durably. 32 photos a request, from 4 clients at once and
from one that waits for each answer; what is sent is ready before the clock starts. In every round each side has its turn,
every other round in reverse order. The ratio is that of the same round, and the median of the rounds counts.

The clients need the same cores as the flow: what this process used is shown, too. The raw loop has no client. So is what
other programs took of the machine in the meantime: beside them, the side with more processes gets a larger share of the
cores, and ratios of photos a second mean little; those of processor time do.

    python -m tests.benchmarks.bench_indexing [--photos DIR] [--rounds 5] [--repeat 2]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median

import orjson

from executors.documents import ImageDoc
from tests.benchmarks.support.callers import (
    Body,
    GrpcCaller,
    HttpCaller,
    grpc_documents,
    grpc_message,
    pictures_as_form,
    pictures_as_json,
)
from tests.benchmarks.support.common import Report, photo_files
from tests.benchmarks.support.processes import cpu_by_name, machine_ms, stages_of
from tests.benchmarks.support.raw_loop import RawLoop, raw_loop
from tests.benchmarks.support.turns import ratio
from tests.support.flows.flow import RunningFlow, running_flow

PHOTOS_A_REQUEST = 32
CLIENTS = 4
Photos = Sequence[bytes]
Chunks = Sequence[tuple[Photos, list[str]]]
# Sends the request of a number and checks its answer.
Send = Callable[[int], None]


@dataclass(slots=True)
class Turns:
    """What a side did in each round: photos a second, the processor time of a photo in ms by process, and how many cores
    other programs took in the meantime.
    """

    name: str
    aim: float | None
    run: Callable[[int], float]
    processes: dict[int, str]
    rates: list[float] = field(default_factory=list)
    cpu: list[dict[str, float]] = field(default_factory=list)
    others: list[float] = field(default_factory=list)

    def turn(self, number: int, photos: int) -> None:
        """Have one turn."""
        watched = self.processes | {os.getpid(): "client"}
        before, of_machine, started = cpu_by_name(watched), machine_ms(), time.perf_counter()
        self.rates.append(self.run(number))
        seconds = time.perf_counter() - started
        used = {name: now - before[name] for name, now in cpu_by_name(watched).items()}
        self.cpu.append({name: each / photos for name, each in used.items()})
        self.others.append(max(0.0, machine_ms() - of_machine - sum(used.values())) / 1000 / seconds)

    def cpu_of(self, name: str) -> float:
        """Return the processor time of a photo in ms that this process took, the mean of the rounds."""
        return fmean(each.get(name, 0.0) for each in self.cpu)

    @property
    def cpu_of_all(self) -> float:
        """The processor time of a photo of all processes but the client, the median of the rounds."""
        return median(sum(each.values()) - each.get("client", 0.0) for each in self.cpu)


def chunks_of(photos: Photos, prefix: str) -> Chunks:
    """Return the photos in requests, with ids that no other turn has."""
    starts = range(0, len(photos), PHOTOS_A_REQUEST)
    return [
        (some := photos[start : start + PHOTOS_A_REQUEST], [f"{prefix}/{start + n}" for n in range(len(some))])
        for start in starts
    ]


def rate_of(photos: int, count: int, clients: int, make_sender: Callable[[], Send]) -> float:
    """Return photos a second of clients that share the requests, each on a connection of its own."""
    numbers = iter(range(count))
    senders = [make_sender() for _ in range(clients)]

    def work(send: Send) -> None:
        for number in numbers:
            send(number)

    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        for each in [pool.submit(work, send) for send in senders]:
            each.result()
    return photos / (time.perf_counter() - started)


def over_http(port: int, bodies: Sequence[Body], photos: int, clients: int) -> float:
    """Return photos a second over HTTP."""

    def make_sender() -> Send:
        caller = HttpCaller(port)

        def send(number: int) -> None:
            parameters = orjson.loads(caller.post("/index", bodies[number]))["parameters"]
            assert parameters["failed"] == 0, parameters

        return send

    return rate_of(photos, len(bodies), clients, make_sender)


def over_grpc(port: int, messages: Sequence[bytes], photos: int, clients: int) -> float:
    """Return photos a second over gRPC."""
    answers: list[bytes] = []

    def make_sender() -> Send:
        caller = GrpcCaller(port)
        return lambda number: answers.append(caller.post(messages[number]))

    rate = rate_of(photos, len(messages), clients, make_sender)
    for answer in answers:
        assert all(each.error is None for each in grpc_documents(answer))
    return rate


def sides_of(flow: RunningFlow, photos: Photos, loop: RawLoop) -> list[Turns]:
    """Return the sides: the raw loop first, then the ways into the flow."""
    stages, port = stages_of(flow), flow.http_port

    def forms(clients: int) -> Callable[[int], float]:
        def run(number: int) -> float:
            bodies = [pictures_as_form(*chunk) for chunk in chunks_of(photos, f"form-{clients}-{number}")]
            return over_http(port, bodies, len(photos), clients)

        return run

    def json(number: int) -> float:
        bodies = [pictures_as_json(*chunk) for chunk in chunks_of(photos, f"json-{number}")]
        return over_http(port, bodies, len(photos), CLIENTS)

    def grpc(number: int) -> float:
        messages = [
            grpc_message("/index", [ImageDoc(id=id_, blob=each) for each, id_ in zip(*chunk, strict=True)], {})
            for chunk in chunks_of(photos, f"grpc-{number}")
        ]
        return over_grpc(flow.grpc_port, messages, len(photos), CLIENTS)

    return [
        Turns("raw loop, 2 processes", None, lambda _: loop.run(), dict.fromkeys(loop.pids, "raw loop")),
        Turns(f"form, {CLIENTS} clients", 0.90, forms(CLIENTS), stages),
        Turns(f"gRPC, {CLIENTS} clients", 0.90, grpc, stages),
        Turns(f"JSON, {CLIENTS} clients", 0.85, json, stages),
        Turns("form, 1 client", 0.75, forms(1), stages),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=2, help="how often each photo is indexed in a turn")
    parser.add_argument("--markdown", type=Path, help="append the tables to this file")
    options = parser.parse_args()
    files = photo_files(options.photos) * options.repeat
    photos = [file.read_bytes() for file in files]
    report = Report(f"python -m tests.benchmarks.bench_indexing --rounds {options.rounds}", options.markdown)
    with (
        tempfile.TemporaryDirectory(prefix="bench-indexing-") as folder,
        running_flow(Path(folder)) as flow,
        raw_loop(files) as loop,
    ):
        sides = sides_of(flow, photos, loop)
        for side in sides:  # caches, threads and connections are there before the first round
            side.run(-1)
        for number in range(options.rounds):
            for side in sides if number % 2 == 0 else reversed(sides):
                side.turn(number, len(files))
    raw = sides[0]
    rows = []
    for side in sides:
        middle, lowest, highest = ratio(side.rates, raw.rates)
        aim = "" if side.aim is None else f"≥ {side.aim:.2f}"
        cpu = ratio([side.cpu_of_all], [raw.cpu_of_all])[0]
        rates = [f"{median(side.rates):.0f}", f"{middle:.2f}", f"{lowest:.2f} – {highest:.2f}", aim]
        rows.append([side.name, *rates, f"{cpu:.2f}", f"{fmean(side.others):.1f}"])
    title = f"Indexing {len(files)} photos, {PHOTOS_A_REQUEST} a request, {options.rounds} rounds"
    columns = ["", "photos/s", "of the raw loop", "rounds", "aim", "CPU of the raw loop's", "cores that others took"]
    report.table(title, columns, rows)
    names = list(dict.fromkeys(name for side in sides for name in side.cpu[0] if name != "client"))
    rows = [
        [side.name, f"{side.cpu_of_all:.1f}", *(f"{side.cpu_of(name):.2f}" for name in [*names, "client"])]
        for side in sides
    ]
    report.table("Processor time of a photo, ms", ["", "all", *names, "client"], rows)


if __name__ == "__main__":
    main()
