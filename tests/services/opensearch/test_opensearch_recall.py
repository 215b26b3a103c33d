"""The recall of OpenSearch's graph, without filters and with filters of any selectivity; the scores are exact."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from executors.index.opensearch.cluster.connection import ConnectionOptions
from executors.index.opensearch.cluster.layout import IndexOptions
from executors.index.records import SearchRequest
from executors.index.store import Store
from tests.support.opensearch.clusters import NAME, Clusters, collection_of, make_clusters, recall
from tests.support.opensearch.opensearch_index import Indices
from tests.support.stores.records import IDENTITY, MODEL

pytestmark = pytest.mark.services
LEAST = 0.98
SHARES = (0.5, 0.1, 0.01, 0.001)
_AT_ONCE = 500


@pytest.fixture
async def made(opensearch: ConnectionOptions) -> AsyncIterator[list[Indices]]:
    """A list for the indices that a test makes; they are deleted after it."""
    indices: list[Indices] = []
    yield indices
    for each in indices:
        await each.close()


async def filled(
    made: list[Indices], opensearch: ConnectionOptions, data: Clusters, index: IndexOptions, **options: Any
) -> Store:
    made.append(Indices(replace(opensearch, timeout_s=120), index, **options))
    store = await made[-1].open()
    await store.adopt(IDENTITY)
    await store.ensure_collection(collection_of(data))
    rows = range(len(data.vectors))
    for start in range(0, len(rows), _AT_ONCE):
        outcomes = await store.put(data.records(rows[start : start + _AT_ONCE], 1), refresh=False)
        assert all(each.error is None for each in outcomes)
    # Counting shows what was written to searches.
    assert await store.count(collection_of(data).name) == len(rows)
    return store


async def check(store: Store, data: Clusters) -> None:
    figures: dict[str, float] = {}
    figures["unfiltered"], plans = await recall(store, data.queries)
    assert plans == {"graph (lucene)"}
    for share in SHARES:
        figures[f"{share}"], _ = await recall(store, data.queries, {"share": {"$lt": share}})
    for number, own in enumerate(data.query_cluster[:10].tolist()):
        query = data.queries[number : number + 1]
        figures[f"not its own cluster {number}"], _ = await recall(store, query, {"cluster": {"$ne": own}})
    assert {name: each for name, each in figures.items() if each < LEAST} == {}


@pytest.mark.parametrize("index", [IndexOptions(), IndexOptions(precision="byte"), IndexOptions(shards=2)])
async def test_the_best_ten_are_found(made: list[Indices], opensearch: ConnectionOptions, index: IndexOptions) -> None:
    data = make_clusters(4_000, 64, 80, 40, seed=1)
    await check(await filled(made, opensearch, data, index, graph_from=1_000), data)


@pytest.mark.parametrize("index", [IndexOptions(), IndexOptions(precision="byte"), IndexOptions(shards=2)])
async def test_the_best_ten_below_a_bound_are_found(
    made: list[Indices], opensearch: ConnectionOptions, index: IndexOptions
) -> None:
    data = make_clusters(4_000, 64, 80, 20, seed=1)
    store = await filled(made, opensearch, data, index, graph_from=1_000)
    for above in (5, 100, 3_000):
        right = 0
        for query in data.queries:
            scores = np.sort(data.vectors @ query)[::-1]
            wanted = SearchRequest(
                NAME, query[np.newaxis], MODEL, 10, ceiling=float(scores[above - 1 : above + 1].mean())
            )
            (best,), (hits,) = await store.search(replace(wanted, exact=True)), await store.search(wanted)
            assert best.scores == pytest.approx(scores[above : above + 10].tolist(), abs=1e-5)
            assert len(hits.ids) == 10
            right += len(set(best.ids) & set(hits.ids))
        assert right >= LEAST * 10 * len(data.queries), above


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_the_best_ten_of_a_hundred_thousand_are_found(made: list[Indices], opensearch: ConnectionOptions) -> None:
    data = make_clusters(100_000, 512, 1_000, 100, seed=1)
    store = await filled(made, opensearch, data, IndexOptions())
    await asyncio.sleep(1)
    await check(store, data)
