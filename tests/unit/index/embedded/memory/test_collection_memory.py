"""A collection in memory: every search sees one moment, even while rows are moved."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executors.index.embedded.memory.collection_memory import CollectionMemory, CollectionView, GraphOptions
from executors.index.embedded.memory.live_graph import ROWS_A_MOVE
from executors.index.embedded.memory.vectors import FIRST_BLOCK_ROWS, VectorCache, View
from tests.support.models.parts import covered, move, rows_found, small_graph, vectors_like
from tests.support.stores.records import DIMENSION

KINDS = {
    "half, disk": GraphOptions(),
    "half, memory": GraphOptions(rerank="memory"),
    "single, memory": GraphOptions(precision="single", rerank="memory"),
}
any_kind = pytest.mark.parametrize("options", KINDS.values(), ids=KINDS.keys())


def seed_of(row: int) -> int:
    """The seed of a row's vector: about every other row has one of two shared vectors."""
    return row if row % 2 else row % 8 // 4


class Written:
    """A collection in memory, and its true state after each transaction."""

    def __init__(self, options: GraphOptions) -> None:
        self.held = CollectionMemory(DIMENSION, options)
        self.applied = 0
        self.live: dict[int, list[int]] = {0: []}
        self.next_row: dict[int, int] = {0: 1}

    def write(self, added: int, removed: list[int]) -> None:
        """One transaction, published as `Memory.publish` does it."""
        sequence, first = self.applied + 1, self.next_row[self.applied]
        rows = list(range(first, first + added))
        self.live[sequence] = [row for row in self.live[self.applied] if row not in removed] + rows
        self.next_row[sequence] = first + added
        if rows:
            self.held.reserve(added)
        if removed:
            self.held.remove(sequence, removed)
        if rows:
            self.held.add(sequence, rows, [f"id {row}" for row in rows], vectors_like([seed_of(row) for row in rows]))
        self.held.documents = len(self.live[sequence])
        self.applied = sequence
        if removed:
            self.held.compact(sequence)

    def view(self, sequence: int) -> CollectionView | None:
        return self.held.view(sequence, self.next_row[sequence])

    def start(self, capacity: int = 16) -> None:
        """Begin a graph that soon has to grow."""
        if self.held.graph is None:
            graph = small_graph(capacity, self.held.options.precision)
            with self.held.changing:
                graph.take_over(max(self.applied, self.held.last_removed), np.empty(0, dtype=np.int64), 0)
                self.held.graph = graph


@any_kind
def test_a_row_is_seen_once_wherever_it_stands(options: GraphOptions) -> None:
    written = Written(options)
    written.write(40, [])
    written.write(300, [3, 4, 17])
    written.held.start_graph(written.applied)
    while written.held.move_some(ROWS_A_MOVE):
        view = written.view(2)
        assert view is not None
        assert rows_found(view) == written.live[2]
        written.held.drop_covered()
        view = written.view(2)
        assert view is not None
        assert rows_found(view) == written.live[2]
    assert written.held.uncovered == 0
    written.write(5, [1, 300])
    view = written.view(3)
    assert view is not None
    assert rows_found(view) == written.live[3]
    assert rows_found(view, wanted=[2, 299, 341]) == [2, 299, 341], "copies, others, and what is new"


@any_kind
@settings(max_examples=60)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("write"), st.integers(0, 30), st.floats(0.0, 1.0)),
            st.tuples(st.just("write"), st.integers(0, 30), st.just(0.0)),
            st.tuples(st.just("move"), st.integers(1, 12), st.none()),
            st.tuples(st.just("drop"), st.none(), st.none()),
        ),
        max_size=25,
    )
)
def test_every_view_shows_its_moment_for_ever(options: GraphOptions, steps: list[tuple[str, Any, Any]]) -> None:
    written = Written(options)
    taken: list[tuple[CollectionView | None, int]] = []
    for step, amount, share in steps:
        if step == "write":
            gone = [row for row in written.live[written.applied] if (row * 0.6180339887) % 1.0 < share]
            written.write(amount, gone)
        elif step == "move":
            written.start()
            for _ in range(amount):
                move(written.held)
        else:
            written.held.drop_covered()
        newest = written.view(written.applied)
        assert newest is not None, "the newest moment can always be seen"
        taken.append((newest, written.applied))
        taken.extend((written.view(sequence), sequence) for sequence in range(written.applied))
    for view, sequence in taken:
        assert view is None or rows_found(view) == written.live[sequence]


@any_kind
@pytest.mark.usefixtures("hasty_threads")
def test_searches_see_whole_moments_while_rows_come_go_and_move(options: GraphOptions) -> None:
    written, rng = Written(options), np.random.default_rng(8)
    written.write(20, [])
    done = threading.Event()
    wrong: list[object] = []
    looks: list[int] = []

    def keep() -> None:
        try:
            while not done.is_set():
                written.start()
                for _ in range(4):
                    move(written.held)
                written.held.drop_covered()
        except Exception as error:
            wrong.append(error)

    def look() -> None:
        try:
            while not done.is_set():
                sequence = written.applied
                view = written.view(sequence)
                if view is None:
                    continue
                found, live = rows_found(view), written.live[sequence]
                looks.append(sequence)
                if found != live:
                    wrong.append(
                        (sequence, set(found) - set(live), set(live) - set(found), len(found) - len(set(found)))
                    )
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=each) for each in (keep, look, look, look)]
    for each in threads:
        each.start()
    try:
        for _ in range(250):
            live = written.live[written.applied]
            count = int(rng.integers(0, 16)) if len(live) < 300 else 80
            gone = rng.choice(live, min(len(live), count), replace=False).tolist() if rng.random() < 0.7 else []
            written.write(int(rng.integers(0, 12)), gone)
            if wrong:
                break
    finally:
        done.set()
        for each in threads:
            each.join()
    assert wrong == []
    assert len(looks) > 50
    graph = covered(written.held, written.applied)
    assert graph.extent.slots > 100
    assert graph.extent.copies > 100
    view = written.view(written.applied)
    assert view is not None
    assert rows_found(view) == written.live[written.applied]


@any_kind
def test_vectors_leave_memory_when_the_graph_covers_them_unless_they_decide(options: GraphOptions) -> None:
    written = Written(options)
    written.write(2 * FIRST_BLOCK_ROWS, [])
    before = written.held.flat.rows_held
    covered(written.held, written.applied)
    assert (written.held.flat.rows_held == before) is options.keeps_vectors
    assert written.held.uncovered == 0


@any_kind
def test_vectors_that_decide_are_those_that_were_given(options: GraphOptions) -> None:
    written = Written(options)
    written.write(600, [])
    covered(written.held, written.applied)
    view = written.view(1)
    assert view is not None
    assert view.graph is not None
    rows = np.asarray([1, 2, 300, 301, 600])
    vectors = written.held.vectors_in_memory(rows, view.graph)
    if options.rerank == "disk":
        assert vectors is None
        return
    assert vectors is not None
    expected = vectors_like([seed_of(row) for row in rows.tolist()])
    if options.precision == "single":
        expected = view.graph.graph.graph.rounded(expected)
    np.testing.assert_array_equal(vectors, expected)
    written.write(0, list(range(1, 512)))
    later = written.held.vectors_in_memory(rows, view.graph)
    assert later is None or np.array_equal(later, expected), "what has left memory is read from the disk"
    assert (later is None) is options.keeps_vectors


def test_a_graph_that_was_just_begun_knows_no_earlier_moment() -> None:
    written = Written(GraphOptions())
    written.write(20, [])
    written.write(1, [4, 5])
    assert written.view(1) is not None
    written.held.start_graph(written.applied)
    assert written.view(1) is None
    covered(written.held, written.applied)
    view = written.view(2)
    assert view is not None
    assert rows_found(view) == written.live[2]


def test_a_moment_that_was_compacted_away_is_not_made_up() -> None:
    written = Written(GraphOptions())
    written.write(200, [])
    written.write(0, list(range(1, 150)))
    assert written.view(1) is None
    view = written.view(2)
    assert view is not None
    assert rows_found(view) == list(range(150, 201))


def test_what_the_graph_takes_is_counted() -> None:
    written = Written(GraphOptions())
    written.write(100, [])
    before = written.held.bytes_held
    written.held.start_graph(written.applied)
    while written.held.move_some(ROWS_A_MOVE):
        pass
    assert written.held.bytes_held > before + 100 * DIMENSION


class Interrupted(VectorCache):
    """Runs a function right after a view was taken."""

    def __init__(self, then: Callable[[], None]) -> None:
        super().__init__(DIMENSION)
        self._then: Callable[[], None] | None = then

    def view(self, sequence: int) -> list[View] | None:
        taken = super().view(sequence)
        then, self._then = self._then, None
        if then is not None:
            then()
        return taken


@any_kind
def test_a_row_that_is_replaced_while_a_search_takes_its_view_is_not_lost(options: GraphOptions) -> None:
    """The row leaves memory before the graph has it, and the graph then covers its number."""
    written = Written(options)

    def replace() -> None:
        written.write(100, list(range(1, 101)))
        covered(written.held, written.applied)

    written.held.flat = Interrupted(replace)
    written.write(100, [])
    written.start()
    view = written.view(1)
    assert view is None or rows_found(view) == written.live[1]
    view = written.view(2)
    assert view is not None
    assert rows_found(view) == written.live[2]


def test_adding_rows_does_not_wait_for_the_graph() -> None:
    written = Written(GraphOptions())
    written.write(40, [])
    written.start()
    adding = threading.Thread(target=written.write, args=(3, []), daemon=True)
    # As while the graph takes some rows.
    with written.held.changing:
        adding.start()
        adding.join(20)
        assert not adding.is_alive()
    view = written.view(written.applied)
    assert view is not None
    assert rows_found(view) == written.live[written.applied]
