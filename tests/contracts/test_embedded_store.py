"""The embedded store keeps the contract: with and without graphs, and with every kind of graph."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from executors.index.embedded.graph import filtered
from executors.index.embedded.memory.collection_memory import GraphOptions
from executors.index.embedded.search import facets, ranking
from tests.contracts.store_contract import StoreContract
from tests.contracts.store_facets import FacetContract
from tests.contracts.store_filters import FilterContract
from tests.contracts.store_searching import SearchContract
from tests.support.stores.embedded import SMALL_GRAPH, Folder
from tests.support.stores.records import found, prepared, record, vector_of, where


class _Embedded(StoreContract):
    options: ClassVar[GraphOptions]

    @pytest.fixture
    async def harness(self, tmp_path: Path) -> AsyncIterator[Folder]:
        harness = Folder(tmp_path / "shard", graph=self.options)
        yield harness
        await harness.close()


class TestEmbeddedStore(_Embedded):
    """With the defaults: collections of this size have no graph."""

    options = GraphOptions()


class TestEmbeddedStoreWithGraphs(_Embedded):
    """A graph of half precision; exact scores come from the disk."""

    options = SMALL_GRAPH


class TestEmbeddedStoreWithGraphsInMemory(_Embedded):
    """A graph of half precision; exact scores come from memory."""

    options = replace(SMALL_GRAPH, rerank="memory")


class TestEmbeddedStoreFilteringInTheGraph(FilterContract, SearchContract):
    """The walk through the graph among the matching documents, which collections of this size would do without."""

    @pytest.fixture
    async def harness(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Folder]:
        for module in (ranking, filtered):
            monkeypatch.setattr(module, "use_exact", lambda *_: False)
        harness = Folder(tmp_path / "shard", graph=SMALL_GRAPH)
        yield harness
        await harness.close()

    async def test_the_plan_is_the_one_that_is_meant(self, harness: Folder) -> None:
        store = await prepared(harness)
        await store.put([record(f"{n:03d}", seed=n, tags={"n": n}) for n in range(60)])
        await harness.settle(store)
        hits = await found(store, vector_of(5), limit=3, where=where({"n": {"$lt": 30}}))
        assert hits.ids[0] == "005"
        assert hits.plan["plan"] == "graph among the matching"


@pytest.mark.slow
class TestEmbeddedStoreWithExactGraphs(_Embedded):
    """A graph that holds the vectors unrounded; exact scores come from the disk."""

    options = replace(SMALL_GRAPH, precision="single")


@pytest.mark.slow
class TestEmbeddedStoreWithExactGraphsInMemory(_Embedded):
    """A graph that holds the vectors unrounded; exact scores come from the graph."""

    options = replace(SMALL_GRAPH, precision="single", rerank="memory")


class TestEmbeddedStoreCountingByIndex(FacetContract):
    """Facets of few documents, which would be counted in their tags, are counted in the index."""

    @pytest.fixture
    async def harness(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Folder]:
        monkeypatch.setattr(facets, "_FEW", 0)
        monkeypatch.setattr(facets, "_VALUES_AT_ONCE", 3)
        harness = Folder(tmp_path / "shard", graph=GraphOptions())
        yield harness
        await harness.close()
