"""The graph that is searched while it grows: each live row once, no removed row, none of a later transaction."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from executors.index.embedded.graph.rwlock import RwLock
from executors.index.embedded.memory.collection_memory import GraphView
from executors.index.embedded.memory.live_graph import (
    LiveGraph,
    bits_of,
    first_bits,
    is_set,
    places_of,
    room_for,
    set_places,
)
from executors.index.embedded.memory.vectors import NEVER
from executors.index.embedded.search.targets import targets_of
from tests.support.models.parts import NO_ROWS, small_graph, vectors_like


def numbers(*rows: int) -> NDArray[np.int64]:
    return np.asarray(rows, dtype=np.int64)


def append(
    graph: LiveGraph, rows: list[int], seeds: list[int] | None = None, died: dict[int, int] | None = None
) -> None:
    since = numbers(*[(died or {}).get(row, NEVER) for row in rows])
    graph.append(numbers(*rows), vectors_like(rows if seeds is None else seeds), since)


def seen(graph: LiveGraph, sequence: int, next_row: int = 10_000) -> list[int] | None:
    """The rows that a search as of then would meet, with repetitions; None if it would have to start again."""
    extent = graph.extent_before(next_row)
    alive = graph.alive(sequence)
    if alive is None:
        return None
    targets = targets_of(GraphView(graph, extent, alive), None)
    slots = np.arange(extent.slots) if targets.bits is None else set_places(targets.bits, extent.slots)
    return sorted(targets.rows_of(slots.astype(np.int64)).tolist())


def test_rows_are_gone_from_their_transaction_on_and_not_before() -> None:
    graph = small_graph(64)
    append(graph, [1, 2, 3, 4], [1, 2, 3, 4])
    graph.remove(5, numbers(2))
    graph.remove(9, numbers(1, 4, 77))
    assert [seen(graph, at) for at in (4, 5, 8, 9, 20)] == [
        [1, 2, 3, 4], [1, 3, 4], [1, 3, 4], [3], [3],
    ]  # fmt: skip
    assert (graph.count, graph.dead) == (4, 3)


def test_rows_that_came_later_are_not_there_yet() -> None:
    graph = small_graph(64)
    append(graph, [1, 2, 3, 5, 6], [1, 1, 2, 3, 3])
    assert [seen(graph, 0, next_row) for next_row in (1, 3, 4, 5, 6, 7)] == [
        [], [1, 2], [1, 2, 3], [1, 2, 3], [1, 2, 3, 5], [1, 2, 3, 5, 6],
    ]  # fmt: skip


def test_rows_that_were_gone_before_they_were_added_are_never_found() -> None:
    """Removals that were published while their rows were not in the graph yet: the rows are gone as of each of these
    transactions.
    """
    graph = small_graph(64)
    graph.remove(2, numbers(1))
    graph.remove(3, numbers(2))
    append(graph, [1, 2, 3], died={1: 2, 2: 3})
    assert [seen(graph, at) for at in (2, 3, 4)] == [[2, 3], [3], [3]]


def test_copies_removed_before_they_were_added_are_never_found() -> None:
    graph = small_graph(64)
    append(graph, list(range(1, 9)), [7] * 8)
    graph.remove(2, numbers(10))
    graph.remove(3, numbers(11))
    append(graph, [10, 11, 12], [7] * 3, died={10: 2, 11: 3})
    assert graph.extent.copies == 3
    assert [seen(graph, at) for at in (2, 3)] == [[*range(1, 9), 11, 12], [*range(1, 9), 12]]


class WatchedLock(RwLock):
    """Calls a function whenever a writer has released the lock: a moment at which another thread may look."""

    def __init__(self, look: Callable[[], None]) -> None:
        super().__init__()
        self._look = look

    @contextmanager
    def writing(self) -> Iterator[None]:
        with super().writing():
            yield
        self._look()


def test_a_removed_row_is_not_even_found_in_the_moment_in_which_it_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[list[int] | None] = []

    class WatchedGraph(LiveGraph):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name == "_extent":
                looks.append(seen(self, 2))

    for seeds in ([1, 2], [9, 9]):
        graph = small_graph(64)
        append(graph, list(range(1, 9)), [9] * 8)
        graph.remove(2, numbers(20))
        monkeypatch.setattr(graph, "__class__", WatchedGraph)
        append(graph, [20, 21], seeds, died={20: 2})
        assert looks == [[*range(1, 9), 21]]
        looks.clear()


def test_rows_of_which_only_some_are_in_the_graph_are_not_found_yet() -> None:
    graph = small_graph(64)
    append(graph, list(range(1, 9)))
    looks: list[list[int] | None] = []
    graph.lock = WatchedLock(lambda: looks.append(seen(graph, 2)))
    append(graph, list(range(9, 14)))
    assert looks == [[*range(1, 9)]] * 3
    assert seen(graph, 2) == list(range(1, 14))


def test_only_eight_of_many_copies_take_a_slot_and_all_are_found() -> None:
    graph = small_graph(256)
    for row in range(1, 101):
        append(graph, [row], [5 if row % 2 else row])
    assert (graph.extent.slots, graph.extent.copies) == (58, 42)
    assert seen(graph, 0) == list(range(1, 101))


def test_copies_are_there_when_all_that_they_are_copies_of_is_gone() -> None:
    graph = small_graph(64)
    append(graph, list(range(1, 9)), [5] * 8)
    append(graph, list(range(9, 13)), [5] * 4)
    graph.remove(3, graph.rows(graph.extent).copy())
    assert seen(graph, 3) == [9, 10, 11, 12]
    graph.remove(4, numbers(10, 12))
    assert [seen(graph, at) for at in (3, 4)] == [[9, 10, 11, 12], [9, 11]]
    assert graph.dead == 10


def test_a_moment_that_is_not_kept_any_more_is_not_made_up() -> None:
    graph = small_graph(64, sequence=10)
    append(graph, list(range(1, 9)))
    assert seen(graph, 9) is None
    for sequence in range(11, 60):
        graph.remove(sequence, NO_ROWS)
    assert seen(graph, 10) is None
    assert seen(graph, 59) == seen(graph, 55) == list(range(1, 9))


def test_more_room_changes_nothing_that_is_seen() -> None:
    graph = small_graph(16)
    append(graph, list(range(1, 9)), [5] * 8)
    append(graph, list(range(9, 17)), [*range(9, 15), 5, 5])
    graph.remove(2, numbers(1, 3, 15))
    before = [seen(graph, at) for at in (0, 2)]
    assert not graph.has_room
    graph.grow(64, nullcontext())
    assert graph.has_room
    assert [seen(graph, at) for at in (0, 2)] == before
    append(graph, [17, 18], [5, 99])
    assert graph.extent.slots == 15, "the copies were not forgotten"
    assert seen(graph, 2) == [row for row in range(1, 19) if row not in (1, 3, 15)]


def test_the_vectors_of_rows_and_of_copies_are_those_that_were_given() -> None:
    graph = small_graph(64, "single")
    seeds = [1, 2, 5, 5, 5, 5, 5, 5]
    append(graph, [10, 20, 30, 40, 50, 60, 70, 80], seeds)
    append(graph, [90, 100, 110, 120], [5, 5, 5, 8])
    assert graph.extent.copies == 1
    rows = numbers(20, 80, 110, 120)
    expected = graph.graph.rounded(vectors_like([2, 5, 5, 8]))
    np.testing.assert_array_equal(graph.vectors(rows, graph.extent), expected)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 40)), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
def test_building_gives_what_adding_one_by_one_gives(batches: list[tuple[int, int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph, row = small_graph(1024), 0
    for kinds, count in batches:
        rows = np.arange(row + 1, row + count + 1)
        seeds = [int(each) if kinds and rng.random() < 0.7 else 1000 + row + n
                 for n, each in enumerate(rng.integers(0, max(1, kinds), count))]  # fmt: skip
        graph.build(rows, vectors_like(seeds), 1)
        row += count
        assert graph.extent.covered == row
    assert seen(graph, 0) == list(range(1, row + 1))


def test_a_graph_that_takes_over_lacks_what_was_removed_meanwhile() -> None:
    graph = small_graph(64)
    graph.build(numbers(1, 2, 3, 4), vectors_like([1, 2, 3, 4]), 1)
    graph.take_over(7, numbers(2, 9), covered=9)
    assert (graph.extent.covered, graph.dead) == (9, 1)
    assert [seen(graph, at) for at in (6, 7)] == [None, [1, 3, 4]]


def test_only_rows_that_live_are_kept() -> None:
    graph = small_graph(64)
    append(graph, list(range(1, 9)), [5] * 8)
    append(graph, [9, 10, 11], [5, 5, 11])
    graph.keep_only(numbers(2, 9, 11, 50))
    assert (seen(graph, 0), graph.dead) == ([2, 9, 11], 8)


@given(st.sets(st.integers(0, 70)), st.integers(0, 71))
def test_bits_are_the_places_that_they_were_made_of(places: set[int], count: int) -> None:
    wanted = np.asarray(sorted(places), dtype=np.intp)
    bits = bits_of(wanted, 71)
    assert set_places(bits, 71).tolist() == sorted(places)
    assert set_places(first_bits(bits, count), count).tolist() == [place for place in sorted(places) if place < count]
    assert np.bitwise_count(first_bits(bits, count)).sum() == sum(place < count for place in places), "none after them"
    assert is_set(bits, np.arange(71)).tolist() == [place in places for place in range(71)]
    assert set_places(bits, 71).tolist() == sorted(places), "a cut is a copy"


@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_places_are_those_of_the_numbers_that_are_there(wanted: set[int], among: set[int]) -> None:
    there = sorted(among)
    places = places_of(numbers(*sorted(wanted)), numbers(*there)).tolist()
    assert [there[place] for place in places] == sorted(wanted & among)


def test_there_is_room_to_grow_for_a_while() -> None:
    assert room_for(0) >= 1
    assert 110_000 < room_for(100_000) < 200_000


def test_searches_walk_while_rows_are_added_and_room_is_made() -> None:
    """Vectors that existed when a search began are found, even if others are added meanwhile."""
    graph = small_graph(64)
    append(graph, list(range(8)))
    changing, done = threading.Lock(), threading.Event()
    wrong: list[object] = []

    def search() -> None:
        rng = np.random.default_rng(threading.get_ident() % 2**32)
        while not done.is_set():
            extent = graph.extent
            row = int(rng.integers(extent.slots))
            live = graph.graph
            with graph.lock.reading():
                slots, _ = live.search(vectors_like([row])[0], 4, 64, None)
            if row not in graph.rows(extent)[slots[slots < extent.slots]]:
                wrong.append((row, slots, extent))

    searchers = [threading.Thread(target=search) for _ in range(2)]
    for each in searchers:
        each.start()
    try:
        for start in range(8, 800, 8):
            if not graph.has_room:
                graph.grow(graph.extent.slots + 64, changing)
            with changing:
                append(graph, list(range(start, start + 8)))
    finally:
        done.set()
        for each in searchers:
            each.join()
    assert wrong == []
