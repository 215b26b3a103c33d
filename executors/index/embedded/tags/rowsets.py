"""Sets of row numbers as ascending int64 arrays without repetition. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Rows: TypeAlias = NDArray[np.int64]

NO_ROWS: Final[Rows] = np.empty(0, dtype=np.int64)
NO_ROWS.setflags(write=False)
# A table with one byte for each number of a span is faster than a search for each row, up to about this many bytes per
# row.
_SPAN_PER_ROW: Final = 32


def as_rowset(rows: Rows) -> Rows:
    """Row numbers in any order, sorted, each once."""
    if len(rows) < 2:
        return rows
    if not (rows[1:] > rows[:-1]).all():
        rows = np.sort(rows)
        rows = rows[np.concatenate(([True], rows[1:] != rows[:-1]))]
    return rows


def union(sets: Sequence[Rows]) -> Rows:
    """Rows that are in any of the sets."""
    some = [each for each in sets if len(each)]
    if not some:
        return NO_ROWS
    return some[0] if len(some) == 1 else as_rowset(np.concatenate(some))


def intersection(one: Rows, other: Rows) -> Rows:
    """Rows that are in both."""
    few, many = (one, other) if len(one) <= len(other) else (other, one)
    return few[is_in(few, many)]


def difference(one: Rows, other: Rows) -> Rows:
    """Rows that are in `one` and not in `other`."""
    return one[~is_in(one, other)] if len(other) else one


def is_in(rows: Rows, others: Rows) -> NDArray[np.bool_]:
    """For each of the rows, whether it is in `others`."""
    if not len(rows) or not len(others):
        return np.zeros(len(rows), dtype=np.bool_)
    low, high = int(rows[0]), int(rows[-1])
    others = others[np.searchsorted(others, low) : np.searchsorted(others, high, "right")]
    if not len(others):
        return np.zeros(len(rows), dtype=np.bool_)
    if high - low < _SPAN_PER_ROW * len(rows):
        table = np.zeros(high - low + 1, dtype=np.bool_)
        table[others - low] = True
        hits: NDArray[np.bool_] = table[rows - low]
        return hits
    found: NDArray[np.bool_] = others[np.minimum(np.searchsorted(others, rows), len(others) - 1)] == rows
    return found
