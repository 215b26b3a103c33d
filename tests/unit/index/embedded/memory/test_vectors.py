"""The cache of vectors: every search sees one moment, even during writes."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from executors.index.embedded.memory.vectors import VectorCache, View

D = 4


def vectors_of(rows: list[int]) -> NDArray[np.float32]:
    return np.asarray([[row, 1, 2, 3] for row in rows], dtype=np.float32)


def add(cache: VectorCache, sequence: int, rows: list[int]) -> None:
    cache.add(sequence, rows, [f"id {row}" for row in rows], vectors_of(rows))


def shown(views: list[View] | None) -> list[tuple[int, str, float]]:
    """Row, id and first number of the vector of everything that the views show, after checking its other columns."""
    assert views is not None
    seen = []
    for view in views:
        for slot in range(view.count):
            if view.gone is None or not view.gone[slot]:
                block = view.block
                vector = block.vectors[slot].astype(np.float64)
                assert block.squares[slot] == pytest.approx(vector @ vector)
                assert block.scales[slot] == pytest.approx(1 / np.sqrt(vector @ vector), rel=1e-6)
                seen.append((int(block.rows[slot]), block.ids[slot], float(block.vectors[slot, 0])))
    return seen


def expected(rows: list[int]) -> list[tuple[int, str, float]]:
    return [(row, f"id {row}", float(row)) for row in rows]


def test_rows_are_shown_as_of_the_sequence_that_is_asked_for() -> None:
    cache = VectorCache(D)
    add(cache, 1, [1, 2])
    add(cache, 2, [3])
    cache.remove(3, [2])
    add(cache, 4, [4])
    assert shown(cache.view(0)) == []
    assert shown(cache.view(1)) == expected([1, 2])
    assert shown(cache.view(2)) == expected([1, 2, 3])
    assert shown(cache.view(3)) == expected([1, 3])
    assert shown(cache.view(4)) == expected([1, 3, 4])
    assert cache.live == 3


def test_unknown_and_removed_rows_can_be_removed_again() -> None:
    cache = VectorCache(D)
    add(cache, 1, [5, 9])
    cache.remove(2, [1, 5, 7, 99])
    cache.remove(3, [5, 5])
    assert cache.live == 1
    assert shown(cache.view(2)) == shown(cache.view(3)) == expected([9])


def test_growth_moves_nothing_that_was_there() -> None:
    cache = VectorCache(D, first_block_rows=2)
    add(cache, 1, [1, 2, 3])
    before = cache.view(1)
    assert before is not None
    first = before[0].block.vectors
    for row in range(4, 200):
        add(cache, row, [row])
    after = cache.view(200)
    assert after is not None
    assert after[0].block.vectors is first
    assert shown(before) == expected([1, 2, 3])
    assert shown(after) == expected(list(range(1, 200)))


def test_reserved_room_takes_the_rows_without_another_block() -> None:
    cache = VectorCache(D, first_block_rows=2)
    cache.reserve(1000)
    blocks = cache._layout.blocks
    add(cache, 1, list(range(1000)))
    assert cache._layout.blocks == blocks
    assert shown(cache.view(1)) == expected(list(range(1000)))


def test_compaction_gives_memory_back_and_leaves_older_views_as_they_were() -> None:
    cache = VectorCache(D, first_block_rows=256)
    rows = list(range(1, 2001))
    add(cache, 1, rows)
    before = cache.view(1)
    kept = [row for row in rows if row % 10 == 0]
    cache.remove(2, [row for row in rows if row % 10])
    cache.compact(2)
    assert cache.rows_held == len(kept)
    assert shown(cache.view(2)) == expected(kept)
    assert shown(before) == expected(rows)
    add(cache, 3, [2001, 2002])
    cache.remove(4, [10, 2001])
    assert shown(cache.view(4)) == expected([*kept[1:], 2002])


def test_a_moment_before_a_compaction_can_not_be_shown_any_more() -> None:
    cache = VectorCache(D)
    add(cache, 1, list(range(200)))
    cache.remove(5, list(range(199)))
    assert cache.view(4) is not None
    cache.compact(5)
    assert cache.view(4) is None
    assert shown(cache.view(5)) == expected([199])


def test_few_dead_rows_are_not_worth_a_copy() -> None:
    cache = VectorCache(D)
    add(cache, 1, list(range(100)))
    cache.remove(2, list(range(40)))
    cache.compact(2)
    assert cache.rows_held == 100
    assert shown(cache.view(1)) == expected(list(range(100)))


def test_when_everything_goes_nothing_is_held() -> None:
    cache = VectorCache(D)
    add(cache, 1, list(range(500)))
    cache.remove(2, list(range(500)))
    cache.compact(2)
    assert (cache.live, cache.rows_held, cache.bytes_held) == (0, 0, 0)
    add(cache, 3, [500])
    assert shown(cache.view(3)) == expected([500])


def test_many_small_blocks_do_not_remain() -> None:
    cache = VectorCache(D, first_block_rows=128)
    cache._most = 128
    add(cache, 1, list(range(128 * 64)))
    for sequence, start in enumerate(range(0, 128 * 64, 128), start=2):
        cache.remove(sequence, list(range(start, start + 126)))
        cache.compact(sequence)
    assert cache.live == cache.rows_held == 128
    assert len(cache._layout.blocks) <= 4


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.integers(1, 150)),
            st.tuples(st.just("remove"), st.floats(0.0, 1.0)),
            st.tuples(st.just("compact"), st.none()),
        ),
        max_size=25,
    )
)
# Blocks of which nothing is left, each too small to be compacted alone.
@example(
    [
        *(("add", n) for n in (120, 120, 142, 143)),
        ("remove", 1.0),
        ("add", 118),
        ("add", 150),
        ("compact", None),
        ("add", 1),
    ]
)
def test_every_view_shows_its_moment_for_ever(steps: list[tuple[str, int | float | None]]) -> None:
    cache = VectorCache(D, first_block_rows=16)
    alive: list[int] = []
    taken: list[tuple[list[View] | None, list[int]]] = []
    next_row = 1
    for sequence, (step, amount) in enumerate(steps, start=1):
        if step == "add":
            rows = list(range(next_row, next_row + int(amount or 0)))
            next_row += len(rows)
            add(cache, sequence, rows)
            alive = alive + rows
        elif step == "remove":
            share = float(amount or 0.0)
            gone = {row for row in alive if (row * 0.6180339887) % 1.0 < share}
            cache.remove(sequence, sorted(gone, reverse=True))
            alive = [row for row in alive if row not in gone]
        else:
            cache.compact(sequence)
        taken.append((cache.view(sequence), list(alive)))
        assert cache.live == len(alive)
    for views, rows in taken:
        assert shown(views) == expected(rows)


@pytest.mark.usefixtures("hasty_threads")
def test_readers_beside_a_writer_see_whole_transactions() -> None:
    """Each transaction adds a pair and removes the pair before it, so every reader sees exactly one pair."""
    cache = VectorCache(D, first_block_rows=8)
    applied = 0
    wrong: list[object] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            sequence = applied
            views = cache.view(sequence)
            if sequence and views is not None:
                rows = [row for row, _, _ in shown(views)]
                if rows != [2 * sequence, 2 * sequence + 1]:
                    wrong.append((sequence, rows))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for sequence in range(1, 400):
            add(cache, sequence, [2 * sequence, 2 * sequence + 1])
            cache.remove(sequence, [2 * sequence - 2, 2 * sequence - 1])
            applied = sequence
            cache.compact(sequence)
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert wrong == []
    assert cache.rows_held < 200


@given(st.sets(st.integers(1, 60)), st.sets(st.integers(0, 62)), st.integers(1, 5))
def test_vectors_are_fetched_from_whatever_block_holds_them(held: set[int], wanted: set[int], first: int) -> None:
    """And none is mistaken for another: a row that is not held is an error."""
    cache = VectorCache(D, first_block_rows=first)
    for sequence, row in enumerate(sorted(held)):
        add(cache, sequence, [row])
    rows = np.asarray(sorted(wanted), dtype=np.int64)
    if wanted <= held:
        np.testing.assert_array_equal(cache.fetch(rows), vectors_of(rows.tolist()).reshape(-1, D))
    else:
        with pytest.raises(KeyError):
            cache.fetch(rows)
