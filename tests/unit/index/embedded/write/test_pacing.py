"""Writes wait for a graph that has fallen behind, as long as it makes progress, and for nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from executors.index.embedded.memory.collection_memory import GraphOptions
from executors.index.embedded.write import pacing
from executors.index.embedded.write.pacing import wait_for_graphs
from tests.support.models.parts import Shard, move
from tests.support.stores.records import record

PATIENCE_S = 20.0


@pytest.fixture
def shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shard]:
    shard = Shard(tmp_path)
    # 50 documents of 8 numbers may be compared one by one.
    monkeypatch.setattr(pacing, "_MOST_UNCOVERED_BYTES", 50 * 8 * 4)
    monkeypatch.setattr(pacing, "_LONGEST_S", 2 * PATIENCE_S)
    monkeypatch.setattr(pacing, "_LONGEST_STANDSTILL_S", 2 * PATIENCE_S)
    yield shard
    shard.close()


def fall_behind(shard: Shard, documents: int) -> None:
    shard.put(record("first", 1))
    shard.cover()
    shard.put(*[record(f"{n}", 1, seed=n) for n in range(documents)])


async def is_held_up(shard: Shard, documents: int) -> bool:
    """Whether such a write still waits after a moment."""
    waiting = asyncio.create_task(wait_for_graphs(shard.memory, documents))
    await asyncio.sleep(0.15)
    done = waiting.done()
    waiting.cancel()
    return not done


async def test_a_bulk_load_waits_until_the_graph_has_come_nearer(shard: Shard) -> None:
    fall_behind(shard, 90)
    waiting = asyncio.create_task(wait_for_graphs(shard.memory, 256))
    await asyncio.sleep(0.1)
    while shard.held.uncovered > 50:
        assert not waiting.done()
        move(shard.held)
        await asyncio.sleep(0.03)
    await asyncio.wait_for(waiting, PATIENCE_S)
    assert shard.held.uncovered > 0, "it need not be complete"


async def test_a_few_documents_wait_later_than_a_bulk_load(shard: Shard) -> None:
    fall_behind(shard, 90)
    assert await is_held_up(shard, 9)
    assert not await is_held_up(shard, 8)
    shard.put(*[record(f"more {n}", 1, seed=n) for n in range(20)])
    assert await is_held_up(shard, 1)


async def test_nobody_waits_for_a_graph_that_stands_still(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have no memory to grow: then searches are slow, but nothing is refused."""
    monkeypatch.setattr(pacing, "_LONGEST_STANDSTILL_S", 0.1)
    fall_behind(shard, 90)
    await asyncio.wait_for(wait_for_graphs(shard.memory, 256), PATIENCE_S)
    assert shard.held.uncovered == 90


async def test_nobody_waits_for_ever(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slowly the graph makes progress."""
    monkeypatch.setattr(pacing, "_LONGEST_S", 0.1)
    fall_behind(shard, 90)
    await asyncio.wait_for(wait_for_graphs(shard.memory, 256), PATIENCE_S)


@pytest.mark.usefixtures("shard")
async def test_nobody_waits_where_there_is_no_graph(tmp_path_factory: pytest.TempPathFactory) -> None:
    without = Shard(tmp_path_factory.mktemp("other"), GraphOptions(graph_from=10_000))
    try:
        without.put(*[record(f"{n}", 1, seed=n) for n in range(300)])
        assert not await is_held_up(without, 256)
    finally:
        without.close()
