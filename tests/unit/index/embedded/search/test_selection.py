"""Less of a view: exactly the rows after a number, or of a set, whatever else is gone."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from executors.index.embedded.memory.vectors import VectorCache, View
from executors.index.embedded.search.selection import selected_views
from tests.support.models.parts import vectors_like


def shown(views: list[View]) -> list[int]:
    rows: list[int] = []
    for view in views:
        numbers = view.block.rows[: view.count]
        rows.extend((numbers if view.gone is None else numbers[~view.gone]).tolist())
    return rows


@given(
    st.sets(st.integers(1, 60), min_size=1),
    st.sets(st.integers(1, 60)),
    st.integers(0, 65),
    st.none() | st.sets(st.integers(0, 70)),
)
def test_what_is_left_is_what_was_asked_for(
    rows: set[int], removed: set[int], after: int, wanted: set[int] | None
) -> None:
    cache = VectorCache(8, first_block_rows=4)
    for row in sorted(rows):
        cache.add(1, [row], [str(row)], vectors_like([row]))
    cache.remove(2, sorted(removed))
    for sequence, live in ((1, rows), (2, rows - removed)):
        views = cache.view(sequence)
        assert views is not None
        given_rows = None if wanted is None else np.asarray(sorted(wanted), dtype=np.int64)
        chosen = selected_views(views, after, given_rows)
        assert shown(chosen) == sorted(row for row in live if row > after and (wanted is None or row in wanted))
        assert all(shown([each]) for each in chosen), "a block that can't have a hit is not compared"
        assert shown(views) == sorted(live), "the view stays as it was"
