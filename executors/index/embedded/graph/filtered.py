"""Search among some of the slots: those that a filter matches, or those that are not deleted.

A walk finds what lies near the query. So the search first estimates how many of the slots near the query are selected.
If there are enough, the first walk's result is the answer; if there are some, a longer walk finds the rest. If there
are next to none, only comparing all selected slots finds the best of them: far from the query, all vectors are about
equally far, and a walk of any length meets some of them by chance (measured: 5 to 45 % missed).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from executors.index.embedded.graph.hnsw import HnswGraph
from executors.index.embedded.graph.rwlock import RwLock
from executors.index.embedded.graph.tuning import default_ef, filtered_ef, scan_us, use_exact, walk_us

_NEAR_FOR_EACH: Final = 2
_ENOUGH_TO_JUDGE: Final = 4
# At least this many of the nearest slots are examined, and enough that at least five selected ones are expected among
# them. Selection avoids the query if fewer than a fifth of the expected number are selected.
_NEAREST: Final = 16
_EXPECTED: Final = 5.0
_HARDLY_ANY: Final = 0.2
# A walk is unreliable near its edge. A walk this many times as long as the position of the last match finds the matches
# before it (measured where the matches lie far out: recall 0.955 -> 0.996).
_BEYOND_THE_LAST: Final = 2.5


@dataclass(frozen=True, slots=True)
class Candidates:
    """The slots that were found, best first, and how they were found.

    Attributes:
        slots: int64; `scores`: float32.
        plan: `walk` over the links, or `scan` of all selected slots.
        ef: of the walk that found them; None for a scan.
    """

    slots: NDArray[np.int64]
    scores: NDArray[np.float32]
    plan: Literal["walk", "scan"]
    ef: int | None


def search_selected(
    graph: HnswGraph,
    lock: RwLock,
    query: NDArray[np.float32],
    k: int,
    selected: NDArray[np.uint8] | None,
    matching: int,
    ef: int | None = None,
) -> Candidates:
    """The k best of the selected slots; always k of them if k are selected.

    Args:
        lock: its read side is taken for walks only; `graph.add` holds its write side.
        query: D float32.
        selected: packed bits of complete slots, as `HnswGraph.search` takes them; None: all.
        matching: how many bits are set.
        ef: how many candidates a walk keeps; the default suits the size of the graph.

    Raises:
        ValueError: the query has no direction.
    """
    count = graph.count
    if selected is not None and use_exact(count, matching):
        return Candidates(*graph.scan(query, k, selected), "scan", None)
    if not count:
        return Candidates(*graph.scan(query, k, selected), "scan", None)
    effort = max(k, default_ef(count) if ef is None else ef)
    if selected is None:
        with lock.reading():
            found = graph.search(query, k, effort, None)
        return Candidates(*found, "walk", effort)
    effort = max(effort, _NEAR_FOR_EACH * k)
    with lock.reading():
        slots, scores = graph.search(query, effort, effort, None)
    kept = _are_selected(slots, selected)
    near = int(np.count_nonzero(kept))
    if _is_avoided(kept, matching / count):
        return Candidates(*graph.scan(query, k, selected), "scan", None)
    if near >= k:
        enough = math.ceil(_BEYOND_THE_LAST * (int(np.flatnonzero(kept)[k - 1]) + 1))
        if enough > effort:
            effort = enough
            with lock.reading():
                slots, scores = graph.search(query, effort, effort, None)
            kept = _are_selected(slots, selected)
        if int(np.count_nonzero(kept)) >= k:
            return Candidates(slots[kept][:k], scores[kept][:k], "walk", effort)
    if near >= _ENOUGH_TO_JUDGE:
        # The sample is small, so chance may make the share look larger than it is.
        share = min(near / len(slots), matching / count)
        longer = filtered_ef(effort, count, int(share * count))
        if walk_us(longer) < scan_us(count, matching):
            with lock.reading():
                slots, scores = graph.search(query, k, longer, selected)
            if len(slots) >= min(k, matching):
                return Candidates(slots, scores, "walk", longer)
    return Candidates(*graph.scan(query, k, selected), "scan", None)


def _is_avoided(kept: NDArray[np.bool_], share: float) -> bool:
    """Whether hardly any of the nearest slots are selected although many others are: the filter excludes the query's
    neighbourhood.
    """
    nearest = max(_NEAREST, math.ceil(_EXPECTED / share))
    return nearest <= len(kept) and bool(np.count_nonzero(kept[:nearest]) < _HARDLY_ANY * share * nearest)


def _are_selected(slots: NDArray[np.int64], selected: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether each slot's bit is set; slots beyond the end have none."""
    inside = slots >> 3 < selected.size
    bits = np.zeros(slots.size, dtype=np.bool_)
    bits[inside] = (selected[slots[inside] >> 3] >> (slots[inside] & 7).astype(np.uint8)) & 1
    return bits
