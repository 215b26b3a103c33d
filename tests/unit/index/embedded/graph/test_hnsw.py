"""The graph: it finds the right vectors, and they can be read during an add."""

from __future__ import annotations

import threading
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from executors.index.embedded.graph.hnsw import (
    ADDED_AT_ONCE,
    HnswGraph,
    Precision,
    score_error,
    selected_bits,
    use_one_thread,
)
from executors.index.embedded.graph.rwlock import RwLock
from tests.support.stores.graphs import DIMENSION, Vectors, cosines, filled, some

PRECISIONS: tuple[Precision, ...] = ("half", "single")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    use_one_thread()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_best_are_found_in_order_with_their_cosines(precision: Precision) -> None:
    vectors = some(800) * np.float32(3.0)
    graph = filled(vectors, precision)
    for query in some(20, seed=2):
        truth = cosines(vectors, query)
        slots, scores = graph.search(query, 10, 128, None)
        assert slots.dtype == np.int64
        assert scores.dtype == np.float32
        assert np.all(np.diff(scores) <= 0)
        assert np.abs(scores - truth[slots]).max() <= score_error(DIMENSION, precision)
        assert len(set(slots.tolist()) & set(np.argsort(-truth)[:10].tolist())) >= 9


@pytest.mark.parametrize("precision", PRECISIONS)
def test_only_selected_slots_are_found(precision: Precision) -> None:
    vectors = some(500)
    graph = filled(vectors, precision)
    mask = np.random.default_rng(3).random(500) < 0.3
    bits = selected_bits(mask)
    query = some(1, seed=4)[0]
    for slots, _ in (
        graph.search(query, 20, 200, bits),
        graph.scan(query, 20, bits),
        graph.scan_above(query, -2.0, bits),
    ):
        assert slots.size >= 20
        assert mask[slots].all()
    assert np.array_equal(np.sort(graph.scan(query, 500, bits)[0]), np.flatnonzero(mask))
    assert np.array_equal(np.sort(graph.scan_above(query, -2.0, bits)[0]), np.flatnonzero(mask))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_bits_for_fewer_slots_leave_the_others_out(precision: Precision) -> None:
    graph = filled(some(100), precision)
    bits = selected_bits(np.ones(40, dtype=bool))
    query = some(1, seed=4)[0]
    for slots, _ in (
        graph.search(query, 100, 200, bits),
        graph.scan(query, 100, bits),
        graph.scan_above(query, -2.0, bits),
    ):
        assert np.array_equal(np.sort(slots), np.arange(40))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_scan_compares_every_stored_vector(precision: Precision) -> None:
    vectors = some(300)
    graph = filled(vectors, precision)
    query = some(1, seed=5)[0]
    unit = query.astype(np.float64) / np.linalg.norm(query.astype(np.float64))
    truth = graph.stored(np.arange(300)).astype(np.float64) @ unit
    slots, scores = graph.scan(query, 300, None)
    assert np.array_equal(np.sort(slots), np.arange(300))
    assert np.all(np.diff(scores) <= 0)
    assert np.abs(scores - truth[slots]).max() <= score_error(DIMENSION, "single")
    first, _ = graph.scan(query, 50, None, count=120)
    assert first.max() < 120


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("all_selected", [True, False])
def test_a_scan_above_a_floor_misses_nothing_and_adds_nothing(precision: Precision, all_selected: bool) -> None:
    graph = filled(some(900), precision)
    query = some(1, seed=6)[0]
    bits = None if all_selected else selected_bits(np.arange(900) % 3 > 0)
    slots, scores = graph.scan(query, 900, bits)
    gaps = scores[:-1] - scores[1:] > 1e-5
    for place in [0, 3, *np.flatnonzero(gaps)[::40].tolist()]:
        if gaps[place]:
            between = float(scores[place] + scores[place + 1]) / 2
            assert set(graph.scan_above(query, between, bits)[0].tolist()) == set(slots[: place + 1].tolist())
    for floor in (-2.0, float(scores[20]), float(scores[500])):
        above, their_scores = graph.scan_above(query, floor, bits)
        assert np.all(their_scores > floor)
        for slot, score in list(zip(above.tolist(), their_scores.tolist(), strict=True))[::50]:
            assert slot not in graph.scan_above(query, score + 1e-6, bits)[0]
            # Another order of summation may be chosen for another floor.
            assert slot in graph.scan_above(query, score - 1e-6, bits)[0]


def test_what_does_not_fit_is_refused_and_changes_nothing() -> None:
    graph = HnswGraph(DIMENSION, precision="half", capacity=10)
    graph.add_many(some(8), threads=1)
    for bad in (
        some(3),
        some(9),
        np.zeros((1, DIMENSION), np.float32),
        np.full((1, DIMENSION), np.nan, np.float32),
        some(1, 7),
    ):
        with pytest.raises(ValueError, match=r"room|at most|finite|N x"):
            graph.add(graph.rounded(bad))
    assert graph.count == 8
    graph.add(graph.rounded(some(2)))
    assert graph.count == 10


@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_empty_graph_finds_nothing(precision: Precision) -> None:
    graph = HnswGraph(DIMENSION, precision=precision, capacity=5)
    query = some(1)[0]
    for slots, scores in (
        graph.search(query, 5, 10, None),
        graph.search(query, 5, 10, selected_bits(np.ones(8, bool))),
        graph.scan(query, 5, None),
        graph.scan_above(query, -2.0, None),
        graph.grown(9).search(query, 5, 10, None),
    ):
        assert slots.size == scores.size == 0


@pytest.mark.parametrize("precision", PRECISIONS)
def test_nothing_selected_finds_nothing(precision: Precision) -> None:
    graph = filled(some(50), precision)
    query = some(1)[0]
    for bits in (np.zeros(7, np.uint8), np.zeros(0, np.uint8)):
        for slots, _ in (
            graph.search(query, 5, 10, bits),
            graph.scan(query, 5, bits),
            graph.scan_above(query, -2.0, bits),
        ):
            assert slots.size == 0
    assert graph.search(query, 0, 10, None)[0].size == 0


def test_a_query_without_direction_is_refused() -> None:
    graph = filled(some(20))
    for query in (np.zeros(DIMENSION, np.float32), np.full(DIMENSION, np.inf, np.float32), np.ones(3, np.float32)):
        with pytest.raises(ValueError, match=r"finite|N x"):
            graph.search(query, 5, 10, None)
        with pytest.raises(ValueError, match=r"finite|N x"):
            graph.scan(query, 5, None)


def test_stored_vectors_are_of_complete_slots_only() -> None:
    graph = filled(some(20), capacity=30)
    assert graph.stored(np.empty(0, np.int64)).shape == (0, DIMENSION)
    for slot in (-1, 20, 29):
        with pytest.raises(IndexError):
            graph.stored(np.array([0, slot]))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_grown_graph_answers_the_same_and_takes_more(precision: Precision) -> None:
    vectors = some(900)
    graph = filled(vectors[:600], precision)
    copy = graph.grown(900)
    assert (copy.count, copy.capacity) == (600, 900)
    queries = some(20, seed=8)
    for query in queries:
        (slots, scores), (theirs, their_scores) = graph.search(query, 10, 40, None), copy.search(query, 10, 40, None)
        assert np.array_equal(slots, theirs)
        assert np.array_equal(scores, their_scores)
    where = copy.addresses()
    for start in range(600, 900, ADDED_AT_ONCE):
        copy.add(copy.rounded(vectors[start : start + ADDED_AT_ONCE]))
    assert copy.addresses() == where
    assert (graph.count, copy.count) == (600, 900)
    hits = sum(
        len(
            set(copy.search(query, 10, 128, None)[0].tolist()) & set(np.argsort(-cosines(vectors, query))[:10].tolist())
        )
        for query in queries
    )
    assert hits >= 190
    with pytest.raises(ValueError, match="fit"):
        copy.grown(899)


def test_links_that_lead_outside_are_refused() -> None:
    graph = filled(some(50))
    source = graph.arrays()

    def attempt(name: str, value: int, entry_point: int | None = None, max_level: int | None = None) -> None:
        copy = HnswGraph(DIMENSION, precision="half", capacity=50)
        arrays = copy.expand(50, source.neighbors.size)
        for each in ("codes", "levels", "offsets", "neighbors"):
            getattr(arrays, each)[:] = getattr(source, each)
        if name:
            getattr(arrays, name)[3] = value
        copy.settle(
            graph.entry_point if entry_point is None else entry_point,
            graph.max_level if max_level is None else max_level,
        )
        assert copy.search(some(1)[0], 5, 20, None)[0].size == 5

    attempt("", 0)
    for name, value in (
        ("levels", 0),
        ("levels", 99),
        ("levels", 3),
        ("offsets", 7),
        ("neighbors", 50),
        ("neighbors", -2),
    ):
        with pytest.raises(ValueError, match=r"level|links|link"):
            attempt(name, value)
    for entry_point, max_level in ((50, None), (-1, None), (None, 7)):
        with pytest.raises(ValueError, match="entry point"):
            attempt("", 0, entry_point, max_level)


def test_an_add_that_fails_halfway_is_never_searched_as_if_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = filled(some(20), capacity=40)

    class OutOfMemory:
        """A faiss that runs out of memory for a walk after the vectors were appended."""

        def __init__(self, index: object) -> None:
            self._index = index

        def add(self, vectors: Vectors) -> None:
            graph._native.storage.add(vectors)
            raise MemoryError

        def __getattr__(self, name: str) -> object:
            return getattr(self._index, name)

    monkeypatch.setattr(graph._native, "index", OutOfMemory(graph._native.index))
    with pytest.raises(MemoryError):
        graph.add(graph.rounded(some(2)))
    assert not graph.complete
    assert graph.count == 20
    with pytest.raises(RuntimeError, match="rebuild the graph"):
        graph.add(graph.rounded(some(2)))
    with pytest.raises(RuntimeError, match="rebuild the graph"):
        graph.arrays()
    # Earlier vectors are still found meanwhile.
    assert graph.scan(some(1)[0], 100, None)[0].max() < 20
    assert graph.search(some(1)[0], 10, 30, None)[0].size == 10


@pytest.mark.parametrize("precision", PRECISIONS)
def test_vectors_are_read_rightly_beside_an_add(precision: Precision) -> None:
    """Scans without a lock and walks with one, while another thread adds: every score is that of its vector."""
    vectors = some(3000, 16)
    graph = HnswGraph(16, precision=precision, capacity=3000, ef_construction=16)
    lock = RwLock()
    failures: list[str] = []
    finished = threading.Event()
    rounds = [0, 0, 0]
    error = score_error(16, precision)

    def check(what: str, query: Vectors, slots: NDArray[np.int64], scores: Vectors, count: int) -> None:
        if slots.size and (slots.max() >= count or len(set(slots.tolist())) != slots.size):
            failures.append(f"{what}: a slot that was not complete or twice")
        elif slots.size and np.abs(scores - cosines(vectors[slots], query)).max() > error:
            failures.append(f"{what}: wrong score")

    def read(number: int) -> None:
        use_one_thread()
        generator = np.random.default_rng(number)
        while not finished.is_set() and not failures:
            query = vectors[generator.integers(3000)]
            count = graph.count
            mask = generator.random(count) < 0.5
            slots, scores = graph.scan(query, 30, selected_bits(mask))
            check("scan", query, slots, scores, count)
            slots, scores = graph.scan(query, 30, None, count)
            check("scan of all", query, slots, scores, count)
            slots, scores = graph.scan_above(query, 0.3, None, count)
            check("scan above", query, slots, scores, count)
            if count:
                some_slots = generator.integers(0, count, 20)
                slots_scores = cosines(graph.stored(some_slots), query).astype(np.float32)
                if np.abs(slots_scores - cosines(vectors[some_slots], query)).max() > error:
                    failures.append("stored: wrong vector")
            with lock.reading():
                count = graph.count
                slots, scores = graph.search(query, 30, 30, None)
            check("search", query, slots, scores, count)
            rounds[number] += 1

    readers = [threading.Thread(target=read, args=(number,)) for number in range(3)]
    for reader in readers:
        reader.start()
    try:
        for start, end in pairwise(range(0, 3001, ADDED_AT_ONCE)):
            few = graph.rounded(vectors[start:end])
            with lock.writing():
                graph.add(few)
    finally:
        finished.set()
        for reader in readers:
            reader.join(60)
    assert not failures
    assert min(rounds) > 0
    assert graph.count == 3000
