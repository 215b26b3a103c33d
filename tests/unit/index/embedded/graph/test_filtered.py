"""Search among selected slots: recall with any filter, k hits whenever k match, and the effort of the walk."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from executors.index.embedded.graph.filtered import Candidates, search_selected
from executors.index.embedded.graph.hnsw import HnswGraph, selected_bits
from executors.index.embedded.graph.rwlock import RwLock
from executors.index.embedded.graph.tuning import default_ef, filtered_ef, use_exact

DIMENSION = 32
CLUSTERS = 60
EACH = 100
COUNT = CLUSTERS * EACH
QUERIES = 30
BEST = 10
# The store asks for this many hits beyond those that it returns, to rank them again exactly.
MARGIN = 16

Mask = NDArray[np.bool_]


@cache
def collection() -> tuple[HnswGraph, NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """A graph, its vectors, the cluster of each, queries, and the cluster of each."""
    generator = np.random.default_rng(11)
    centres = generator.standard_normal((CLUSTERS, DIMENSION))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)

    def near(clusters: NDArray[np.int64]) -> NDArray[np.float32]:
        noise = 0.7 * generator.standard_normal((clusters.size, DIMENSION)) / np.sqrt(DIMENSION)
        vectors = centres[clusters] + noise
        units: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        return units

    clusters = generator.permutation(np.repeat(np.arange(CLUSTERS), EACH))
    theirs = generator.integers(0, CLUSTERS, QUERIES)
    vectors = near(clusters)
    graph = HnswGraph(DIMENSION, precision="half", capacity=COUNT, ef_construction=64)
    graph.add_many(vectors, threads=1)
    return graph, vectors, clusters, near(theirs), theirs


def ask(query: NDArray[np.float32], mask: Mask | None, k: int = BEST + MARGIN, ef: int | None = None) -> Candidates:
    graph = collection()[0]
    matching = graph.count if mask is None else int(mask.sum())
    return search_selected(graph, RwLock(), query, k, None if mask is None else selected_bits(mask), matching, ef)


def recall(mask_of: Callable[[int], Mask | None]) -> tuple[float, set[str]]:
    """The share of the best `BEST` among the candidates, over all queries, and the plans used."""
    _, vectors, _, queries, _ = collection()
    found = wanted = 0
    plans: set[str] = set()
    for number, query in enumerate(queries):
        mask = mask_of(number)
        scores = vectors @ query
        if mask is not None:
            scores[~mask] = -2.0
        best = np.argsort(-scores)[: BEST if mask is None else min(BEST, int(mask.sum()))]
        candidates = ask(query, mask)
        assert mask is None or mask[candidates.slots].all()
        found += len(set(best.tolist()) & set(candidates.slots.tolist()))
        wanted += best.size
        plans.add(candidates.plan)
    return found / wanted, plans


def random_mask(share: float) -> Mask:
    mask: Mask = np.random.default_rng(12).random(COUNT) < share
    return mask


def test_unfiltered_recall() -> None:
    assert recall(lambda _: None)[0] >= 0.98


@pytest.mark.parametrize("dead", [0.0, 1 / 3])
@pytest.mark.parametrize("share", [0.9, 0.5, 0.25, 0.1, 0.05, 0.01, 0.001])
def test_recall_with_a_filter_that_matches_at_random(share: float, dead: float) -> None:
    mask = random_mask(share) & (np.random.default_rng(13).random(COUNT) >= dead)
    assert recall(lambda _: mask)[0] >= 0.98


@pytest.mark.parametrize("query_inside", [True, False])
@pytest.mark.parametrize("share", [0.9, 0.5, 0.25, 0.1, 0.05])
def test_recall_with_a_filter_that_goes_by_what_is_alike(share: float, query_inside: bool) -> None:
    """All pictures of some brands match: whole clusters match or don't, also those around the query."""
    _, _, clusters, _, theirs = collection()
    chosen = np.random.default_rng(14).permutation(CLUSTERS)[: int(CLUSTERS * share)]
    inside = np.isin(clusters, chosen)

    def mask_of(number: int) -> Mask:
        own = clusters == theirs[number]
        mask: Mask = inside | own if query_inside else inside & ~own
        return mask

    assert recall(mask_of)[0] >= 0.98


def test_what_lies_around_the_query_decides_how_it_is_searched() -> None:
    _, _, clusters, queries, theirs = collection()
    own = clusters == theirs[0]
    half = random_mask(0.5)
    assert ask(queries[0], half | own).plan == "walk"
    assert ask(queries[0], half & ~own).plan == "scan"
    few_of_own = own & random_mask(0.05)
    assert ask(queries[0], ~own | few_of_own).plan == "scan", "hardly any of the nearest may be found"
    assert recall(lambda _: random_mask(0.5))[1] == {"walk"}
    assert recall(lambda _: random_mask(0.02))[1] == {"scan"}
    # For a third of the slots, a longer walk is faster than comparing that third.
    longest = max(ask(query, random_mask(0.35)).ef or 0 for query in queries)
    assert longest > default_ef(COUNT)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.2, 0.02, 0.0])
@pytest.mark.parametrize("k", [1, 30, 2000, 9000])
def test_there_are_k_hits_whenever_k_match(share: float, k: int) -> None:
    mask = random_mask(share)
    query = collection()[3][1]
    candidates = ask(query, mask, k)
    assert len(candidates.slots) == len(set(candidates.slots.tolist())) == min(k, int(mask.sum()))
    assert np.all(np.diff(candidates.scores) <= 0)
    assert mask[candidates.slots].all()


def test_few_of_many_that_a_walk_reaches_are_all_found() -> None:
    """Matching rows in a corner that a walk for the opposite direction never comes near."""
    _, vectors, _, queries, _ = collection()
    mask = np.zeros(COUNT, dtype=bool)
    mask[np.argsort(vectors @ queries[0])[: COUNT // 5]] = True
    candidates = ask(queries[0], mask, 100)
    scores = np.where(mask, vectors @ queries[0], -2.0)
    assert len(set(np.argsort(-scores)[:90].tolist()) - set(candidates.slots.tolist())) <= 1


def test_an_effort_that_is_asked_for_is_taken() -> None:
    query = collection()[3][2]
    assert ask(query, None, 5, ef=300).ef == 300
    assert ask(query, random_mask(0.9), 5, ef=300).ef == 300
    assert ask(query, None, 50, ef=3).ef == 50


def test_an_empty_graph_and_an_empty_selection_find_nothing() -> None:
    query = collection()[3][0]
    empty = HnswGraph(DIMENSION, precision="half", capacity=4)
    for bits in (None, np.zeros(0, np.uint8)):
        assert search_selected(empty, RwLock(), query, 5, bits, 0).slots.size == 0
    assert ask(query, np.zeros(COUNT, dtype=bool)).slots.size == 0


def test_bits_for_the_first_slots_only_leave_the_rest_out() -> None:
    mask = np.ones(COUNT * 3 // 4, dtype=bool)
    for query in collection()[3][:10]:
        candidates = ask(query, mask, 26)
        assert candidates.plan == "walk"
        assert candidates.slots.max() < mask.size


def test_effort_grows_with_the_graph_and_with_what_a_filter_leaves_out() -> None:
    counts = [0, 1, 1000, 100_000, 300_000, 1_000_000, 10_000_000]
    efforts = [default_ef(count) for count in counts]
    assert efforts == sorted(efforts)
    assert efforts[0] == efforts[3] == 96
    assert 255 <= efforts[5] <= 275
    by_share = [filtered_ef(64, 100_000, matching) for matching in (100_000, 50_000, 10_000, 3_000, 1, 0)]
    assert by_share == sorted(by_share)
    assert by_share[0] == 64
    assert by_share[2] >= 256
    assert by_share[3] >= 1500
    assert filtered_ef(64, 0, 0) == 64


def test_few_matching_rows_are_compared_one_by_one() -> None:
    assert use_exact(100_000, 3000)
    assert not use_exact(100_000, 3001)
    assert use_exact(5000, 1000)
    assert use_exact(0, 0)
