"""Sides of a benchmark that take turns: blocks of requests, one after the other, with their times and processor time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tests.benchmarks.support.processes import cpu_by_name

Request = Callable[[int], object]


@dataclass(slots=True)
class Side:
    """One side: how it is asked, which processes work for it, and what was measured.

    Attributes:
        request: sends the request of a number and waits for its answer.
        processes: the name of each process id.
        times: milliseconds of each request.
        cpu: of each block, the processor time of a request by name, in milliseconds.
    """

    name: str
    request: Request
    processes: Mapping[int, str]
    times: list[float] = field(default_factory=list)
    cpu: list[dict[str, float]] = field(default_factory=list)

    def block(self, first: int, count: int) -> None:
        """Send so many requests, one at a time, and note what they took."""
        before = cpu_by_name(self.processes)
        for number in range(first, first + count):
            started = time.perf_counter()
            self.request(number)
            self.times.append((time.perf_counter() - started) * 1000)
        after = cpu_by_name(self.processes)
        self.cpu.append({name: (used - before[name]) / count for name, used in after.items()})

    def percentile(self, percent: float) -> float:
        """Return a percentile of the times, in milliseconds."""
        return float(np.percentile(self.times, percent))

    @property
    def cpu_of_a_request(self) -> float:
        """The processor time of a request in milliseconds, of all processes: the median of the blocks."""
        return statistics.median(sum(block.values()) for block in self.cpu)

    def cpu_of(self, name: str) -> float:
        """Return the processor time of a request in milliseconds that processes of this name took, the mean of all."""
        return statistics.fmean(block.get(name, 0.0) for block in self.cpu)


def take_turns(sides: Sequence[Side], rounds: int, requests: int) -> None:
    """Ask each side for a block of requests in every round; every other round in reverse order.

    A request of the same number is the same for all sides. Each side first answers some requests that do not count.
    """
    for side in sides:
        for number in range(min(20, requests)):
            side.request(number)
    for number in range(rounds):
        for side in sides if number % 2 == 0 else reversed(sides):
            side.block(number * requests, requests)


def ratio(values: Sequence[float], others: Sequence[float]) -> tuple[float, float, float]:
    """Return the median, the lowest and the highest of the ratios of two sides, round by round."""
    ratios = [one / other for one, other in zip(values, others, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def cpu_ratio(side: Side, other: Side) -> tuple[float, float, float]:
    """Return the ratio of the processor time of two sides: the median, the lowest and the highest of the rounds."""
    return ratio([sum(each.values()) for each in side.cpu], [sum(each.values()) for each in other.cpu])


def time_ratio(side: Side, other: Side) -> tuple[float, float, float]:
    """Return the ratio of the median times of two sides: the median, the lowest and the highest of the rounds."""
    return ratio(_medians(side), _medians(other))


def _medians(side: Side) -> list[float]:
    return [float(np.median(block)) for block in np.array_split(side.times, len(side.cpu))]


def rows_of(sides: Sequence[Side], names: Sequence[str]) -> list[list[str]]:
    """Return a row a side: processor time of all and of each name, p50 and p95."""
    return [
        [
            side.name,
            f"{side.cpu_of_a_request:.1f}",
            *(f"{used:.1f}" if (used := side.cpu_of(name)) > 0.005 else "–" for name in names),
            f"{side.percentile(50):.1f}",
            f"{side.percentile(95):.1f}",
        ]
        for side in sides
    ]


def names_of(sides: Sequence[Side]) -> list[str]:
    """Return the names of processes of all sides, each once."""
    return list(dict.fromkeys(name for side in sides for block in side.cpu for name in block))
