"""The rows of a graph that a search may find: by their slots, or as copies, and no others."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from executors.index.embedded.memory.collection_memory import GraphView
from executors.index.embedded.memory.live_graph import LiveGraph, set_places
from executors.index.embedded.memory.vectors import NEVER
from executors.index.embedded.search.targets import Targets, targets_of
from tests.support.models.parts import small_graph, vectors_like


def numbers(*rows: int) -> NDArray[np.int64]:
    return np.asarray(rows, dtype=np.int64)


def graph_with(seeds: list[int]) -> LiveGraph:
    """Rows 1, 2, … with the vectors of these seeds."""
    graph = small_graph(len(seeds) + 8)
    for row, seed in enumerate(seeds, start=1):
        graph.append(numbers(row), vectors_like([seed]), numbers(NEVER))
    return graph


def view_of(graph: LiveGraph, sequence: int = 0, next_row: int = 1000) -> GraphView:
    alive = graph.alive(sequence)
    assert alive is not None
    return GraphView(graph, graph.extent_before(next_row), alive)


def all_slots(targets: Targets) -> NDArray[np.int64]:
    slots = targets.view.extent.slots
    return (np.arange(slots) if targets.bits is None else set_places(targets.bits, slots)).astype(np.int64)


COPIES = [5] * 12 + [1, 2, 3]


def test_a_filter_that_only_copies_match_finds_the_copies_and_not_the_originals() -> None:
    graph = graph_with(COPIES)
    assert graph.extent.copies == 4
    targets = targets_of(view_of(graph), numbers(10, 12))
    assert targets.size == 2
    slots = all_slots(targets)
    assert len(slots) == 1, "the one slot that stands for them"
    assert sorted(targets.rows_of(slots).tolist()) == [10, 12]


def test_rows_that_a_filter_leaves_out_are_not_what_a_slot_stands_for() -> None:
    targets = targets_of(view_of(graph_with(COPIES)), numbers(1, 11, 14))
    assert sorted(targets.rows_of(np.arange(11)).tolist()) == [1, 11, 14]


def test_without_a_filter_and_with_nothing_removed_every_slot_counts() -> None:
    targets = targets_of(view_of(graph_with(COPIES)), None)
    assert (targets.bits, targets.size) == (None, 15)


def test_a_removed_row_lends_its_slot_to_its_copies() -> None:
    graph = graph_with(COPIES)
    graph.remove(3, numbers(*range(1, 9)))
    targets = targets_of(view_of(graph, 3), None)
    assert targets.size == 7
    assert sorted(targets.rows_of(all_slots(targets)).tolist()) == [9, 10, 11, 12, 13, 14, 15]
    graph.remove(4, numbers(9, 10, 11, 12))
    targets = targets_of(view_of(graph, 4), None)
    assert sorted(targets.rows_of(all_slots(targets)).tolist()) == [13, 14, 15]
    assert len(all_slots(targets)) == 3


def test_a_filter_that_nothing_here_matches_leaves_nothing() -> None:
    for rows in (numbers(), numbers(500, 501)):
        targets = targets_of(view_of(graph_with(COPIES)), rows)
        assert (targets.size, len(all_slots(targets))) == (0, 0)


@settings(max_examples=150)
@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=40),
    st.sets(st.integers(1, 40)),
    st.none() | st.sets(st.integers(1, 45)),
    st.integers(1, 41),
)
def test_exactly_what_is_alive_and_wanted_can_be_found(
    kinds: list[int], removed: set[int], wanted: set[int] | None, next_row: int
) -> None:
    graph = graph_with([kind or 100 + n for n, kind in enumerate(kinds)])
    graph.remove(2, numbers(*sorted(removed)))
    for sequence, gone in ((0, set()), (2, removed)):
        live = {row for row in range(1, min(next_row, len(kinds) + 1)) if row not in gone}
        # A filter's rows are alive in the search's transaction.
        rows = None if wanted is None else numbers(*sorted(wanted & live))
        targets = targets_of(view_of(graph, sequence, next_row), rows)
        found = sorted(targets.rows_of(all_slots(targets)).tolist())
        assert found == sorted(live if wanted is None else live & wanted)
