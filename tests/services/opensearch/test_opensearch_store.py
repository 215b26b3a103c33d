"""The contract of a store on a real OpenSearch."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from executors.index.opensearch.cluster.connection import ConnectionOptions
from executors.index.opensearch.cluster.layout import IndexOptions
from tests.contracts.store_contract import StoreContract
from tests.support.opensearch.opensearch_index import Indices

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
