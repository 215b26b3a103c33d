"""What requests cost the flow, as ratios to a calibration loop, beside those that are committed in baseline.json.

Blocks of requests of each kind and the calibration loop take turns. A ratio is the processor time of a request (of all
processes of the flow) divided by that of the loop before and after its round, in thousandths; the 10th percentile of the
rounds counts, because other work only makes a round dearer. So the figures hold on other machines and beside other work,
as far as those slow down both alike. `make test-slow` fails when a ratio is more than 15 % above the committed one.

    python -m tests.benchmarks.baseline            # measure, and compare
    python -m tests.benchmarks.baseline --write    # and commit what is measured as the new baseline
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import orjson

from tests.benchmarks.bench_flow import DIMENSION, Queries, by_picture, like
from tests.benchmarks.bench_indexing import PHOTOS_A_REQUEST
from tests.benchmarks.support.calibration import calibration_ms
from tests.benchmarks.support.callers import HttpCaller, pictures_as_form
from tests.benchmarks.support.common import Report
from tests.benchmarks.support.flow_documents import fill
from tests.benchmarks.support.processes import stages_of
from tests.benchmarks.support.turns import Side, names_of, rows_of
from tests.benchmarks.support.vectors import make_queries, write_vectors
from tests.support.flows.flow import RunningFlow, running_flow
from tests.support.pictures.pictures import encode, scene

FILE: Final = Path(__file__).with_name("baseline.json")
# How much dearer than the baseline a request may be.
TOLERANCE: Final = 1.15
_ROWS: Final = 1_000
_ROUNDS: Final = 12
_INDEXING: Final = f"index {PHOTOS_A_REQUEST} photos"


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured.

    Attributes:
        ratios: of each kind of request: thousandths of the calibration loop.
        sides: of each kind: the processor time by process.
    """

    ratios: dict[str, float]
    sides: Sequence[Side]


def read_baseline(file: Path = FILE) -> dict[str, float]:
    """Return the committed ratios, by kind of request."""
    ratios: dict[str, float] = json.loads(file.read_text("utf-8"))
    return ratios


def dearer(ratios: Mapping[str, float], baseline: Mapping[str, float], tolerance: float = TOLERANCE) -> list[str]:
    """Return a sentence for each kind of request that costs more than the baseline allows.

    Raises:
        KeyError: one of them names a kind that the other lacks.
    """
    if ratios.keys() != baseline.keys():
        raise KeyError(f"the kinds differ: {sorted(ratios)}, baseline {sorted(baseline)}")
    return [
        f"{kind} costs {ratio / baseline[kind]:.2f} times the baseline ({ratio:.2f}, baseline {baseline[kind]:.2f})"
        for kind, ratio in ratios.items()
        if ratio > tolerance * baseline[kind]
    ]


def measure(folder: Path, rounds: int = _ROUNDS, requests: int = 24) -> Measured:
    """Start a flow with two shards and measure it."""
    with running_flow(folder / "flow", 2) as flow:
        fill(flow.grpc_port, write_vectors(folder / "vectors.npy", _ROWS, DIMENSION))
        sides = _sides(flow)
        for side in sides:
            for number in range(requests if side.name != _INDEXING else 2):
                side.request(number)
        loop = [calibration_ms()]
        for number in range(rounds):
            for side in sides:
                count = 2 if side.name == _INDEXING else requests
                side.block(number * count, count)
            loop.append(calibration_ms())
    units = [(before + after) / 2 for before, after in pairwise(loop)]
    ratios = {
        side.name: _calm([1000 * sum(block.values()) / unit for block, unit in zip(side.cpu, units, strict=True)])
        for side in sides
    }
    return Measured(ratios, sides)


def _calm(rounds: Sequence[float]) -> float:
    return float(np.quantile(rounds, 0.1))


def _sides(flow: RunningFlow) -> list[Side]:
    queries = Queries(make_queries(100, DIMENSION))
    # Drawn here, so that every checkout measures with the same.
    photos = [encode(scene(seed, 375, 500)) for seed in range(PHOTOS_A_REQUEST)]
    ways = {
        "search by vector, HTTP": queries.http(flow.http_port),
        "search by vector, gRPC": queries.grpc(flow.grpc_port),
        "search like a document, HTTP": like(flow.http_port, _ROWS),
        "search by picture, HTTP": by_picture(flow.http_port, photos),
        _INDEXING: _index(flow.http_port, photos),
    }
    stages = stages_of(flow)
    return [Side(name, way, stages) for name, way in ways.items()]


def _index(port: int, photos: Sequence[bytes]) -> Callable[[int], bytes]:
    """Return what indexes the photos as a form, with other ids for each call."""
    caller = HttpCaller(port)
    calls = iter(range(10**9))

    def index(_number: int) -> bytes:
        call = next(calls)
        body = pictures_as_form(photos, [f"photo {call} {n}" for n in range(len(photos))], {"collection": "photos"})
        answer = caller.post("/index", body)
        assert orjson.loads(answer)["parameters"]["failed"] == 0
        return answer

    return index


def show(measured: Measured, report: Report) -> None:
    """Print processor time by process, and the ratios beside the baseline."""
    names = names_of(measured.sides)
    report.table("Processor time of a request, ms", ["", "all", *names, "p50", "p95"], rows_of(measured.sides, names))
    baseline = read_baseline() if FILE.exists() else {}
    rows = [
        [kind, f"{ratio:.2f}", f"{baseline[kind]:.2f}" if kind in baseline else "–",
         f"{ratio / baseline[kind]:.2f}" if kind in baseline else "–"]
        for kind, ratio in measured.ratios.items()
    ]  # fmt: skip
    report.table("Thousandths of the calibration loop", ["", "here", "baseline", "here / baseline"], rows)


def main() -> None:
    """Measure and print; with `--write` the figures become the baseline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write baseline.json anew")
    parser.add_argument("--rounds", type=int, default=_ROUNDS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="baseline-") as folder:
        measured = measure(Path(folder), options.rounds)
    show(measured, Report("python -m tests.benchmarks.baseline"))
    if options.write:
        rounded = {kind: round(ratio, 2) for kind, ratio in measured.ratios.items()}
        FILE.write_text(json.dumps(rounded, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
