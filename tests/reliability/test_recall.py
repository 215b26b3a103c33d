"""The recall of the graph: without filters, with filters of any selectivity, and after a third of the rows was rewritten.

The truth is an exact search of the same store; hits as good as the true ones count, whichever of a tie they are.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from executors.index.embedded.memory.collection_memory import GraphOptions
from executors.index.embedded.store import EmbeddedStore
from executors.index.records import DocumentKey
from tests.support.opensearch.clusters import NAME, Clusters, collection_of, make_clusters, recall, search, with_copies
from tests.support.stores.embedded import graphs_of
from tests.support.stores.records import IDENTITY, version

LEAST = 0.98
SHARES = (0.5, 0.1, 0.01, 0.001)
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Size:
    """How large a form of the test is."""

    rows: int
    dimension: int
    clusters: int
    queries: int
    patience_s: float
    graph: GraphOptions


SHORT = Size(20_000, 64, 200, 60, 40.0, GraphOptions(graph_from=1000))
FULL = Size(100_000, 512, 1000, 100, 600.0, GraphOptions(threads=2))


async def opened(folder: Path, data: Clusters, graph: GraphOptions) -> EmbeddedStore:
    store = EmbeddedStore(folder, graph=graph)
    await store.open()
    await store.adopt(IDENTITY)
    await store.ensure_collection(collection_of(data))
    return store


async def write(store: EmbeddedStore, data: Clusters, rows: Sequence[int], number: int) -> None:
    for start in range(0, len(rows), _AT_ONCE):
        outcomes = await store.put(data.records(rows[start : start + _AT_ONCE], number))
        assert all(each.error is None for each in outcomes)


async def covered(store: EmbeddedStore, patience_s: float) -> None:
    """Wait until the graph holds every document and is as its maintenance wants it."""
    end = time.monotonic() + patience_s
    while True:
        (graph,) = await graphs_of(store)
        if not graph["uncovered"] and graph["rebuilding"] is None and graph["in_graph"] == graph["documents"]:
            return
        assert time.monotonic() < end, graph
        await asyncio.sleep(0.05)


async def check_recall(store: EmbeddedStore, data: Clusters) -> None:
    """Every figure, and what is too low of it."""
    figures: dict[str, float] = {}
    figures["unfiltered"], plans = await recall(store, data.queries)
    assert plans == {"graph"}
    some = data.queries[: len(data.queries) // 2]
    for share in SHARES:
        figures[f"independent {share}"], plans = await recall(store, some, {"share": {"$lt": share}})
        if share == SHARES[0]:
            assert "graph among the matching" in plans
        figures[f"whole clusters {share}"], _ = await recall(
            store, some, {"cluster": {"$in": clusters_of(data, share)}}
        )
    figures |= await elsewhere(store, data, len(some))
    assert too_low(figures) == {}


def too_low(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: each for name, each in figures.items() if each < LEAST}


async def elsewhere(store: EmbeddedStore, data: Clusters, queries: int) -> dict[str, float]:
    """With filters that leave out just what lies near the query."""
    found: dict[str, list[float]] = defaultdict(list)
    for number, own in enumerate(data.query_cluster[:queries].tolist()):
        others = {"cluster": {"$ne": own}}
        filters: dict[str, dict[str, Any]] = {
            "not its own cluster": others,
            "not its own cluster, half of the others": others | {"share": {"$gte": 0.5}},
            "a twentieth of its own cluster": {"$or": [others, {"share": {"$gte": 0.95}}]},
        }
        for name, given in filters.items():
            found[name].append((await recall(store, data.queries[number : number + 1], given))[0])
    return {name: float(np.mean(each)) for name, each in found.items()}


def clusters_of(data: Clusters, share: float) -> list[int]:
    """Clusters that hold about this share of the rows, at least ten rows."""
    sizes = np.bincount(data.cluster)
    order = np.random.default_rng(5).permutation(np.flatnonzero(sizes))
    kept = int(np.searchsorted(np.cumsum(sizes[order]), max(10.0, share * len(data.cluster)))) + 1
    return [int(each) for each in order[:kept]]


async def rewrite_a_third(store: EmbeddedStore, data: Clusters) -> Clusters:
    """Delete a third of the rows, and write them again as other pictures, by and by."""
    third = np.random.default_rng(6).permutation(len(data.vectors))[: len(data.vectors) // 3]
    other = np.roll(third, 1)
    vectors, cluster, share = data.vectors.copy(), data.cluster.copy(), data.share.copy()
    vectors[third], cluster[third], share[third] = vectors[other], cluster[other], share[other]
    rewritten = replace(data, vectors=vectors, cluster=cluster, share=share)
    rows = [int(row) for row in third]
    for start in range(0, len(rows), _AT_ONCE):
        await store.delete([DocumentKey(NAME, f"{row:06d}", version(2)) for row in rows[start : start + _AT_ONCE]])
    await write(store, rewritten, rows, 3)
    return rewritten


async def the_best_are_found(folder: Path, size: Size) -> None:
    data = make_clusters(size.rows, size.dimension, size.clusters, size.queries, seed=1)
    store = await opened(folder, data, size.graph)
    try:
        await write(store, data, range(size.rows), 1)
        await covered(store, size.patience_s)
        await check_recall(store, data)
        data = await rewrite_a_third(store, data)
        # While the graph still holds what is gone, and what is new is not in it.
        assert (await recall(store, data.queries[:20]))[0] >= LEAST
        await covered(store, size.patience_s)
        await check_recall(store, data)
    finally:
        await store.close()


async def copies_hide_nothing(folder: Path, size: Size) -> None:
    """Placeholder pictures: hundreds of rows that are the same, among all others."""
    data = make_clusters(size.rows, size.dimension, size.clusters, size.queries, seed=2)
    places = np.random.default_rng(7).permutation(size.rows)
    many = size.rows // 40
    groups = {int(places[n]): places[10 + n * many : 10 + (n + 1) * many].tolist() for n in range(4)}
    data = with_copies(data, groups)
    store = await opened(folder, data, size.graph)
    try:
        await write(store, data, range(size.rows), 1)
        await covered(store, size.patience_s)
        await check_recall(store, data)
        placeholders = data.vectors[list(groups)]
        share, plans = await recall(store, placeholders, limit=2 * many)
        assert share >= LEAST
        assert plans == {"graph"}
        # The copies hide no other document.
        alone = [int(row) for row in places[10 + 4 * many :][:200]]
        hits = await search(store, data.vectors[alone], kept=None, exact=False, limit=1)
        assert {str(each.plan["plan"]) for each in hits} == {"graph"}
        lost = [row for row, each in zip(alone, hits, strict=True) if each.ids[0] != f"{row:06d}"]
        assert len(lost) <= len(alone) * (1 - LEAST)
    finally:
        await store.close()


async def others_than_its_own_are_found(folder: Path, size: Size, cluster: int) -> None:
    """Clusters so small that a walk for the query sees past its own, so large that it does not see far."""
    data = make_clusters(size.rows, size.dimension, size.rows // cluster, size.queries, seed=3, even=True)
    store = await opened(folder, data, size.graph)
    try:
        await write(store, data, range(size.rows), 1)
        await covered(store, size.patience_s)
        assert too_low(await elsewhere(store, data, size.queries)) == {}
    finally:
        await store.close()


async def test_the_best_ten_are_found(tmp_path: Path) -> None:
    await the_best_are_found(tmp_path, SHORT)


async def test_copies_of_pictures_hide_nothing(tmp_path: Path) -> None:
    await copies_hide_nothing(tmp_path, replace(SHORT, rows=8_000))


@pytest.mark.parametrize("cluster", [15, 36])
async def test_the_best_of_other_clusters_than_its_own_are_found(tmp_path: Path, cluster: int) -> None:
    await others_than_its_own_are_found(tmp_path, replace(SHORT, rows=10_000), cluster)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("cluster", [25, 50, 100])
async def test_the_best_of_other_clusters_are_found_among_a_hundred_thousand(tmp_path: Path, cluster: int) -> None:
    await others_than_its_own_are_found(tmp_path, FULL, cluster)


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_the_best_ten_of_a_hundred_thousand_are_found(tmp_path: Path) -> None:
    await the_best_are_found(tmp_path, FULL)


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_copies_of_pictures_hide_nothing_among_a_hundred_thousand(tmp_path: Path) -> None:
    await copies_hide_nothing(tmp_path, FULL)
