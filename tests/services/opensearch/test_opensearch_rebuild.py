"""A collection gets a new index while searches and writes go on; what fails leaves the old one in use."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from executors.index.opensearch.cluster.connection import Connection, ConnectionOptions
from executors.index.opensearch.cluster.layout import IndexOptions
from executors.index.opensearch.upkeep.rebuild import ABANDONED_MS
from executors.index.store import Store
from executors.index.versions import wall_clock_ms
from tests.support.opensearch.opensearch_index import Indices, mapping_of
from tests.support.stores.records import (
    IMAGES,
    found,
    ids_of,
    key,
    prepared,
    record,
    results,
    vector_of,
)

pytestmark = pytest.mark.services


async def test_a_rebuild_takes_the_settings_of_now_and_loses_no_write(indices: Indices, ask: Connection) -> None:
    before = await prepared(indices)
    await before.put([record(f"{n:03d}", 1, seed=n, tags={"n": n}) for n in range(300)])
    await before.delete([key("000", 2)])
    await before.close()
    indices.index = replace(indices.index, precision="byte", m=24, tag_fields=30)
    store, other = await indices.open(), await indices.open()
    await store.reindex(IMAGES.name)
    done = asyncio.Event()
    written: dict[str, int] = {}
    removed: set[str] = set()

    async def write(lane: int, to: Store) -> None:
        number = 10
        while not done.is_set():
            number += 1
            name = f"{(number * 7 + lane) % 300:03d}"
            if number % 5 == 0:
                assert (await to.delete([key(name, 10 * number + lane)]))[0].error is None
                written.pop(name, None)
                removed.add(name)
            else:
                put = record(name, 10 * number + lane, seed=number, tags={"n": number})
                assert results(await to.put([put]))[0] in ("created", "replaced")
                written[name] = number
                removed.discard(name)
                assert name in (await found(to, vector_of(number), limit=20, exact=True)).ids

    # Lanes of ids that never meet: the number's parity is the lane's.
    async def wait() -> None:
        await indices.settle(store)
        done.set()

    await asyncio.gather(write(0, store), wait())
    assert await ids_of(other) == sorted({f"{n:03d}" for n in range(1, 300)} - removed | set(written))
    method = (await mapping_of(ask, indices))["properties"]["v"]["method"]["parameters"]
    assert (method["m"], method["encoder"]["name"]) == (24, "sq")
    for name, number in list(written.items())[:20]:
        (kept,) = await other.get(IMAGES.name, [name])
        assert kept is not None
        assert kept.tags == {"n": number}
    assert results(await other.put([record("000", 2)])) == ["stale_version"], "what was removed is still remembered"
    assert list((await store.verify()).faults) == []


async def test_a_rebuild_that_was_killed_keeps_no_write_waiting(opensearch: ConnectionOptions, ask: Connection) -> None:
    now, looks = wall_clock_ms(), 0

    def now_ms() -> int:
        nonlocal looks
        looks += 1
        return now

    indices = Indices(opensearch, now_ms=now_ms)
    try:
        store = await prepared(indices)
        await store.put([record("a")])
        # As a process leaves it that was killed at the worst moment: half a new index, and a block on the old one.
        catalog = store._catalog  # type: ignore[attr-defined]
        entry = await catalog.entry(IMAGES.name, fresh=True)
        await catalog.change(entry, building=f"{entry.alias}-next", beat=now)
        await catalog.make_index(f"{entry.alias}-000002-dead", f"{entry.alias}-next", {})
        (index,) = await catalog.indices_of(entry.alias)
        await ask.call("PUT", f"/{index}/_block/write")
        waiting = asyncio.create_task(store.put([record("b", seed=1)]))
        looks = 0
        async with asyncio.timeout(30):
            while looks < 3:
                await asyncio.sleep(0.01)
        assert not waiting.done(), "the rebuild may be about to end"
        now += ABANDONED_MS + 1
        assert results(await waiting) == ["created"]
        assert await ids_of(store) == ["a", "b"]
        assert list((await store.verify()).faults) == []
        (line,) = (await store.status()).details["graphs"]
        assert (line["rebuilds"], line["rebuilding"]) == (0, None)
        assert "aborted" in line["failed"]
        await store.reindex(IMAGES.name)
        await indices.settle(store)
        assert await ids_of(store) == ["a", "b"]
        (line,) = (await store.status()).details["graphs"]
        assert (line["rebuilds"], line["failed"]) == (1, None)
    finally:
        await indices.close()


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.05, 0.2, 1.7, 1.9, 2.1])
async def test_a_rebuild_that_a_stop_breaks_off_leaves_nothing_behind(indices: Indices, after_s: float) -> None:
    store = await prepared(indices)
    await store.put([record(f"{n}", seed=n) for n in range(20)])
    await store.reindex(IMAGES.name)
    await asyncio.sleep(after_s)
    await store.close()
    store = await indices.open()
    assert list((await store.verify()).faults) == []
    assert await ids_of(store) == sorted(f"{n}" for n in range(20))
    assert results(await store.put([record("more", seed=99)])) == ["created"]


async def test_a_check_with_repairs_takes_no_index_that_is_being_made_for_a_leftover(indices: Indices) -> None:
    store, other = await prepared(indices), await indices.open()
    await store.put([record("a")])
    await store.reindex(IMAGES.name)
    done = asyncio.Event()

    async def check() -> None:
        while not done.is_set():
            report = await store.verify(repair=True)
            assert (list(report.faults), list(report.repaired)) == ([], [])

    checks = asyncio.create_task(check())
    made = [f"made-{n}" for n in range(8)]
    for name in made:
        await other.ensure_collection(replace(IMAGES, name=name))
        assert results(await other.put([record("b", collection=name)])) == ["created"]
    await indices.settle(store)
    done.set()
    await checks
    assert [await ids_of(other, name) for name in made] == [["b"]] * 8
    (line, *_) = (await store.status()).details["graphs"]
    assert (line["rebuilds"], line["failed"]) == (1, None)


async def test_the_status_is_told_while_the_shards_of_a_new_index_are_still_starting(
    opensearch: ConnectionOptions,
) -> None:
    indices = Indices(opensearch, IndexOptions(shards=12))
    try:
        store = await prepared(indices)
        await store.put([record("a")])
        await store.reindex(IMAGES.name)
        settled = asyncio.create_task(indices.settle(store))
        seen = []
        while not settled.done():
            (line,) = (await store.status()).details["graphs"]
            seen.append(line["rebuilding"])
        assert {"done": 0, "total": 1} in seen
        assert (line["failed"], await ids_of(store)) == (None, ["a"])
    finally:
        await indices.close()


async def test_a_rebuild_that_the_server_refuses_is_told_by_every_process(
    opensearch: ConnectionOptions, indices: Indices
) -> None:
    store = await prepared(indices)
    await store.put([record("a")])
    too_much = Indices(opensearch, IndexOptions(shards=5_000))
    too_much.index = replace(too_much.index, prefix=indices.prefix)
    try:
        other = await too_much.open()
        await other.reindex(IMAGES.name)
        await too_much.settle(other)
        for each in (store, other):
            (line,) = (await each.status()).details["graphs"]
            assert (line["rebuilds"], line["rebuilding"]) == (0, None)
            assert "shards" in line["failed"]
        assert results(await store.put([record("b", 2)])) == ["created"]
        assert await ids_of(store) == ["a", "b"]
    finally:
        await too_much.close()
