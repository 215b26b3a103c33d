"""Less of a view: the rows that a search has to compare one by one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from executors.index.embedded.memory.vectors import View


def selected_views(views: Sequence[View], after: int, rows: NDArray[np.int64] | None) -> list[View]:
    """Less of each view: only rows after a row number, and only those of `rows` (ascending; None: all)."""
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
