"""Background work of a shard: a dropped collection is removed completely, space is given back, and failures are
retried.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest

from executors.index.embedded.disk.database import database_path
from executors.index.embedded.graph import graph_file
from executors.index.embedded.memory.collection_memory import CollectionMemory, GraphOptions
from executors.index.embedded.store import EmbeddedStore
from executors.index.embedded.upkeep import maintenance
from executors.index.embedded.upkeep.maintenance import Maintenance
from executors.index.embedded.upkeep.rebuild import Rebuild
from tests.support.stores.embedded import FIRST_GRAPH, SMALL_GRAPH, graphs_of, settled
from tests.support.stores.records import IDENTITY, IMAGES, found, key, record, version

PATIENCE_S = 30.0
TABLES = ("documents", "vectors", "thumbnails", "tag_values", "tag_keys", "collections")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    async with opened(tmp_path, SMALL_GRAPH) as store:
        yield store


class opened:  # noqa: N801  # reads as what it does: `async with opened(folder, options)`
    """A store with a collection in it."""

    def __init__(self, folder: Path, graph: GraphOptions) -> None:
        self._store = EmbeddedStore(folder, graph=graph)

    async def __aenter__(self) -> EmbeddedStore:
        await self._store.open()
        await self._store.adopt(IDENTITY)
        await self._store.ensure_collection(IMAGES)
        return self._store

    async def __aexit__(self, *_: object) -> None:
        await self._store.close()


def counts(folder: Path) -> dict[str, int]:
    """How many rows each table has."""
    with closing(sqlite3.connect(f"{database_path(folder).as_uri()}?mode=ro", uri=True)) as connection:
        return {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in TABLES}


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def test_a_dropped_collection_leaves_nothing_behind(store: EmbeddedStore, tmp_path: Path) -> None:
    records = [record(f"{n}", 1, seed=n, tags={"n": n}, thumbnail=b"\xff\xd8" * 50) for n in range(1_300)]
    await store.put(records)
    await settled(store)
    await until(lambda: (tmp_path / FIRST_GRAPH).exists())
    assert counts(tmp_path)["tag_values"] >= 1_300
    assert await store.drop_collection(IMAGES.name, version(2)) == 1_300
    await until(lambda: not any(counts(tmp_path).values()))
    await until(lambda: not (tmp_path / FIRST_GRAPH).exists())


@pytest.mark.timeout(60)  # 4,000 documents with thumbnails, so that the file has something to give back
async def test_the_space_of_deleted_documents_comes_back(store: EmbeddedStore, tmp_path: Path) -> None:
    for start in range(0, 4_000, 500):
        await store.put([record(f"{n}", 1, seed=n, thumbnail=bytes(4_000)) for n in range(start, start + 500)])
    await settled(store)
    await store.close()
    before = database_path(tmp_path).stat().st_size
    async with opened(tmp_path, SMALL_GRAPH) as again:
        for start in range(0, 3_900, 500):
            await again.delete([key(f"{n}", 2) for n in range(start, min(start + 500, 3_900))])
        await until(lambda: free_pages(tmp_path) < 1_500)
    # The file itself shrinks when the log is moved into it, at the latest when it is closed.
    assert database_path(tmp_path).stat().st_size < before / 2
    async with opened(tmp_path, SMALL_GRAPH) as again:
        assert await again.count(IMAGES.name) == 100
        assert list((await again.verify()).faults) == []


def free_pages(folder: Path) -> int:
    with closing(sqlite3.connect(f"{database_path(folder).as_uri()}?mode=ro", uri=True)) as connection:
        return int(connection.execute("PRAGMA freelist_count").fetchone()[0])


async def test_memory_that_is_wanting_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches and writes go on, and the graph follows as soon as there is memory."""
    real, fails, failures = CollectionMemory.move_some, True, 0

    def move_some(held: CollectionMemory, most: int) -> int:
        nonlocal failures
        if fails:
            failures += 1
            raise MemoryError
        return real(held, most)

    monkeypatch.setattr(CollectionMemory, "move_some", move_some)
    monkeypatch.setattr(maintenance, "_IDLE_S", 0.01)
    async with opened(tmp_path, SMALL_GRAPH) as store:
        await store.put([record(f"{n}", 1, seed=n) for n in range(40)])
        async with asyncio.timeout(PATIENCE_S):
            while failures < 3:
                await asyncio.sleep(0.005)
        assert (await graphs_of(store))[0]["uncovered"] == 40
        assert (await found(store, record("7", 1, seed=7).embedding)).ids[0] == "7"
        await store.put([record("later", 1, seed=99)])
        fails = False
        await settled(store)
        assert (await graphs_of(store))[0]["in_graph"] == 41


async def test_a_graph_that_the_disk_did_not_take_is_saved_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, refusals = graph_file.save, 0

    def save(*arguments: object) -> int:
        nonlocal refusals
        if refusals < 2:
            refusals += 1
            raise OSError(28, "No space left on device")
        return real(*arguments)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(maintenance, "save", save)
    monkeypatch.setattr(maintenance, "_SAVE_RETRY_S", 0.1)
    async with opened(tmp_path, SMALL_GRAPH) as store:
        await store.put([record(f"{n}", 1, seed=n) for n in range(100)])
        await until(lambda: (tmp_path / FIRST_GRAPH).exists())
        assert refusals == 2
        assert (await store.verify()).documents == 100


async def test_a_step_that_fails_is_tried_again_and_keeps_no_other_from_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "_IDLE_S", 0.01)
    tried = 0

    def rebuild(_: Maintenance) -> bool:
        nonlocal tried
        tried += 1
        raise RuntimeError("a defect")

    monkeypatch.setattr(Maintenance, "_rebuild", rebuild)
    async with opened(tmp_path, SMALL_GRAPH) as store:
        await store.put([record(f"{n}", 1, seed=n) for n in range(100)])
        await settled(store)
        await until(lambda: (tmp_path / FIRST_GRAPH).exists())
        await until(lambda: tried > 3)


async def rebuilds_of(store: EmbeddedStore) -> list[int]:
    return [each["rebuilds"] for each in await graphs_of(store)]


async def test_each_rebuild_that_is_finished_is_counted(store: EmbeddedStore) -> None:
    await store.put([record(f"{n}", 1, seed=n) for n in range(40)])
    await settled(store)
    assert await rebuilds_of(store) == [0]
    for finished in (1, 2):
        await store.reindex()
        await settled(store)
        assert await rebuilds_of(store) == [finished]


async def test_a_rebuild_that_fails_is_not_counted(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await store.put([record(f"{n}", 1, seed=n) for n in range(40)])
    await settled(store)
    tried = 0

    def step(_: Rebuild) -> None:
        nonlocal tried
        tried += 1
        raise MemoryError

    monkeypatch.setattr(maintenance, "_IDLE_S", 0.01)
    monkeypatch.setattr(Rebuild, "step", step)
    await store.reindex()
    await until(lambda: tried > 0)
    await settled(store)
    assert await rebuilds_of(store) == [0]


async def test_a_rebuild_whose_collection_is_dropped_is_not_counted(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.put([record(f"{n}", 1, seed=n) for n in range(40)])
    await settled(store)
    real, begun, dropped, ended = Rebuild.step, threading.Event(), threading.Event(), threading.Event()

    def step(rebuild: Rebuild) -> None:
        begun.set()
        assert dropped.wait(PATIENCE_S)
        real(rebuild)
        assert rebuild.finished
        ended.set()

    # Which also resets the counters.
    monkeypatch.setattr(Maintenance, "_purge", lambda _: False)
    monkeypatch.setattr(Rebuild, "step", step)
    await store.reindex()
    await until(begun.is_set)
    await store.drop_collection(IMAGES.name, version(2))
    dropped.set()
    await until(ended.is_set)
    await until(lambda: not store._running.maintenance._rebuilds)  # type: ignore[union-attr]  # it is open
    assert not store._running.maintenance._rebuilt  # type: ignore[union-attr]  # it is open


async def test_where_there_are_too_few_for_a_graph_no_rebuild_is_told_of(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even before the thread has looked: a caller that saw a rebuild would wait for its end."""
    await store.put([record(f"{n}", 1, seed=n) for n in range(3)])
    await store.reindex()
    await until(lambda: not store._running.maintenance._wanted)  # type: ignore[union-attr]  # it is open
    monkeypatch.setattr(Maintenance, "_plan_rebuild", lambda *_: None)
    await store.reindex()
    (line,) = await graphs_of(store)
    assert (line["in_graph"], line["rebuilding"], line["rebuilds"]) == (0, None, 0)


async def test_a_rebuild_that_was_asked_for_shows_until_it_is_counted(store: EmbeddedStore) -> None:
    """A caller that waits asks all the time: at every moment the rebuild is either pending or counted."""
    await store.put([record(f"{n}", 1, seed=n) for n in range(40)])
    await settled(store)
    report = store._running.maintenance.report  # type: ignore[union-attr]  # it is open
    for finished in range(1, 30):
        await store.reindex()
        while (line := report()[0])["rebuilding"] is not None:
            await asyncio.sleep(0)
        assert line["rebuilds"] == finished
