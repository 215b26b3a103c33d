"""A search beside clients that index in bulk, against the same search in quiet: how much one user's work costs another.

Searches by a small picture follow each other at a steady pace, first alone, then while `--clients` clients send requests of
`--photos` photos of 12 megapixels, as JPEG and as PNG, over HTTP, one after the other. Quiet and busy spans alternate, so that
a noisy machine is noisy for both. What the bulk clients got done with and without searches beside them is shown, too.

    python -m tests.benchmarks.bench_fairness [--clients 2] [--photos 40] [--rounds 3] [--seconds 15]
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from tests.benchmarks.support.common import percentile, print_table
from tests.support.flows.flow import RunningFlow, processes_of_group, running_flow
from tests.support.pictures.pictures import encode, scene

PACE_S = 0.25
TICKS = 100


@dataclass(slots=True)
class Measured:
    """One side: how long searches took, how many pictures were indexed, in how many seconds, with how much of the processors."""

    searches: list[float] = field(default_factory=list)
    indexed: int = 0
    seconds: float = 0.0
    cpu: float = 0.0

    @property
    def rate(self) -> str:
        """Pictures a second."""
        return f"{self.indexed / self.seconds:.1f}" if self.indexed else "–"


def large_photos(kind: str, count: int = 8) -> list[bytes]:
    """Photos of 12 megapixels: a drawn scene, with noise, enlarged."""
    made = []
    for seed in range(count):
        small = cv2.resize(scene(seed), (1000, 750)) + np.random.default_rng(seed).normal(0, 3, (750, 1000, 1))
        pixels = cv2.resize(np.clip(small, 0, 255).astype(np.uint8), (4000, 3000), interpolation=cv2.INTER_CUBIC)
        made.append(encode(pixels, kind))
    return made


def cpu_seconds(flow: RunningFlow) -> float:
    """Processor time of all processes of the flow so far."""
    total = 0
    for pid in processes_of_group(flow.process.pid):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


async def search_for(url: str, picture: bytes, seconds: float, measured: Measured) -> None:
    """Search at a steady pace; one that is due while the one before still runs counts from when it was due."""
    import aiohttp

    async with aiohttp.ClientSession() as session:
        began = time.perf_counter()
        number = 0
        while (due := began + number * PACE_S) < began + seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            form = aiohttp.FormData()
            form.add_field("file", picture, filename="query.jpg")
            async with session.post(f"{url}/search", data=form) as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()
            measured.searches.append((time.perf_counter() - due) * 1000)
            number += 1


async def index_until(
    url: str, photos: list[bytes], count: int, client: int, end: asyncio.Event, side: Measured
) -> None:
    """Send one request of `count` photos after the other."""
    import aiohttp

    number = 0
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(300)) as session:
        while not end.is_set():
            form = aiohttp.FormData()
            for n in range(count):
                form.add_field("file", photos[n % len(photos)], filename=f"{client}-{number}-{n}")
            async with session.post(f"{url}/index", data=form) as answer:
                body = await answer.json()
                assert answer.status == 200, body
                assert body["parameters"]["failed"] == 0, body
            side.indexed += count
            number += 1


async def span(
    flow: RunningFlow, options: argparse.Namespace, photos: list[bytes], searching: bool, side: Measured
) -> None:
    """One span: searches alone (without photos), bulk alone, or both."""
    end = asyncio.Event()
    before, began = cpu_seconds(flow), time.perf_counter()
    clients = [
        asyncio.create_task(index_until(flow.http_url, photos, options.photos, n, end, side))
        for n in range(options.clients if photos else 0)
    ]
    await asyncio.sleep(1.0)
    if searching:
        await search_for(flow.http_url, encode(scene(77)), options.seconds, side)
    else:
        await asyncio.sleep(options.seconds)
    end.set()
    await asyncio.gather(*clients)
    side.seconds += time.perf_counter() - began
    side.cpu += cpu_seconds(flow) - before


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--photos", type=int, default=40, help="of a request")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0)
    options = parser.parse_args()
    kinds = {kind: large_photos(f".{kind}") for kind in ("jpg", "png")}
    names = ["quiet", *(f"{side} {kind}" for kind in kinds for side in ("beside", "only"))]
    sides = {name: Measured() for name in names}
    with tempfile.TemporaryDirectory() as name, running_flow(Path(name)) as flow:
        asyncio.run(span(flow, options, [], True, Measured()))
        for _ in range(options.rounds):
            asyncio.run(span(flow, options, [], True, sides["quiet"]))
            for kind, photos in kinds.items():
                asyncio.run(span(flow, options, photos, True, sides[f"beside {kind}"]))
                asyncio.run(span(flow, options, photos, False, sides[f"only {kind}"]))
    quiet = float(np.percentile(sides["quiet"].searches, 99))
    rows = []
    for name, side in sides.items():
        ratio = f"{np.percentile(side.searches, 99) / quiet:.2f}" if side.searches else "–"
        numbers = [percentile(side.searches, percent, 0) for percent in (50, 99, 100)]
        rows.append([name, *numbers, ratio, side.rate, f"{side.cpu / side.seconds:.2f}"])
    title = f"A search each {PACE_S:g} s beside {options.clients} clients that index {options.photos} photos of 12 MP a request"
    columns = ["", "p50 ms", "p99 ms", "longest", "p99 / quiet (target 3)", "photos/s", "processors"]
    print_table(title, columns, rows)


if __name__ == "__main__":
    main()
