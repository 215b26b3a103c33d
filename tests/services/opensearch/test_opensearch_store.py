"""The contract of a store on a real OpenSearch."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from executors.errors import VisualSearchError
from executors.index.opensearch.cluster.connection import ConnectionOptions
from executors.index.opensearch.cluster.layout import IndexOptions
from executors.index.opensearch.search import facets
from tests.contracts.store_contract import StoreContract
from tests.support.opensearch.opensearch_index import Indices
from tests.support.stores.records import IMAGES, prepared, record

pytestmark = pytest.mark.services


class _OnOpenSearch(StoreContract):
    # Shards show what was written one after the other.
    shows_requests_whole = False


class TestOpenSearchStore(_OnOpenSearch):
    """As it comes: collections of this size are compared whole."""

    @pytest.fixture
    async def harness(self, opensearch: ConnectionOptions) -> AsyncIterator[Indices]:
        harness = Indices(opensearch)
        yield harness
        await harness.close()


@pytest.mark.slow
class TestOpenSearchStoreWithGraphs(_OnOpenSearch):
    """Through the graph, in two shards, with so few typed fields that most tags have none."""

    @pytest.fixture
    async def harness(self, opensearch: ConnectionOptions) -> AsyncIterator[Indices]:
        harness = Indices(opensearch, IndexOptions(shards=2, tag_fields=2), graph_from=0)
        yield harness
        await harness.close()


async def test_more_values_than_an_answer_holds_are_refused(
    opensearch: ConnectionOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without typed fields; what has no more values is counted."""
    monkeypatch.setattr(facets, "MOST_BUCKETS", 3)
    for options in (IndexOptions(shards=2), IndexOptions(tag_fields=0)):
        harness = Indices(opensearch, options)
        store = await prepared(harness)
        await store.put([record(f"{n}", seed=n, tags={"few": n % 3, "many": n, "words": f"w{n}"}) for n in range(12)])
        (counts,) = (await store.facets(IMAGES.name, ["few"])).counts
        assert sorted(counts) == [(0, 4), (1, 4), (2, 4)]
        for path in ("many", "words"):
            with pytest.raises(VisualSearchError) as refused:
                await store.facets(IMAGES.name, ["few", path])
            assert (refused.value.code, refused.value.details) == ("too_many_values", {"path": path, "limit": 3})
        await harness.close()
