"""Exact search: the best rows by true cosine, identical to the last bit however documents are laid out or divided.

Float32 finds candidates quickly, float64 decides: no row of the true best k has a float32 score that is more than twice
`float32_error` below the k-th best float32 score.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from executors.errors import VisualSearchError
from executors.index.embedded.graph.cosine import exact_dots, exact_squares, float32_error
from executors.index.embedded.memory.vectors import View
from executors.index.embedded.search.band import LOWEST, best_below, within

# For few queries, one dot product per row is as fast as memory allows, on one thread. BLAS would split a matrix-vector
# product among threads that wait for each other once per block: five times as slow as soon as anything else runs on the
# machine.
_WORTH_A_MATRIX_PRODUCT: Final = 4
_SCORES_AT_ONCE: Final = 1 << 24
_GATHERED_AT_ONCE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Best:
    """The best rows of one query, best first, ties by id: columns of equal length."""

    rows: list[int]
    ids: list[str]
    scores: list[float]

    @classmethod
    def of(cls, found: Iterable[tuple[float, str, int]], limit: int) -> Best:
        """The best `limit` of the rows found: score, id and row of each, in any order."""
        order = sorted((-score, document_id, row) for score, document_id, row in found)[:limit]
        # Subtracting from zero turns the -0.0 of a negated zero back into 0.0.
        return cls([row for *_, row in order], [each for _, each, _ in order], [0.0 - score for score, *_ in order])


def best_rows(
    views: Sequence[View],
    queries: NDArray[np.float32],
    limit: int,
    threshold: float | None = None,
    ceiling: float | None = None,
) -> list[Best]:
    """The `limit` best visible rows of each query with a cosine of at least `threshold` and at most `ceiling`.

    Args:
        queries: N x D float32, finite, not zero.

    Raises:
        VisualSearchError: `invalid_embedding` for a query of zero or infinite length.
    """
    squares = check_queries(queries)
    count = sum(view.count for view in views)
    if not count or limit < 1:
        return [Best([], [], []) for _ in range(len(queries))]
    units = (queries / np.sqrt(squares)[:, np.newaxis]).astype(np.float32)
    at_once = max(1, _SCORES_AT_ONCE // count)
    return [
        _best_of_one(views, query, square, approximate, limit, threshold, ceiling)
        for start in range(0, len(queries), at_once)
        for query, square, approximate in zip(
            queries[start : start + at_once],
            squares[start : start + at_once],
            _approximate(views, units[start : start + at_once], count),
            strict=True,
        )
    ]


def check_queries(queries: NDArray[np.float32]) -> NDArray[np.float64]:
    """The squared lengths of N x D float32.

    Raises:
        VisualSearchError: `invalid_embedding` for a query of zero or infinite length.
    """
    squares = exact_squares(queries)
    if not np.all(np.isfinite(squares) & (squares > 0.0)):
        raise VisualSearchError("invalid_embedding", "a query must be a finite vector that is not zero")
    return squares


def _approximate(views: Sequence[View], units: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Float32 cosines, N x rows; minus infinity where a row is gone."""
    scores = np.empty((len(units), count), dtype=np.float32)
    end = 0
    for view in views:
        start, end = end, end + view.count
        vectors = view.block.vectors[: view.count]
        part = scores[:, start:end]
        if len(units) < _WORTH_A_MATRIX_PRODUCT:
            for unit, row in zip(units, part, strict=True):
                np.vecdot(vectors, unit, out=row)
        else:
            np.matmul(units, vectors.T, out=part)
        part *= view.block.scales[: view.count]
        if view.gone is not None:
            part[:, view.gone] = -np.inf
    return scores


def _best_of_one(
    views: Sequence[View],
    query: NDArray[np.float32],
    square: np.float64,
    approximate: NDArray[np.float32],
    limit: int,
    threshold: float | None,
    ceiling: float | None,
) -> Best:
    candidates = _candidates(approximate, limit, threshold, ceiling, float32_error(len(query)))
    scores = _exact_scores(views, query, square, candidates)
    if threshold is not None or ceiling is not None:
        kept = within(scores, threshold, ceiling)
        candidates, scores = candidates[kept], scores[kept]
    if limit < len(scores):
        kept = scores >= np.partition(scores, -limit)[-limit]
        candidates, scores = candidates[kept], scores[kept]
    rows, ids = _names(views, candidates)
    return Best.of(zip(scores.tolist(), ids, rows, strict=True), limit)


def _candidates(
    approximate: NDArray[np.float32], limit: int, threshold: float | None, ceiling: float | None, error: float
) -> NDArray[np.intp]:
    """Positions, ascending, of all rows that may be among the best."""
    floor = LOWEST
    if ceiling is not None:
        floor = floor if threshold is None else threshold - error
        return np.flatnonzero(best_below(approximate, limit, ceiling, error, floor))
    if limit < len(approximate):
        floor = max(floor, float(np.partition(approximate, -limit)[-limit]) - 2.0 * error)
    if threshold is not None:
        floor = max(floor, threshold - error)
    return np.flatnonzero(approximate >= floor)


def _exact_scores(
    views: Sequence[View], query: NDArray[np.float32], square: np.float64, candidates: NDArray[np.intp]
) -> NDArray[np.float64]:
    """True cosines in float64, clipped to -1 to 1."""
    parts = [np.empty(0, dtype=np.float64)]
    at_once = max(1, _GATHERED_AT_ONCE // len(query))
    for view, slots in _by_view(views, candidates):
        for start in range(0, len(slots), at_once):
            some = slots[start : start + at_once]
            dots = exact_dots(view.block.vectors[some], query)
            # One root of the product, not a product of roots: a vector compared with itself then scores exactly 1.
            parts.append(dots / np.sqrt(view.block.squares[some] * square))
    return np.clip(np.concatenate(parts), -1.0, 1.0)


def _names(views: Sequence[View], candidates: NDArray[np.intp]) -> tuple[list[int], list[str]]:
    """Row numbers and ids of positions."""
    rows: list[int] = []
    ids: list[str] = []
    for view, slots in _by_view(views, candidates):
        rows.extend(view.block.rows[slots].tolist())
        ids.extend(view.block.ids[slot] for slot in slots.tolist())
    return rows, ids


def _by_view(views: Sequence[View], candidates: NDArray[np.intp]) -> Iterator[tuple[View, NDArray[np.intp]]]:
    """Split ascending positions over all views into the slots of each view."""
    end = 0
    for view in views:
        start, end = end, end + view.count
        low, high = np.searchsorted(candidates, (start, end))
        if low < high:
            yield view, candidates[low:high] - start


def selected_views(views: Sequence[View], after: int, rows: NDArray[np.int64] | None) -> list[View]:
    """Restrict each view to rows after a row number, and to those of `rows` (ascending; None: all)."""
    kept: list[View] = []
    for view in views:
        numbers = view.block.rows[: view.count]
        if numbers[-1] <= after:
            continue
        gone = view.gone
        if numbers[0] <= after:
            gone = (numbers <= after) if gone is None else gone | (numbers <= after)
        if rows is not None:
            unwanted = np.ones(view.count, dtype=np.bool_)
            low, high = np.searchsorted(rows, (numbers[0], numbers[-1] + 1))
            slots = np.searchsorted(numbers, rows[low:high])
            unwanted[slots[numbers[slots] == rows[low:high]]] = False
            gone = unwanted if gone is None else gone | unwanted
        if gone is None or not gone.all():
            kept.append(View(view.block, view.count, gone))
    return kept
