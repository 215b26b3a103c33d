"""Writes wait for a graph that has fallen behind, as long as it makes progress, and for nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from executors.index.embedded.memory.collection_memory import GraphOptions
from executors.index.embedded.write import pacing
from executors.index.embedded.write.pacing import wait_for_graphs
from tests.support.models.parts import Shard, move
from tests.support.stores.records import record


@pytest.fixture
def shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shard]:
    shard = Shard(tmp_path)
    # 50 documents of 8 numbers may be compared one by one.
    monkeypatch.setattr(pacing, "_MOST_UNCOVERED_BYTES", 50 * 8 * 4)
    yield shard
    shard.close()


def fall_behind(shard: Shard, documents: int) -> None:
    shard.put(record("first", 1))
    shard.cover()
    shard.put(*[record(f"{n}", 1, seed=n) for n in range(documents)])


async def pauses_of(
    shard: Shard, documents: int, between: Callable[[], object] = lambda: None, pause_s: float = 0.0
) -> int:
    """How often such a write pauses.

    Args:
        shard: what it is written to.
        documents: how many are written.
        between: done in each pause.
        pause_s: how long each pause takes by the write's clock; at 0 no time passes, and a write that is held up is
            stopped after its third pause.
    """
    pauses, now = 0, 0.0

    async def pause() -> None:
        nonlocal pauses, now
        pauses, now = pauses + 1, now + pause_s
        between()
        if not pause_s and pauses == 3:
            raise TimeoutError

    with suppress(TimeoutError):
        await wait_for_graphs(shard.memory, documents, clock=lambda: now, pause=pause)
    return pauses


async def is_held_up(shard: Shard, documents: int) -> bool:
    """Whether such a write waits."""
    return await pauses_of(shard, documents) > 0


async def test_a_bulk_load_waits_until_the_graph_has_come_nearer(shard: Shard) -> None:
    fall_behind(shard, 90)
    uncovered: list[int] = []

    def come_nearer() -> None:
        uncovered.append(shard.held.uncovered)
        move(shard.held)

    pauses = await pauses_of(shard, 256, come_nearer, pause_s=1e-6)
    assert pauses == len(uncovered) > 1
    assert min(uncovered) > 50, "it waits no longer than it has to"
    assert 0 < shard.held.uncovered <= 50, "it need not be complete"


async def test_a_few_documents_wait_later_than_a_bulk_load(shard: Shard) -> None:
    fall_behind(shard, 90)
    assert await is_held_up(shard, 9)
    assert not await is_held_up(shard, 8)
    shard.put(*[record(f"more {n}", 1, seed=n) for n in range(20)])
    assert await is_held_up(shard, 1)


async def test_no_write_waits_for_a_graph_that_stands_still(shard: Shard) -> None:
    """It may have no memory to grow: then searches are slow, but nothing is refused."""
    fall_behind(shard, 90)
    assert await pauses_of(shard, 256, pause_s=0.25) == 4, "for one second"
    assert shard.held.uncovered == 90


async def test_no_write_waits_for_ever(shard: Shard) -> None:
    """However slowly the graph comes nearer."""
    fall_behind(shard, 900)
    assert await pauses_of(shard, 256, lambda: move(shard.held), pause_s=0.5) == 10, "for five seconds"
    assert shard.held.uncovered > 50


@pytest.mark.usefixtures("shard")
async def test_no_write_waits_where_there_is_no_graph(tmp_path_factory: pytest.TempPathFactory) -> None:
    without = Shard(tmp_path_factory.mktemp("other"), GraphOptions(graph_from=10_000))
    try:
        without.put(*[record(f"{n}", 1, seed=n) for n in range(300)])
        assert not await is_held_up(without, 256)
    finally:
        without.close()
