"""The saved graph is a cache: torn, flipped, missing or of another time, it changes no answer."""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from executors.index.embedded.disk.database import DATABASE_NAME
from executors.index.embedded.graph.graph_file import load, save
from executors.index.embedded.memory.collection_memory import GraphOptions
from executors.index.embedded.store import EmbeddedStore
from executors.index.records import Hits
from executors.index.store import Store
from tests.support.stores.embedded import (
    FIRST_GRAPH,
    SMALL_GRAPH,
    filled,
    graphs_of,
    opened,
    read_store_id,
    saved,
    settled,
)
from tests.support.stores.file_damage import doubled, empty, flipped, garbage, torn, zeroed
from tests.support.stores.records import DIMENSION, IMAGES, found, key, record, results, vector_of

GRAPH = FIRST_GRAPH
QUERIES = range(7000, 7012)


async def answers(store: Store) -> list[Hits]:
    return [await found(store, vector_of(seed), limit=10) for seed in QUERIES]


def copied(folder: Path, target: Path) -> None:
    """A copy of the database as it is; by another process, because this one must not open the files that are in use."""
    target.mkdir()
    files = [str(path) for path in folder.glob(f"{DATABASE_NAME}*")]
    subprocess.run(["cp", *files, str(target)], check=True)


async def has_taken_the_graph(store: Store) -> bool:
    """Whether the start took the saved graph; it says so."""
    notes = (await store.status()).details["start"]
    assert any("in the saved graph" in note for note in notes)
    return not any("the graph is rebuilt" in note for note in notes)


async def expect_truth(folder: Path, graph: GraphOptions = SMALL_GRAPH) -> bool:
    """Searches return the stored documents: at once, after the graph is built, and after more writes.

    Returns:
        Whether the start took the saved graph.
    """
    store = await opened(folder, graph)
    try:
        taken = await has_taken_the_graph(store)
        for turn in range(2):
            for seed in QUERIES:
                exact = await found(store, vector_of(seed), limit=10, exact=True)
                assert await found(store, vector_of(seed), limit=10) == exact
            assert list((await store.verify()).faults) == []
            await settled(store, graph)
            if turn == 0:
                assert set(results(await store.put([record(f"after {n}", 9, seed=n + 5000) for n in range(20)]))) <= {
                    "created", "unchanged",
                }  # fmt: skip
        assert (await found(store, vector_of(5003), limit=1)).ids == ["after 3"]
        return taken
    finally:
        await store.close()


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """A shard that was closed with a saved graph."""

    async def fill() -> None:
        store = await filled(tmp_path / "shard")
        await store.close()

    asyncio.run(fill())
    return tmp_path / "shard"


def test_a_saved_graph_is_taken_and_brought_up_to_date(shard: Path) -> None:
    async def look() -> tuple[bool, int, list[Hits]]:
        store = await opened(shard)
        (line,) = await graphs_of(store)
        taken, hits = await has_taken_the_graph(store), await answers(store)
        await store.close()
        return taken, line["in_graph"], hits

    taken, in_graph, hits = asyncio.run(look())
    assert taken
    # What was not saved is being added from the first moment on.
    assert 108 - SMALL_GRAPH.save_every < in_graph <= 108
    (shard / GRAPH).unlink()
    taken, _, again = asyncio.run(look())
    assert not taken
    assert again == hits
    asyncio.run(expect_truth(shard))


@pytest.mark.parametrize(
    "removed", [[], [0], [0, 1, 2, 3], list(range(0, 140, 2))], ids=lambda each: f"{len(each)} gone"
)
def test_copies_of_one_picture_survive_a_restart(tmp_path: Path, removed: list[int]) -> None:
    """Also when those that came first, and stand for the others, are gone."""
    shard = tmp_path / "shard"
    copied_seeds = [n % 2 if n % 10 < 7 else n for n in range(140)]

    async def live() -> None:
        store = await opened(shard)
        await store.put([record(f"{n:03d}", 1, seed=seed) for n, seed in enumerate(copied_seeds)])
        await saved(store, shard, copies=140 - len(set(copied_seeds)))
        await store.delete([key(f"{n:03d}", 2) for n in removed])
        await store.close()

    async def look() -> None:
        store = await opened(shard)
        kept = [n for n in range(140) if n not in removed]
        for n in kept:
            alike = [f"{each:03d}" for each in kept if copied_seeds[each] == copied_seeds[n]]
            assert (await found(store, vector_of(copied_seeds[n]), limit=len(alike))).ids == alike
        await store.close()

    asyncio.run(live())
    asyncio.run(look())
    assert asyncio.run(expect_truth(shard))
    asyncio.run(look_again(shard, removed))


async def look_again(shard: Path, removed: list[int]) -> None:
    """Check that documents that were removed can be written again."""
    store = await opened(shard)
    await store.put([record(f"{n:03d}", 3, seed=0) for n in removed])
    await settled(store)
    hits = await found(store, vector_of(0), limit=1000, threshold=0.9999)
    assert {f"{n:03d}" for n in removed} <= set(hits.ids)
    await store.close()


@pytest.mark.parametrize("damage", [torn, flipped, zeroed, doubled, garbage, empty])
def test_a_damaged_file_is_not_taken(shard: Path, damage: Callable[[bytes, random.Random], bytes]) -> None:
    chance = random.Random(damage.__name__)
    sound = (shard / GRAPH).read_bytes()
    for _ in range(8):
        data = damage(sound, chance)
        (shard / GRAPH).write_bytes(data)
        assert asyncio.run(expect_truth(shard)) == (data == sound)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_byte_of_the_file_can_change_unnoticed(shard: Path) -> None:
    async def look() -> bool:
        store = EmbeddedStore(shard, graph=SMALL_GRAPH)
        await store.open()
        taken = await has_taken_the_graph(store)
        await store.close()
        return taken

    assert asyncio.run(look())
    sound = (shard / GRAPH).read_bytes()
    chance = random.Random(5)
    for place in [*range(len(sound) - 700, len(sound)), *(chance.randrange(len(sound)) for _ in range(500))]:
        data = bytearray(sound)
        data[place] ^= 1 << chance.randrange(8)
        (shard / GRAPH).write_bytes(data)

        assert not asyncio.run(look()), place


def test_a_file_that_can_not_be_read_is_not_taken(shard: Path) -> None:
    (shard / GRAPH).unlink()
    (shard / GRAPH).mkdir()
    assert not asyncio.run(expect_truth(shard))


def test_what_a_killed_save_left_behind_does_no_harm(shard: Path) -> None:
    (shard / f"{GRAPH}.tmp").write_bytes((shard / GRAPH).read_bytes()[:999])
    assert asyncio.run(expect_truth(shard))


def test_an_older_graph_is_brought_up_to_date(tmp_path: Path) -> None:
    """Documents came, went and were replaced since: those of the old graph that are gone stay away."""
    shard = tmp_path / "shard"

    async def live() -> None:
        store = await opened(shard)
        await store.put([record(f"{n:03d}", 1, seed=n) for n in range(60)])
        await saved(store, shard)
        shutil.copy(shard / GRAPH, tmp_path / "older")
        await store.put([record(f"{n:03d}", 2, seed=n + 500) for n in range(20, 90)])
        await store.delete([key(f"{n:03d}", 3) for n in range(0, 90, 7)])
        await saved(store, shard)
        await store.close()

    asyncio.run(live())
    assert (tmp_path / "older").read_bytes() != (shard / GRAPH).read_bytes()
    shutil.copy(tmp_path / "older", shard / GRAPH)
    assert asyncio.run(expect_truth(shard))


@pytest.mark.parametrize("writes", [0, 1, 30, 200], ids=lambda n: f"{n} writes since")
def test_a_graph_of_a_past_that_was_undone_is_not_taken(tmp_path: Path, writes: int) -> None:
    """The database was put back to an older copy, went on from there, and the same row numbers now mean other documents."""
    shard = tmp_path / "shard"

    async def live() -> None:
        store = await opened(shard)
        await store.put([record(f"{n:03d}", 1, seed=n) for n in range(40)])
        await asyncio.to_thread(copied, shard, tmp_path / "backup")
        for n in range(40, 100):
            await store.put([record(f"{n:03d}", 2, seed=n)])
        await saved(store, shard)
        await store.close()
        for file in ("", "-wal", "-shm"):
            (shard / f"{DATABASE_NAME}{file}").unlink(missing_ok=True)
        for path in (tmp_path / "backup").glob(f"{DATABASE_NAME}*"):
            shutil.copy(path, shard)
        undone = (shard / GRAPH).read_bytes()
        # From here on with other vectors under the same row numbers, and without a graph that would replace the file.
        store = await opened(shard, GraphOptions())
        for n in range(writes):
            await store.put([record(f"other {n:03d}", 3, seed=n + 2000)])
        await store.close()
        assert (shard / GRAPH).read_bytes() == undone

    asyncio.run(live())
    assert not asyncio.run(expect_truth(shard))


def test_a_graph_with_rows_that_were_never_given_out_is_not_taken(tmp_path: Path) -> None:
    """By its stamp it fits, but it holds rows of a transaction after that: their numbers are given out again."""
    shard = tmp_path / "shard"

    async def live() -> None:
        store = await opened(shard)
        await store.put([record(f"{n:03d}", 1, seed=n) for n in range(60)])
        await saved(store, shard)
        shutil.copy(shard / GRAPH, tmp_path / "older")
        await asyncio.to_thread(copied, shard, tmp_path / "backup")
        await store.put([record(f"{n:03d}", 2, seed=n) for n in range(60, 100)])
        await saved(store, shard)
        await store.close()

    asyncio.run(live())
    fields: dict[str, Any] = {
        "store_id": read_store_id(shard),
        "collection": 1,
        "dimension": DIMENSION,
        "precision": "half",
    }
    older, newer = load(tmp_path, "older", **fields), load(shard, GRAPH, **fields)
    backup = tmp_path / "backup"
    save(newer.graph, newer.rows, replace(newer.stamp, sequence=older.stamp.sequence), backup, GRAPH)
    assert not asyncio.run(expect_truth(backup))


def test_a_graph_of_another_shard_or_collection_is_not_taken(shard: Path, tmp_path: Path) -> None:
    async def other() -> None:
        store = await filled(tmp_path / "other")
        await store.close()
        store = await opened(shard)
        twin = replace(IMAGES, name="twin")
        await store.ensure_collection(twin)
        await store.put([record(f"{n:03d}", 1, seed=n + 3000, collection="twin") for n in range(108)])
        await saved(store, shard, "graph-2", "twin")
        await store.close()

    asyncio.run(other())
    mine = (shard / GRAPH).read_bytes()
    for source in (tmp_path / "other" / GRAPH, shard / "graph-2"):
        shutil.copy(source, shard / GRAPH)
        assert not asyncio.run(expect_truth(shard))
    shutil.copyfile(shard / GRAPH, shard / "graph-2")
    (shard / GRAPH).write_bytes(mine)
    assert not asyncio.run(expect_truth(shard))


@pytest.mark.parametrize(
    "options",
    [
        replace(SMALL_GRAPH, precision="single"),
        replace(SMALL_GRAPH, m=8),
        replace(SMALL_GRAPH, ef_construction=64),
    ],
    ids=lambda options: f"{options.precision} {options.m} {options.ef_construction}",
)
def test_a_graph_of_other_settings_is_not_taken(shard: Path, options: GraphOptions) -> None:
    assert not asyncio.run(expect_truth(shard, options))
    asyncio.run(expect_truth(shard, replace(options, rerank="memory")))


def test_a_shard_that_shrank_below_the_size_of_graphs_needs_none(shard: Path) -> None:
    async def shrink() -> None:
        store = await opened(shard)
        await store.delete([key(f"{n:03d}", 9) for n in range(117)])
        await store.close()

    asyncio.run(shrink())
    asyncio.run(expect_truth(shard, replace(SMALL_GRAPH, graph_from=4)))
    asyncio.run(expect_truth(shard, replace(SMALL_GRAPH, graph_from=1000)))
