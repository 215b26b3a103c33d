"""The embedded store keeps the contract: with and without graphs, and however these are kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from executors.index.embedded.collection_memory import GraphOptions
from tests.integration.store_contract import StoreContract
from tests.support.embedded import SMALL_GRAPH, Folder


class _Embedded(StoreContract):
    options: ClassVar[GraphOptions]

    @pytest.fixture
    async def harness(self, tmp_path: Path) -> AsyncIterator[Folder]:
        harness = Folder(tmp_path / "shard", graph=self.options)
        yield harness
        await harness.close()


class TestEmbeddedStore(_Embedded):
    """As it comes: collections of this size have no graph."""

    options = GraphOptions()


class TestEmbeddedStoreWithGraphs(_Embedded):
    """A graph of half precision; what decides is read from the disk."""

    options = SMALL_GRAPH


class TestEmbeddedStoreWithGraphsInMemory(_Embedded):
    """A graph of half precision; what decides is kept in memory."""

    options = replace(SMALL_GRAPH, rerank="memory")


@pytest.mark.slow
class TestEmbeddedStoreWithExactGraphs(_Embedded):
    """A graph that holds the vectors as they are, on the disk's word and on its own."""

    options = replace(SMALL_GRAPH, precision="single")


@pytest.mark.slow
class TestEmbeddedStoreWithExactGraphsInMemory(_Embedded):
    """The same on the graph's own word."""

    options = replace(SMALL_GRAPH, precision="single", rerank="memory")
