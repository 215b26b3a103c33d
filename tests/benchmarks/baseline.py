"""What requests cost the flow, as ratios to work that stays the same, beside those that are committed in baseline.json.

Blocks of requests of each kind and that work take turns; what is divided is the processor time of all processes. For a
search by vector, the other side is the same search by a bare grpc.aio gateway with two shards; for photos, it is the raw loop,
which decodes and embeds them and stores nothing. (A loop of plain Python would not do: the caches of a busy machine slow code
down that seldom runs far more than a loop.) `make test-slow` fails when a ratio is more than 15 % above the committed one.

    python -m tests.benchmarks.baseline            # measure, and compare
    python -m tests.benchmarks.baseline --write    # and commit what is measured as the new baseline
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from tests.benchmarks.bench_flow import DIMENSION, Queries, by_picture, like
from tests.benchmarks.bench_indexing import PHOTOS_A_REQUEST
from tests.benchmarks.support.bare_search import bare_gateway
from tests.benchmarks.support.callers import HttpCaller, pictures_as_form
from tests.benchmarks.support.common import Report
from tests.benchmarks.support.flow_documents import fill
from tests.benchmarks.support.processes import stages_of
from tests.benchmarks.support.raw_loop import raw_loop
from tests.benchmarks.support.turns import Side, cpu_ratio, names_of, rows_of
from tests.benchmarks.support.vectors import make_queries, write_vectors
from tests.support.flows.flow import RunningFlow, running_flow
from tests.support.pictures.pictures import encode, scene

FILE: Final = Path(__file__).with_name("baseline.json")
# How much dearer than the baseline a request may be.
TOLERANCE: Final = 1.15
_ROWS: Final = 1_000
_ROUNDS: Final = 12
_PICTURE: Final = "search by picture, HTTP"
_INDEXING: Final = f"index {PHOTOS_A_REQUEST} photos"


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured.

    Attributes:
        ratios: of each kind of request: to the bare gateway; with photos, to the raw loop with as many.
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
    vectors = write_vectors(folder / "vectors.npy", _ROWS, DIMENSION)
    queries = Queries(make_queries(100, DIMENSION))
    # Drawn here, so that every checkout measures with the same.
    photos = [encode(scene(seed, 375, 500)) for seed in range(PHOTOS_A_REQUEST)]
    with (
        running_flow(folder / "flow", 2) as flow,
        bare_gateway(folder / "vectors.npy", 2, folder) as (port, processes),
        raw_loop(_files(folder / "photos", photos)) as loop,
    ):
        fill(flow.grpc_port, vectors)
        sides = _sides(flow, queries, photos)
        bare = Side("bare grpc.aio gateway, by vector", queries.http(port), processes)
        raw = Side(f"raw loop, {PHOTOS_A_REQUEST} photos", lambda _: loop.run(), dict.fromkeys(loop.pids, "raw loop"))
        counts = {_INDEXING: 2, raw.name: 2}
        everything = [*sides, bare, raw]
        for number in range(-1, rounds):
            for side in everything:
                count = counts.get(side.name, requests)
                side.block(max(number, 0) * count, count)
    for side in everything:
        del side.cpu[0]  # the first block only warms up
    ratios = {side.name: cpu_ratio(side, raw if side.name in (_PICTURE, _INDEXING) else bare)[0] for side in sides}
    ratios[_PICTURE] *= PHOTOS_A_REQUEST
    return Measured(ratios, everything)


def _files(folder: Path, photos: Sequence[bytes]) -> list[Path]:
    folder.mkdir()
    files = [folder / f"{number}.jpg" for number in range(len(photos))]
    for file, photo in zip(files, photos, strict=True):
        file.write_bytes(photo)
    return files


def _sides(flow: RunningFlow, queries: Queries, photos: Sequence[bytes]) -> list[Side]:
    ways = {
        "search by vector, HTTP": queries.http(flow.http_port),
        "search by vector, gRPC": queries.grpc(flow.grpc_port),
        "search like a document, HTTP": like(flow.http_port, _ROWS),
        _PICTURE: by_picture(flow.http_port, photos),
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
    report.table("Of the bare gateway; with photos, of the raw loop", ["", "here", "baseline", "here / baseline"], rows)


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
