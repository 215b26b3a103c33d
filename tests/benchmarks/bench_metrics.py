"""What metrics cost: indexing and searching while `/metrics` is asked each second, beside the same without it.

One flow, blocks in turns; every other round in reverse order. Processor time is that of all processes of the flow, the
answers to the scrapes included; what the gateway counts of each request is in both sides.

    python -m tests.benchmarks.bench_metrics [--rounds 10] [--markdown FILE]
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import orjson

from tests.benchmarks.bench_flow import DIMENSION, Queries
from tests.benchmarks.bench_indexing import PHOTOS_A_REQUEST
from tests.benchmarks.support.callers import HttpCaller, pictures_as_form
from tests.benchmarks.support.common import Report, photo_files
from tests.benchmarks.support.flow_documents import fill
from tests.benchmarks.support.processes import stages_of
from tests.benchmarks.support.turns import Side, cpu_ratio, names_of, rows_of
from tests.benchmarks.support.vectors import make_queries, write_vectors
from tests.support.flows.flow import RunningFlow, running_flow

_ROWS: Final = 2_000
_EVERY_S: Final = 1.0
# Blocks of some seconds, so that each has several scrapes.
_INDEXED: Final = 10
_SEARCHED: Final = 400


@contextmanager
def scraped(url: str) -> Iterator[None]:
    """Ask for the metrics each second while the block runs."""
    end = threading.Event()

    def scrape() -> None:
        while True:
            with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
                assert b"visual_search_up" in answer.read()
            if end.wait(_EVERY_S):
                return

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def index(port: int) -> Callable[[int], bytes]:
    """Return what indexes photos as a form, each time with the same ids, so that the index does not grow."""
    caller = HttpCaller(port)
    photos = [path.read_bytes() for path in photo_files()[:PHOTOS_A_REQUEST]]
    bodies = [
        pictures_as_form(photos, [f"photo {n} {row}" for row in range(len(photos))], {"collection": "photos"})
        for n in range(2)
    ]

    def send(number: int) -> bytes:
        answer = caller.post("/index", bodies[number % 2])
        assert orjson.loads(answer)["parameters"]["failed"] == 0
        return answer

    return send


def measure(flow: RunningFlow, rounds: int) -> list[Side]:
    """Return the sides in pairs: without scrapes, and with them."""
    queries = Queries(make_queries(100, DIMENSION))
    ways = {"index": (index(flow.http_port), _INDEXED), "search": (queries.http(flow.http_port), _SEARCHED)}
    sides = []
    for name, (way, count) in ways.items():
        quiet, watched = (
            Side(f"{name}, {how}", way, stages_of(flow)) for how in ("no scrapes", "a scrape each second")
        )
        for number in range(rounds + 1):
            for side in (quiet, watched) if number % 2 else (watched, quiet):
                if side is watched:
                    with scraped(flow.http_url):
                        side.block(number * count, count)
                else:
                    side.block(number * count, count)
        for side in (quiet, watched):
            del side.cpu[0]  # the first block only warms up
            sides.append(side)
    return sides


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-metrics-") as name, running_flow(Path(name) / "flow", 2) as flow:
        fill(flow.grpc_port, write_vectors(Path(name) / "vectors.npy", _ROWS, DIMENSION))
        sides = measure(flow, options.rounds)
    names = names_of(sides)
    report = Report(f"python -m tests.benchmarks.bench_metrics --rounds {options.rounds}", options.markdown)
    report.table("Processor time of a request, ms", ["", "all", *names, "p50", "p95"], rows_of(sides, names))
    rows = []
    for quiet, watched in zip(sides[::2], sides[1::2], strict=True):
        middle, lowest, highest = cpu_ratio(watched, quiet)
        rows.append([watched.name, f"{middle:.3f}", f"{lowest:.3f} – {highest:.3f}", "≤ 1.02"])
    report.table("Processor time, of the same without scrapes", ["", "median", "rounds", "aim"], rows)


if __name__ == "__main__":
    main()
