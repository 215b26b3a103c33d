"""How long the event loop of the gateway stands still while a request with 32 photos as JSON is read and passed on.

A ticker runs on the loop all the time; the longest time between two of its turns is the standstill, in which no other
request gets on. The sides take turns: reading a body as the gateway does (a large one beside the loop), and reading it on
the loop, as a plain service does (`orjson.loads`, then base64). Beside them, what is always done on the loop: writing the
message for the next stage, and reading the body of one vector.

    python -m tests.benchmarks.bench_loop [--rounds 30] [--markdown FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import base64
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

import numpy as np
import orjson
import uvloop

from executors.documents import ImageDoc
from executors.flow.jina_patches.messages import request_of
from executors.gateway.http.bodies import parse_json
from tests.benchmarks.support.callers import pictures_as_json, vector_body
from tests.benchmarks.support.common import Report, photo_files

_PHOTOS: Final = 32
_MOST_BYTES: Final = 20_000_000


class Ticker:
    """Notes the longest time between two turns of the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._last: float | None = None
        self.longest = 0.0

    def __enter__(self) -> Ticker:
        self._last = perf_counter()
        self._loop.call_soon(self._tick)
        return self

    def __exit__(self, *_: object) -> None:
        self._note()
        self._last = None

    def _tick(self) -> None:
        if self._last is not None:
            self._note()
            self._loop.call_soon(self._tick)

    def _note(self) -> None:
        now = perf_counter()
        self.longest, self._last = max(self.longest, now - (self._last or now)), now


async def standstill(work: Callable[[], Awaitable[Any]]) -> float:
    """Return the longest standstill during the work, in milliseconds."""
    with Ticker() as ticker:
        await asyncio.sleep(0.001)
        await work()
        await asyncio.sleep(0)
    return 1000 * ticker.longest


async def measure(rounds: int) -> list[list[str]]:
    """Return a row for each kind of work: its median and longest standstill."""
    photos = [path.read_bytes() for path in photo_files()[:_PHOTOS]]
    body = pictures_as_json(photos, [str(number) for number in range(len(photos))]).content
    vector = vector_body(np.random.default_rng(0).normal(size=1280).astype(np.float32), 10).content
    documents = [ImageDoc.from_values(id=str(n), blob=photo) for n, photo in enumerate(photos)]

    async def beside() -> None:
        await asyncio.to_thread(parse_json, body, _MOST_BYTES)

    async def on_the_loop() -> None:
        for each in orjson.loads(body)["data"]:
            base64.b64decode(each["blob"])

    async def one_vector() -> None:
        parse_json(vector, _MOST_BYTES)

    async def message() -> None:
        request_of("/index", documents, {})

    size = f"{len(body) / 1e6:.1f} MB"
    ways = {
        f"{_PHOTOS} photos as JSON ({size}), read beside the loop (this project)": beside,
        f"{_PHOTOS} photos as JSON ({size}), read on the loop": on_the_loop,
        f"the message of {_PHOTOS} photos to the next stage": message,
        "a vector of 1,280 numbers as JSON": one_vector,
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(await standstill(way))
    return [[name, f"{median(each):.2f}", f"{max(each):.2f}"] for name, each in found.items()]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    rows = uvloop.run(measure(options.rounds))
    report = Report(f"python -m tests.benchmarks.bench_loop --rounds {options.rounds}", options.markdown)
    report.table("Standstill of the event loop, ms", ["", "median", "longest"], rows)


if __name__ == "__main__":
    main()
