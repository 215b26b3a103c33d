"""Copies of one vector: noticed if there are many, recorded beside the graph, never mistaken for another vector."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from executors.index.embedded.graph.hnsw import HnswGraph
from executors.index.embedded.memory.duplicates import Copies, CopyCounter, find_copy
from tests.support.models.parts import vectors_like

KEPT = 8


def graph_of(seeds: list[int]) -> HnswGraph:
    graph = HnswGraph(8, precision="half", capacity=max(1, len(seeds)))
    graph.add_many(vectors_like(seeds), 1)
    return graph


@given(st.lists(st.lists(st.integers(0, 6), max_size=30), max_size=6), st.integers(1, 10_000))
def test_a_vector_that_came_eight_times_is_always_noticed(batches: list[list[int]], capacity: int) -> None:
    counter = CopyCounter(capacity)
    came: Counter[int] = Counter()
    for seeds in batches:
        often = counter.add(vectors_like(seeds))
        for seed, noticed in zip(seeds, often, strict=True):
            assert noticed or came[seed] < KEPT
            came[seed] += 1


def test_what_came_seldom_is_mostly_not_noticed() -> None:
    counter = CopyCounter(4000)
    often = counter.add(np.random.default_rng(1).standard_normal((4000, 8)).astype(np.float32))
    assert np.count_nonzero(often) < 40


def test_vectors_that_differ_in_one_number_only_are_told_apart() -> None:
    vectors = np.tile(vectors_like([1]), (64, 1))
    vectors[:, 3] += np.arange(64, dtype=np.float32)
    assert not CopyCounter(64).add(vectors).any()


def test_what_a_graph_holds_already_counts() -> None:
    graph = graph_of([5] * 7 + list(range(100, 200)) + [6] * 300)
    counter = CopyCounter(graph.capacity)
    counter.add_all(graph)
    stored = graph.rounded(vectors_like([5, 5, 6, 7]))
    assert counter.add(stored).tolist() == [False, True, True, False]


def test_large_graphs_are_counted_to_their_end() -> None:
    graph = HnswGraph(2, precision="half", capacity=10_000, m=2, ef_construction=1)
    angles = np.linspace(0, 3, 9_990)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    graph.add_many(np.concatenate([vectors, np.tile(np.array([[-1, 0]], np.float32), (8, 1))]), 1)
    counter = CopyCounter(graph.capacity)
    counter.add_all(graph)
    assert counter.add(graph.rounded(np.array([[-1, 0]], np.float32))).all()


@given(st.lists(st.integers(0, 5), max_size=200), st.integers(0, 200))
def test_a_reader_of_the_first_few_sees_these_and_no_others(slots: list[int], count: int) -> None:
    copies = Copies()
    for number, slot in enumerate(slots):
        copies.add(10 * number, slot)
    seen = min(count, len(slots))
    assert copies.rows(seen).tolist() == [10 * number for number in range(seen)]
    assert copies.slots(seen).tolist() == slots[:seen]
    for wanted in ([0], [3, 1], [5, 9], []):
        places = copies.of_slots(np.asarray(wanted, dtype=np.int64), seen).tolist()
        assert sorted(places) == [place for place in range(seen) if slots[place] in wanted]


def test_what_was_looked_at_stays_as_it_was_while_more_come() -> None:
    copies = Copies()
    for number in range(60):
        copies.add(number, 7)
    rows, slots = copies.rows(60), copies.slots(60)
    for number in range(60, 500):
        copies.add(number, 8)
    assert (rows.tolist(), slots.tolist()) == (list(range(60)), [7] * 60)


def test_the_slot_of_a_copy_is_found_and_nothing_that_is_merely_near() -> None:
    graph = graph_of([*range(300), *[300] * 8])
    assert find_copy(graph, graph.rounded(vectors_like([17]))[0]) == 17
    slot = find_copy(graph, graph.rounded(vectors_like([300]))[0])
    assert slot is not None
    assert 300 <= slot < 308
    near = graph.rounded(vectors_like([17]))[0]
    near[np.abs(near).argmin()] *= 1.01
    assert find_copy(graph, near) is None
    assert find_copy(graph_of([]), near) is None
