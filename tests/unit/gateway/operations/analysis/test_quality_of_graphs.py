"""The quality of searches through real graphs, in shards of the embedded store; and rebuilds as watchers see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from executors.documents import ImageDoc
from executors.gateway.operations.analysis.watch import state_of
from executors.index.embedded.store import EmbeddedStore
from tests.support.flows.local_index import Caller, LocalShard, LocalStages, local_service
from tests.support.stores.embedded import SMALL_GRAPH, settled

_COUNT = 600


@pytest.fixture
async def graphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Caller]:
    """Two shards, with graphs even of collections of this size."""
    for module in ("search.ranking", "graph.filtered"):
        monkeypatch.setattr(f"executors.index.embedded.{module}.use_exact", lambda *_: False)
    stores = [EmbeddedStore(tmp_path / f"{n}", graph=SMALL_GRAPH) for n in range(2)]
    stages = LocalStages(2)
    for store in stores:
        await store.open()
    stages.stores = stores  # type: ignore[assignment]
    stages.shards = [
        LocalShard(number=n, shards=2, store=store, runtime_args={"name": f"index/shard-{n}"})  # type: ignore[arg-type]
        for n, store in enumerate(stores)
    ]
    call = Caller(*await local_service(2, stages))
    call.service.readiness.set_ready()
    vectors = np.random.default_rng(5).standard_normal((_COUNT, 4)).astype(np.float32)
    for start in range(0, _COUNT, 50):
        some = enumerate(vectors[start : start + 50], start)
        await call("/index", *(ImageDoc.from_values(id=f"{n}", embedding=each) for n, each in some))
    for store in stores:
        await settled(store)
    yield call
    for store in stores:
        await store.close()


async def test_searches_through_graphs_are_measured(graphs: Caller) -> None:
    (report,) = (await graphs("/quality", sample=40, k=10)).extra["collections"]
    assert (report["documents"], report["queries"], report["walked"]) == (_COUNT, 40, 40)
    assert report["precision"]["mean"] > 0.98
    assert report["precision"]["lowest"] >= 0.8


async def test_a_rebuild_is_counted_when_it_has_ended(graphs: Caller) -> None:
    before = (await state_of(graphs.service))["rebuilds"]
    assert (before["running"], before["failed"]) == ([], [])
    await graphs("/reindex")
    async with asyncio.timeout(30):
        while (now := (await state_of(graphs.service))["rebuilds"])["finished"] < before["finished"] + 2:
            for each in now["running"]:
                assert (each["collection"], each["shard"] in (0, 1)) == ("images", True)
                assert 0 <= each["done"] <= each["total"]
            await asyncio.sleep(0.002)
    assert now["running"] == []
