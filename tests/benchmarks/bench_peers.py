"""This project beside what a competent user would write in an afternoon: plain Jina, FastAPI and LitServe with numpy.

All have the same model, photos and vectors, and run at the same time; only the one whose turn it is is asked. The peers
(`tests/benchmarks/peers/`) search exactly, by one matrix product in memory, and store nothing; this project searches by a
graph, stores durably, and makes thumbnails. Searches go one at a time; photos are indexed 32 a request as JSON, by 4 clients
and by one. LitServe needs an environment of its own:

    python -m venv DIR && DIR/bin/pip install 'pip>=25.1' && DIR/bin/pip install --group peers
    python -m tests.benchmarks.bench_peers --litserve DIR/bin/python [--rows 50000] [--rounds 5] [--requests 20]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

from executors.documents import ImageDoc
from tests.benchmarks.bench_indexing import CLIENTS, chunks_of, rate_of
from tests.benchmarks.peers.services import Requests, Service, fastapi_service, jina_service, litserve_service
from tests.benchmarks.support.callers import (
    Body,
    GrpcCaller,
    HttpCaller,
    grpc_message,
    pictures_as_form,
    pictures_as_json,
    vector_body,
)
from tests.benchmarks.support.common import Report, photo_files
from tests.benchmarks.support.embedded import name_of
from tests.benchmarks.support.flow_documents import fill, wait_for_graphs
from tests.benchmarks.support.processes import pss_mib
from tests.benchmarks.support.turns import Side, take_turns, time_ratio
from tests.benchmarks.support.vectors import Vectors, make_queries, true_neighbours, write_vectors
from tests.support.flows.flow import running_flow

DIMENSION = 1280
LIMIT = 10
KINDS = ("vector, HTTP", "picture, HTTP", "vector, gRPC")

OURS = Requests(
    lambda vector, limit: ("/search", vector_body(vector, limit)),
    lambda picture: ("/search", pictures_as_form([picture], parameters={"limit": LIMIT})),
    lambda pictures, ids: ("/index", pictures_as_json(pictures, list(ids))),
)


@dataclass(slots=True)
class Contestant:
    """A service, its searches of each kind, and the photos a second that it indexed in each round.

    Attributes:
        rates: by the number of clients.
    """

    service: Service
    searches: dict[str, Side]
    rates: dict[int, list[float]] = field(default_factory=dict)

    def index(self, photos: Sequence[bytes], number: int, clients: int) -> None:
        """Index the photos once; note the rate, but that of a turn with a negative number."""
        requests = [
            self.service.requests.index(*chunk)
            for chunk in chunks_of(photos, f"{self.service.name}-{clients}-{number}")
        ]

        def make_sender() -> Callable[[int], None]:
            caller = HttpCaller(self.service.port)
            return lambda n: check(caller.post(*requests[n]))

        rate = rate_of(len(photos), len(requests), clients, make_sender)
        if number >= 0:
            self.rates.setdefault(clients, []).append(rate)


def check(answer: bytes) -> None:
    """Raise if an answer says that a document failed."""
    if b'"failed":' in answer and b'"failed":0' not in answer:
        raise RuntimeError(f"not all was indexed: {answer[:500]!r}")


def searches_of(service: Service, queries: Vectors, photos: Sequence[bytes]) -> dict[str, Side]:
    """Return the searches of each kind that a service can be asked over."""
    given, processes = service.requests, service.processes()

    def over_http(requests: Sequence[tuple[str, Body]]) -> Callable[[int], bytes]:
        caller = HttpCaller(service.port)
        return lambda number: caller.post(*requests[number % len(requests)])

    sides = {
        "vector, HTTP": over_http([given.vector(vector, LIMIT) for vector in queries]),
        "picture, HTTP": over_http([given.picture(photo) for photo in photos]),
    }
    if service.grpc_port is not None:
        grpc = GrpcCaller(service.grpc_port)
        messages = [message_of(service, np.asarray(vector)) for vector in queries]
        sides["vector, gRPC"] = lambda number: grpc.post(messages[number % len(messages)])
    return {kind: Side(service.name, request, processes) for kind, request in sides.items()}


def message_of(service: Service, vector: Vectors) -> bytes:
    """Return a search by vector as a message of Jina's; plain Jina and this project name the field alike."""
    if service.name == "plain Jina":
        from tests.benchmarks.peers.jina_service import Picture

        return grpc_message("/search", [Picture(embedding=vector)], {"limit": LIMIT})
    return grpc_message("/search", [ImageDoc(embedding=vector)], {"limit": LIMIT})


def check_answers(contestants: Sequence[Contestant], vectors: Vectors, queries: Vectors) -> None:
    """Search with some vectors, and raise if an answer lacks the nearest document."""
    for number, (row, *_) in enumerate(true_neighbours(vectors, queries)):
        for each in contestants:
            for kind in KINDS:
                if "vector" in kind and kind in each.searches:
                    answer = each.searches[kind].request(number)
                    assert isinstance(answer, bytes)
                    if name_of(row).encode() not in answer:
                        raise RuntimeError(
                            f"{each.service.name} does not find {name_of(row)} ({kind}): {answer[:500]!r}"
                        )


def services_of(stack: ExitStack, folder: Path, vectors: Vectors, litserve: Path | None) -> list[Service]:
    """Start this project's flow and its peers over the same vectors."""
    flow = stack.enter_context(running_flow(folder / "flow", 2))
    fill(flow.grpc_port, vectors)
    wait_for_graphs(flow.http_url)
    file = folder / "vectors.npy"
    services = [
        Service("this project", flow.http_port, flow.process.pid, OURS, flow.grpc_port),
        stack.enter_context(jina_service(file, folder)),
        stack.enter_context(fastapi_service(file, folder)),
    ]
    if litserve is not None:
        services.append(stack.enter_context(litserve_service(file, folder, litserve)))
    return services


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=20, help="searches of a kind and a side in a round")
    parser.add_argument(
        "--litserve", type=Path, help="an interpreter that has LitServe; without it LitServe is left out"
    )
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--markdown", type=Path, help="append the table to this file")
    options = parser.parse_args()
    photos = [file.read_bytes() for file in photo_files(options.photos)]
    queries = make_queries(100, DIMENSION)
    with tempfile.TemporaryDirectory(prefix="bench-peers-") as name, ExitStack() as stack:
        vectors = write_vectors(Path(name) / "vectors.npy", options.rows, DIMENSION)
        services = services_of(stack, Path(name), vectors, options.litserve)
        contestants = [Contestant(service, searches_of(service, queries, photos)) for service in services]
        check_answers(contestants, vectors, queries[:20])
        for kind in KINDS:
            sides = [each.searches[kind] for each in contestants if kind in each.searches]
            take_turns(sides, options.rounds, options.requests)
        memory = {each.name: pss_mib(list(each.processes())) for each in services}
        for clients in (CLIENTS, 1):
            for number in range(-1, options.rounds):
                for each in contestants if number % 2 == 0 else reversed(contestants):
                    each.index(photos, number, clients)
    command = f"python -m tests.benchmarks.bench_peers --rows {options.rows} --rounds {options.rounds}"
    report = Report(command, options.markdown)
    title = f"Peers, {options.rows:,} x {DIMENSION}: ms, p50 / p95 (p50 of ours); photos a second (of ours)"
    columns = ["", *KINDS, f"index JSON, {CLIENTS} clients", "1 client", "PSS MiB"]
    report.table(title, columns, [row_of(each, contestants[0], memory[each.service.name]) for each in contestants])
    if options.litserve is None:
        print("LitServe was left out: see --litserve")


def row_of(each: Contestant, ours: Contestant, memory: float) -> list[str]:
    """Return the row of a contestant."""
    row = [each.service.name]
    for kind in KINDS:
        side = each.searches.get(kind)
        if side is None:
            row.append("–")
            continue
        times = f"{side.percentile(50):.1f} / {side.percentile(95):.0f}"
        row.append(f"{times} ({time_ratio(side, ours.searches[kind])[0]:.2f})")
    for clients in (CLIENTS, 1):
        rates, others = each.rates[clients], ours.rates[clients]
        of_ours = median(one / other for one, other in zip(rates, others, strict=True))
        row.append(f"{median(rates):.0f} ({of_ours:.2f})")
    return [*row, f"{memory:,.0f}"]


if __name__ == "__main__":
    main()
