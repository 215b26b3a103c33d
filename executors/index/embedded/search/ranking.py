"""The best documents for one query: the plan, the candidates, and exact scores.

There are three plans: compare every document (or every one that a filter selects), walk the graph, or walk the graph
among the selected documents. Every plan computes the true cosines of its candidates in float64 from the original
vectors, so scores don't depend on the plan.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from executors.index.embedded.disk.reads import HitReader, vectors_of
from executors.index.embedded.graph.cosine import exact_dots, exact_squares
from executors.index.embedded.graph.filtered import search_selected
from executors.index.embedded.graph.hnsw import HnswGraph, score_error
from executors.index.embedded.graph.tuning import scan_us, use_exact, walk_us
from executors.index.embedded.memory.collection_memory import CollectionMemory, CollectionView, GraphView
from executors.index.embedded.memory.live_graph import Rows
from executors.index.embedded.search.band import LOWEST, best_below, lowest_of_best, next_walk, within
from executors.index.embedded.search.exact import Best, best_rows, selected_views
from executors.index.embedded.search.targets import Targets, targets_of

# Pages come from the same walk as far as possible, so that one seldom repeats or omits hits of another.
_FIRST_PAGES: Final = 32
# Extra candidates beyond the limit, since rounding in the graph may have ranked a true hit lower.
_SPARE_CANDIDATES: Final = 16
# How many times as many slots each scan below a ceiling looks for as the one before.
_WIDER_SCAN: Final = 8


class DamagedRowsError(Exception):
    """Candidates whose vectors on disk differ from what was stored."""

    def __init__(self, rows: list[int]) -> None:
        super().__init__(rows)
        self.rows = rows


@dataclass(slots=True)
class Plan:
    """How a search finds its candidates, and the time of each part; the values of `explain`."""

    name: str
    documents: int
    matching: int | None = None
    walks: bool = False
    ef: int | None = None
    candidates: int = 0
    took_ms: dict[str, float] = field(default_factory=dict)

    def add_time(self, part: str, started: float) -> None:
        """Add the time since `started` (perf_counter) to that part."""
        self.took_ms[part] = round(self.took_ms.get(part, 0.0) + (time.perf_counter() - started) * 1000, 3)

    def to_json(self) -> dict[str, Any]:
        """The plan as clients see it."""
        shown: dict[str, Any] = {"plan": self.name, "documents": self.documents}
        for name in ("matching", "ef"):
            if getattr(self, name) is not None:
                shown[name] = getattr(self, name)
        return shown | {"candidates": self.candidates, "took_ms": self.took_ms}


def in_all(plans: Sequence[Plan]) -> Plan:
    """The first of a search's plans, with the time of all of them."""
    first, *others = plans
    for other in others:
        first.candidates += other.candidates
        for part, took in other.took_ms.items():
            first.took_ms[part] = round(first.took_ms.get(part, 0.0) + took, 3)
    return first


@dataclass(frozen=True, slots=True)
class Scope:
    """The documents to search.

    Attributes:
        view: a collection as of one transaction.
        rows: the rows that a filter selects, ascending; None: all.
        size: how many documents there are to choose from.
        hits: reads the fields of hits.
    """

    connection: sqlite3.Connection
    hits: HitReader
    memory: CollectionMemory
    view: CollectionView
    rows: Rows | None
    size: int


def scope_of(
    connection: sqlite3.Connection, memory: CollectionMemory, view: CollectionView, rows: Rows | None
) -> Scope:
    """The documents to search, counted as of the view."""
    hits = HitReader(connection)
    if rows is not None:
        return Scope(connection, hits, memory, view, rows, len(rows))
    size = sum(
        each.count - (0 if each.gone is None else int(np.count_nonzero(each.gone)))
        for each in selected_views(view.flat, view.covered, None)
    )
    if view.graph is not None:
        size += view.graph.extent.slots + view.graph.extent.copies - view.graph.alive.dead
    return Scope(connection, hits, memory, view, rows, size)


def make_plan(scope: Scope, limit: int, *, exact: bool, ef: int | None) -> Plan:
    """Choose a plan: the graph if there is one and it is worth using."""
    documents = scope.memory.documents
    matching = None if scope.rows is None else len(scope.rows)
    small = _is_empty(scope.view) or (matching is not None and use_exact(documents, matching))
    if exact or small or limit >= scope.size:
        return Plan("exact" if matching is None else "exact over the matching", documents, matching)
    name = "graph" if matching is None else "graph among the matching"
    return Plan(name, documents, matching, walks=True, ef=ef)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The hits that are wanted: the best `limit` with a cosine of at least `threshold` and at most `ceiling`."""

    limit: int
    threshold: float | None = None
    ceiling: float | None = None


def rank(scope: Scope, query: NDArray[np.float32], wanted: Wanted, plan: Plan) -> Best:
    """The best documents that are wanted.

    Args:
        query: D float32, finite, not zero.
        plan: from `make_plan` with the same limit; the steps taken are recorded in it.

    Raises:
        DamagedRowsError: a vector needed for exact scores is damaged.
    """
    found = _rank_flat(scope, query, wanted, plan)
    if _is_empty(scope.view):
        return found
    covered = _rank_graph(scope, query, wanted, plan)
    return _merged(found, covered, wanted.limit)


def _rank_flat(scope: Scope, query: NDArray[np.float32], wanted: Wanted, plan: Plan) -> Best:
    started = time.perf_counter()
    views = selected_views(scope.view.flat, scope.view.covered, scope.rows)
    if not views:
        return Best([], [], [])
    (best,) = best_rows(views, query[np.newaxis], wanted.limit, wanted.threshold, wanted.ceiling)
    plan.add_time("flat", started)
    return best


def _is_empty(view: CollectionView) -> bool:
    return view.graph is None or not view.graph.extent.slots


def _rank_graph(scope: Scope, query: NDArray[np.float32], wanted: Wanted, plan: Plan) -> Best:
    started = time.perf_counter()
    assert scope.view.graph is not None
    targets = targets_of(scope.view.graph, scope.rows)
    rows: Rows | None = None
    if plan.walks:
        slots = (
            _walk(targets, query, wanted.limit, plan)
            if wanted.ceiling is None
            else _walk_below(targets, query, wanted, plan)
        )
        rows = None if slots is None else targets.rows_of(slots)
        if rows is None or (wanted.ceiling is None and len(rows) < min(wanted.limit, targets.size)):
            # The walk did not reach some parts of the graph, or would have to go too far.
            plan.name, rows = f"exact after: {plan.name}", None
    if rows is None:
        rows = targets.rows_of(_every_candidate(targets, query, wanted))
    plan.add_time("graph", started)
    started = time.perf_counter()
    plan.candidates += len(rows)
    best = _decide(scope, scope.view.graph, query, rows, wanted)
    plan.add_time("rerank", started)
    return best


def _walk(targets: Targets, query: NDArray[np.float32], limit: int, plan: Plan) -> NDArray[np.int64]:
    """The slots that a walk finds, without those that can't be among the best `limit`."""
    live, slots = targets.view.graph, targets.view.extent.slots
    found = search_selected(
        live.graph, live.lock, query, _walked(limit) + _SPARE_CANDIDATES, targets.bits, targets.slots, plan.ef
    )  # fmt: skip
    plan.ef = found.ef
    if found.plan == "scan":
        plan.name = f"exact after: {plan.name}"
    # Slots that were added since are in `flat`, too.
    there = found.slots < slots
    found_slots, scores = found.slots[there], found.scores[there]
    if len(scores) <= limit:
        return found_slots
    return found_slots[scores >= _floor(live.graph, scores, limit)]


def _walk_below(targets: Targets, query: NDArray[np.float32], wanted: Wanted, plan: Plan) -> NDArray[np.int64] | None:
    """The slots that walks find below the ceiling: each walk goes further, until one has gone well past the last of them.

    Returns:
        None if the next walk would take longer than to compare everything.
    """
    assert wanted.ceiling is not None
    live, extent = targets.view.graph, targets.view.extent
    error = score_error(live.graph.dimension, live.graph.precision)
    floor = LOWEST if wanted.threshold is None else wanted.threshold - error
    walked: int | None = _walked(wanted.limit) + _SPARE_CANDIDATES
    while walked is not None and walk_us(walked) < scan_us(live.graph.count, targets.slots):
        found = search_selected(live.graph, live.lock, query, walked, targets.bits, targets.slots, plan.ef)
        # Slots that were added since are in `flat`, too.
        there = found.slots < extent.slots
        slots, scores = found.slots[there], found.scores[there]
        following = next_walk(scores, walked, wanted.limit, wanted.ceiling, error, floor)
        if following is None:
            plan.ef = found.ef
            return slots[best_below(scores, wanted.limit, wanted.ceiling, error, floor)]
        walked = None if found.plan == "scan" or len(found.slots) < min(walked, targets.slots) else following
    return None


def _floor(graph: HnswGraph, scores: NDArray[np.float32], limit: int) -> float:
    """The score below which no slot can be among the true best: twice the rounding error below the last of them (best
    first).
    """
    return float(scores[limit - 1]) - 2.0 * score_error(graph.dimension, graph.precision)


def _walked(limit: int) -> int:
    """The number of hits to walk for: the next power of two."""
    return limit if limit <= _FIRST_PAGES else 1 << (limit - 1).bit_length()


def _every_candidate(targets: Targets, query: NDArray[np.float32], wanted: Wanted) -> NDArray[np.int64]:
    """All slots that may be among the true best."""
    graph, slots = targets.view.graph.graph, targets.view.extent.slots
    limit, threshold = wanted.limit, wanted.threshold
    if wanted.ceiling is not None:
        return _every_candidate_below(targets, query, wanted, wanted.ceiling)
    found, scores = graph.scan(query, limit + _SPARE_CANDIDATES, targets.bits, slots)
    floor = -2.0
    if len(scores) >= limit:
        floor = _floor(graph, scores, limit)
    if threshold is not None:
        floor = max(floor, threshold - score_error(graph.dimension, graph.precision))
    if len(scores) == limit + _SPARE_CANDIDATES and scores[-1] >= floor:
        below = float(np.nextafter(np.float32(floor), np.float32(-3)))
        found, scores = graph.scan_above(query, below, targets.bits, slots)
    return found[scores >= floor]


def _every_candidate_below(
    targets: Targets, query: NDArray[np.float32], wanted: Wanted, ceiling: float
) -> NDArray[np.int64]:
    """All slots that may be among the true best below the ceiling: faiss finds the best few much faster than all."""
    graph, slots = targets.view.graph.graph, targets.view.extent.slots
    error = score_error(graph.dimension, graph.precision)
    floor = LOWEST if wanted.threshold is None else wanted.threshold - error
    many = _WIDER_SCAN * (wanted.limit + _SPARE_CANDIDATES)
    while many <= slots // _WIDER_SCAN:
        found, scores = graph.scan(query, many, targets.bits, slots)
        if len(scores) < many or scores[-1] < lowest_of_best(scores, wanted.limit, ceiling, error, floor):
            return found[best_below(scores, wanted.limit, ceiling, error, floor)]
        many *= _WIDER_SCAN
    found, scores = graph.scan_above(query, float(np.nextafter(np.float32(floor), np.float32(-3))), targets.bits, slots)
    return found[best_below(scores, wanted.limit, ceiling, error, floor)]


def _decide(scope: Scope, graph: GraphView, query: NDArray[np.float32], rows: Rows, wanted: Wanted) -> Best:
    """The best of the candidates (ascending row numbers) by true cosine."""
    if not rows.size:
        return Best([], [], [])
    vectors = scope.memory.vectors_in_memory(rows, graph)
    if vectors is None:
        vectors, damaged = vectors_of(scope.connection, rows.tolist(), len(query))
        if damaged:
            raise DamagedRowsError(damaged)
    square = exact_squares(query[np.newaxis])[0]
    scores = np.clip(exact_dots(vectors, query) / np.sqrt(exact_squares(vectors) * square), -1.0, 1.0)
    kept = within(scores, wanted.threshold, wanted.ceiling)
    rows, scores, limit = rows[kept], scores[kept], wanted.limit
    if limit < len(scores):
        kept = scores >= np.partition(scores, -limit)[-limit]
        rows, scores = rows[kept], scores[kept]
    names = scope.hits.ids(rows.tolist(), limit)
    found = zip(scores.tolist(), rows.tolist(), strict=True)
    return Best.of(((score, names[row], row) for score, row in found), limit)


def _merged(one: Best, other: Best, limit: int) -> Best:
    """The best of both lists, ties by id."""
    if not one.rows or not other.rows:
        return other if not one.rows else one
    return Best.of(chain(*(zip(each.scores, each.ids, each.rows, strict=True) for each in (one, other))), limit)
