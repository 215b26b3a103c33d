"""What a search through the flow costs, beside the least that could answer it: processor time of all processes, p50, p95.

Over the same documents, in the same run, all sides take turns (blocks of requests, one at a time; every other round in
reverse order), and answer the same queries:

- the flow with 2 and with 1 shard: by vector over HTTP and gRPC, `like`, and by picture;
- a bare grpc.aio gateway with 2 shards, and one FastAPI process: the same store without anything around it (bare_search);
- for pictures: one FastAPI process with ONNX Runtime and numpy (bench_peers has more of them).

Before anything is measured, the answers to some queries are compared. Ratios are of the same round; the median counts, the
lowest and highest show the noise.

    python -m tests.benchmarks.bench_flow [--rows 2000] [--picture-rows 50000] [--rounds 6] [--requests 50] [--short]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from executors.documents import ImageDoc
from tests.benchmarks.peers.services import fastapi_service
from tests.benchmarks.support.bare_search import bare_gateway, bare_single
from tests.benchmarks.support.callers import (
    GrpcCaller,
    HttpCaller,
    grpc_documents,
    grpc_message,
    json_body,
    pictures_as_form,
    vector_body,
)
from tests.benchmarks.support.common import Report, photo_files
from tests.benchmarks.support.embedded import name_of
from tests.benchmarks.support.flow_documents import fill, wait_for_graphs
from tests.benchmarks.support.processes import stages_of
from tests.benchmarks.support.turns import Side, cpu_ratio, names_of, rows_of, take_turns, time_ratio
from tests.benchmarks.support.vectors import Vectors, make_queries, write_vectors
from tests.support.flows.flow import RunningFlow, running_flow

DIMENSION = 1280
LIMIT = 10
_COMPARED = 20
# Scores of the sides are computed from the same numbers, in another order of additions.
_SCORE_DIGITS = 4

Answer = list[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Aim:
    """A figure of a run, and what it should be at most (or, with `least`, at least)."""

    name: str
    value: float
    aim: float
    spread: tuple[float, float] | None = None
    least: bool = False

    @property
    def row(self) -> list[str]:
        """Return the name, the figure, its lowest and highest of the rounds, the aim, and whether it is reached."""
        reached = self.value >= self.aim if self.least else self.value <= self.aim
        spread = f"{self.spread[0]:.2f} – {self.spread[1]:.2f}" if self.spread else ""
        sign = "≥" if self.least else "≤"
        return [self.name, f"{self.value:.2f}", spread, f"{sign} {self.aim:g}", "yes" if reached else "no"]


def ratio_aim(name: str, ratio: tuple[float, float, float], aim: float, *, least: bool = False) -> Aim:
    """Return the aim for a ratio with its lowest and highest."""
    return Aim(name, ratio[0], aim, ratio[1:], least)


@dataclass(frozen=True, slots=True)
class Queries:
    """Searches that are ready to be sent: over HTTP, and as messages of gRPC."""

    vectors: Vectors

    def http(self, port: int) -> Callable[[int], bytes]:
        """Return what sends the search of a number over HTTP, to the flow or to a bare side."""
        caller = HttpCaller(port)
        bodies = [vector_body(vector, LIMIT) for vector in self.vectors]
        return lambda number: caller.post("/search", bodies[number % len(bodies)])

    def grpc(self, port: int) -> Callable[[int], bytes]:
        """Return what sends it over gRPC."""
        caller = GrpcCaller(port)
        messages = [grpc_message("/search", [ImageDoc(embedding=each)], {"limit": LIMIT}) for each in self.vectors]
        return lambda number: caller.post(messages[number % len(messages)])


def like(port: int, rows: int) -> Callable[[int], bytes]:
    """Return what searches with the vector of an indexed document."""
    caller = HttpCaller(port)
    count = min(rows, 200)
    bodies = [json_body({"parameters": {"like": name_of(row), "limit": LIMIT}}) for row in range(count)]
    return lambda number: caller.post("/search", bodies[number % count])


def by_picture(port: int, photos: Sequence[bytes]) -> Callable[[int], bytes]:
    """Return what searches with a photo, sent as a form."""
    caller = HttpCaller(port)
    bodies = [pictures_as_form([each], parameters={"limit": LIMIT}) for each in photos]
    return lambda number: caller.post("/search", bodies[number % len(bodies)])


def http_answer(content: bytes) -> Answer:
    """Return ids and scores of an answer over HTTP."""
    return [(each["id"], each["score"]) for each in orjson.loads(content)["data"][0]["matches"]]


def grpc_answer(content: bytes) -> Answer:
    """Return ids and scores of an answer over gRPC."""
    (document,) = grpc_documents(content)
    return [(str(each.id), each.score) for each in document.matches]


def check_equal(sides: Sequence[Side], queries: int = _COMPARED) -> None:
    """Compare the answers of all sides to the first queries.

    Raises:
        RuntimeError: two sides answer differently.
    """
    for number in range(queries):
        answers = {}
        for side in sides:
            content = side.request(number)
            assert isinstance(content, bytes)
            answers[side.name] = grpc_answer(content) if "gRPC" in side.name else http_answer(content)
        first = next(iter(answers.values()))
        for name, answer in answers.items():
            same_scores = np.allclose([s for _, s in answer], [s for _, s in first], atol=10**-_SCORE_DIGITS)
            if [id_ for id_, _ in answer] != [id_ for id_, _ in first] or len(first) < LIMIT or not same_scores:
                raise RuntimeError(f"query {number}: {name!r} answers {answer}, another side {first}")


def by_vector_and_like(options: argparse.Namespace, folder: Path, report: Report) -> list[Aim]:
    """Measure searches by vector and `like` over few documents."""
    vectors = write_vectors(folder / "vectors.npy", options.rows, DIMENSION)
    queries = Queries(make_queries(200, DIMENSION))
    with ExitStack() as stack:
        two, one = (stack.enter_context(running_flow(folder / f"flow-{n}", n)) for n in (2, 1))
        for flow in (two, one):
            fill(flow.grpc_port, vectors)
            wait_for_graphs(flow.http_url)
        bare_port, bare_processes = stack.enter_context(bare_gateway(folder / "vectors.npy", 2, folder))
        single_port, single_processes = stack.enter_context(bare_single(folder / "vectors.npy", folder))
        flow_two = Side("flow, 2 shards, HTTP", queries.http(two.http_port), stages_of(two))
        flow_one = Side("flow, 1 shard, HTTP", queries.http(one.http_port), stages_of(one))
        bare = Side("bare grpc.aio gateway + 2 shards", queries.http(bare_port), bare_processes)
        single = Side("one FastAPI process", queries.http(single_port), single_processes)
        over_grpc = [
            Side(f"flow, {name}, gRPC", queries.grpc(flow.grpc_port), stages_of(flow))
            for name, flow in (("2 shards", two), ("1 shard", one))
        ]
        by_vector = [flow_two, bare, flow_one, single, *over_grpc]
        check_equal(by_vector)
        likes = [
            Side(f"flow, {name}, like", like(flow.http_port, options.rows), stages_of(flow))
            for name, flow in (("2 shards", two), ("1 shard", one))
        ]
        sides = [*by_vector, *likes]
        take_turns(sides, options.rounds, options.requests)
    show(report, f"Search by vector, {options.rows:,} x {DIMENSION}", sides)
    return [
        ratio_aim("by vector, 2 shards: CPU of bare grpc.aio", cpu_ratio(flow_two, bare), 1.5),
        ratio_aim("by vector, 2 shards: p50 of bare grpc.aio", time_ratio(flow_two, bare), 1.6),
        ratio_aim("by vector, 1 shard: CPU of one FastAPI process", cpu_ratio(flow_one, single), 2.2),
        ratio_aim("by vector, 1 shard: p50 of one FastAPI process", time_ratio(flow_one, single), 2.0),
        Aim("like, 2 shards: CPU, ms", likes[0].cpu_of_a_request, 11),
    ]


def by_pictures(options: argparse.Namespace, folder: Path, report: Report) -> list[Aim]:
    """Measure searches by picture over many documents."""
    vectors = write_vectors(folder / "many.npy", options.picture_rows, DIMENSION)
    photos = [file.read_bytes() for file in photo_files(options.photos)[:200]]
    with ExitStack() as stack:
        flow: RunningFlow = stack.enter_context(running_flow(folder / "flow-pictures", 2))
        fill(flow.grpc_port, vectors)
        wait_for_graphs(flow.http_url)
        service = stack.enter_context(fastapi_service(folder / "many.npy", folder))
        ours = Side("flow, 2 shards, picture", by_picture(flow.http_port, photos), stages_of(flow))
        peer = Side("FastAPI + ONNX + numpy", by_picture(service.port, photos), service.processes())
        take_turns([ours, peer], options.rounds, options.requests)
    show(report, f"Search by picture over HTTP, {options.picture_rows:,} x {DIMENSION}", [ours, peer])
    return [
        Aim("by picture, 2 shards: p50, ms", ours.percentile(50), 25),
        ratio_aim("by picture: p50 of FastAPI + ONNX + numpy / ours", time_ratio(peer, ours), 1.6, least=True),
    ]


def show(report: Report, title: str, sides: Sequence[Side]) -> None:
    """Print a row a side."""
    names = names_of(sides)
    requests = len(sides[0].times)
    report.table(f"{title}, {requests} requests a side", ["CPU ms a request", "all", *names, "p50", "p95"],
                 rows_of(sides, names))  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000, help="documents of the searches by vector (2,000)")
    parser.add_argument("--picture-rows", type=int, default=50_000, help="documents of those by picture (50,000)")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--requests", type=int, default=50, help="of a side in a round")
    parser.add_argument("--short", action="store_true", help="about a minute: fewer rounds, documents and requests")
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--markdown", type=Path, help="append the tables to this file")
    options = parser.parse_args()
    if options.short:
        options.rows = options.picture_rows = 1_000
        options.rounds, options.requests = 3, 25
    command = "python -m tests.benchmarks.bench_flow" + (" --short" if options.short else "")
    report = Report(command, options.markdown)
    with tempfile.TemporaryDirectory(prefix="bench-flow-") as name:
        aims = by_vector_and_like(options, Path(name), report)
        aims += by_pictures(options, Path(name), report)
    report.table("Aims", ["", "here", "rounds", "aim", "reached"], [aim.row for aim in aims])


if __name__ == "__main__":
    main()
