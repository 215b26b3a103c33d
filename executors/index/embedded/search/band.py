"""Which candidates may be among the best with a cosine of at most a bound, and how far a walk has to look for them.

The best hits of a query lie above an upper bound, so a walk meets them first. It has to look past them: the
candidates that count are those from the first that is surely below the bound.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

# Below every cosine, whatever its rounding error.
LOWEST: Final = -2.0
_WIDER: Final = 4
# A walk finds less near its edge; see `graph.filtered`.
_BEYOND_THE_LAST: Final = 2.5


def within(scores: NDArray[np.floating[Any]], threshold: float | None, ceiling: float | None) -> NDArray[np.bool_]:
    """Return which true cosines are at least `threshold` and at most `ceiling`, as far as they are given."""
    kept = np.ones(len(scores), dtype=np.bool_)
    if threshold is not None:
        kept &= scores >= threshold
    if ceiling is not None:
        kept &= scores <= ceiling
    return kept


def best_below(
    scores: NDArray[np.floating[Any]], limit: int, ceiling: float, error: float, floor: float = LOWEST
) -> NDArray[np.bool_]:
    """Return which candidates may be among the true best `limit` with a cosine of at most `ceiling`.

    Args:
        scores: approximate cosines, in any order.
        error: the most by which one of them may differ from the true cosine.
        floor: candidates whose approximate cosine is below it are left out.
    """
    lowest = lowest_of_best(scores, limit, ceiling, error, floor)
    kept: NDArray[np.bool_] = (scores >= lowest) & (scores <= ceiling + error)
    return kept


def lowest_of_best(
    scores: NDArray[np.floating[Any]], limit: int, ceiling: float, error: float, floor: float = LOWEST
) -> float:
    """Return the approximate cosine below which no candidate can be among those of `best_below`."""
    sure = scores[scores <= ceiling - error]
    if 0 < limit <= len(sure):
        floor = max(floor, float(np.partition(sure, -limit)[-limit]) - 2.0 * error)
    return floor


def next_walk(
    scores: NDArray[np.float32], walked: int, limit: int, ceiling: float, error: float, floor: float = LOWEST
) -> int | None:
    """Return how many hits the next walk should look for; None if this one found what counts.

    Args:
        scores: those that the walk found, best first.
        walked: how many hits it looked for.
        floor: hits with an approximate cosine below it don't count.
    """
    above = int(np.count_nonzero(scores > ceiling - error))
    last = min(above + limit, int(np.count_nonzero(scores >= floor)) + 1)
    if len(scores) < last:
        return _WIDER * walked
    enough = last if not above else math.ceil(_BEYOND_THE_LAST * last)
    return None if walked >= enough else enough
