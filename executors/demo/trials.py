"""Searches with known answers: with whole pictures and changed copies, and how many of them come first."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from executors.cli.index.shrinking import shrink
from executors.client import Document, VisualSearchClient
from executors.client.answers import Hit
from executors.demo.changes import CHANGES
from executors.errors import VisualSearchError

WHOLE: Final = "whole"
DEMO_CHANGES: Final = ("cropped by 20 %", "rotated by EXIF", "recompressed at quality 40", "text across")
MATCHES: Final = 5
_IN_FLIGHT: Final = 4
_QUERIES_A_REQUEST: Final = 8
# Two files with the same picture have the same score, and either is right.
_SAME_SCORE: Final = 1e-5

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Trial:
    """One search: the picture `path`, indexed as `expected`, after `change`."""

    path: Path
    expected: str
    change: str = WHOLE


@dataclass(frozen=True, slots=True)
class TrialResult:
    """The result of one search; `query` is the bytes that were sent."""

    trial: Trial
    query: bytes
    matches: Sequence[Hit]
    error: VisualSearchError | None = None

    @property
    def is_right(self) -> bool:
        """Whether the picture came first, or shared the best score with its double."""
        best = self.matches[0].score if self.matches else 0.0
        return any(each.id == self.trial.expected and each.score >= best - _SAME_SCORE for each in self.matches)


def plan_trials(ids: Mapping[Path, str], most_whole: int = 250, most_changed: int = 60) -> list[Trial]:
    """Plan the searches: with every whole picture, and with some of them in every change; evenly spread if there are many.

    Pictures in the folder itself come before those in its subfolders, so that the changed pictures of the demo's own
    library are not its tiles.
    """
    paths = sorted(ids, key=lambda path: (ids[path].count("/"), ids[path]))
    top = [path for path in paths if "/" not in ids[path]]
    changed = evenly(top if len(top) >= most_changed // 3 else paths, most_changed)
    whole = [Trial(path, ids[path]) for path in evenly(paths, most_whole)]
    return whole + [Trial(path, ids[path], change) for change in DEMO_CHANGES for path in changed]


def evenly(items: Sequence[_Item], most: int) -> list[_Item]:
    """Choose at most `most` items, evenly spread over all of them."""
    if len(items) <= most:
        return list(items)
    return [items[number * len(items) // most] for number in range(most)]


async def run_trials(client: VisualSearchClient, trials: Sequence[Trial]) -> list[TrialResult]:
    """Run the searches, a few requests at a time, and return their results in the same order.

    Raises:
        VisualSearchError: the service failed.
    """
    groups = [trials[start : start + _QUERIES_A_REQUEST] for start in range(0, len(trials), _QUERIES_A_REQUEST)]
    places = asyncio.Semaphore(_IN_FLIGHT)

    async def run(group: Sequence[Trial]) -> list[TrialResult]:
        async with places:
            queries = await asyncio.gather(*(asyncio.to_thread(_query, trial) for trial in group))
            documents = [Document(id=str(number), blob=query) for number, query in enumerate(queries)]
            answer = await client.search(documents, limit=MATCHES)
        return [
            TrialResult(trial, query, result.matches, result.error)
            for trial, query, result in zip(group, queries, answer, strict=True)
        ]

    return [result for results in await asyncio.gather(*(run(group) for group in groups)) for result in results]


async def median_search_ms(client: VisualSearchClient, results: Sequence[TrialResult], searches: int = 15) -> float:
    """Measure the median time of a search with one picture and no other request, in milliseconds.

    Raises:
        VisualSearchError: the service failed.
    """
    times = []
    for result in evenly(results, searches):
        started = time.perf_counter()
        await client.search([Document(id="query", blob=result.query)], limit=MATCHES)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times) if times else 0.0


def recall_at_1(results: Sequence[TrialResult]) -> float:
    """The share of searches whose picture came first; 1 if there were no searches."""
    return sum(result.is_right for result in results) / len(results) if results else 1.0


def _query(trial: Trial) -> bytes:
    blob = trial.path.read_bytes()
    return shrink(blob if trial.change == WHOLE else CHANGES[trial.change](blob))
