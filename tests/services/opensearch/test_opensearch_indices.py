"""Promises of the OpenSearch store alone: processes share it, the mapping stays small, and indices are rebuilt."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from executors.errors import VisualSearchError
from executors.index.filters import MAX_CONDITIONS
from executors.index.opensearch.cluster.connection import Connection, ConnectionOptions
from executors.index.opensearch.cluster.layout import IndexOptions
from executors.index.records import Collection
from executors.index.store import Store
from tests.support.opensearch.opensearch_index import Indices, mapping_of
from tests.support.stores.embedded import code_of
from tests.support.stores.records import (
    DIMENSION,
    IDENTITY,
    IMAGES,
    MODEL,
    found,
    ids_of,
    key,
    prepared,
    record,
    results,
    tag_update,
    vector_of,
    version,
    where,
)

pytestmark = pytest.mark.services

OTHERS = Collection("others", MODEL, DIMENSION)


# --- processes that share an index


async def test_what_one_process_was_told_another_knows(indices: Indices) -> None:
    first, second = await indices.open(), await indices.open()
    await first.adopt(IDENTITY)
    await first.ensure_collection(IMAGES)
    assert results(await second.put([record("a")])) == ["created"]
    assert (await found(first, vector_of(0))).ids == ["a"]
    await second.drop_collection(IMAGES.name, version(5))
    assert await code_of(found(first, vector_of(0))) == "collection_not_found"
    assert results(await first.put([record("a", 6)])) == ["collection_not_found"]
    await first.ensure_collection(IMAGES)
    assert results(await second.put([record("a", 4), record("a", 6)])) == ["stale_version", "created"]


async def test_processes_that_write_the_same_ids_lose_nothing_that_is_newer(indices: Indices) -> None:
    first = await prepared(indices)
    stores = [first, await indices.open(), await indices.open()]
    numbers = random.Random(3).sample(range(1, 91), 90)
    accepted: list[int] = []

    async def work(store: Store, mine: list[int]) -> None:
        for number in mine:
            if number % 3:
                (outcome,) = await store.put([record("a", number, seed=number)])
            else:
                (outcome,) = await store.update([tag_update("a", number, {f"u{number}": number})])
            if outcome.error is None and outcome.result != "not_found":
                accepted.append(number)
            else:
                assert outcome.error is None or outcome.error.code == "stale_version"

    await asyncio.gather(*(work(store, numbers[n::3]) for n, store in enumerate(stores)))
    (kept,) = await first.get(IMAGES.name, ["a"], embedding=True)
    assert kept is not None
    assert kept.version == version(max(accepted))
    # The tags are those of the last put and of every accepted update after it: none has overwritten what it did not see.
    puts = [number for number in accepted if number % 3]
    assert kept.tags["n"] == max(puts)
    later = [number for number in accepted if number % 3 == 0 and number > max(puts)]
    assert {name for name in kept.tags if name != "n"} == {f"u{number}" for number in later}
    assert list((await first.verify()).faults) == []


async def test_small_writes_at_the_same_time_share_requests(indices: Indices, ask: Connection) -> None:
    store = await prepared(indices)
    await store.put([record("first")])

    async def refreshes() -> int:
        stats = await ask.call("GET", f"/{indices.prefix}-c-images-*/_stats/refresh")
        return int(stats["_all"]["primaries"]["refresh"]["external_total"])

    before = await refreshes()
    await asyncio.gather(*(store.put([record(f"{n:02d}", seed=n)]) for n in range(60)))
    assert await refreshes() - before <= 20
    assert len(await ids_of(store)) == 61


# --- tags and the mapping


async def test_stray_documents_neither_break_nor_blow_up_the_mapping(indices: Indices, ask: Connection) -> None:
    store = await prepared(indices)
    tags: list[dict[str, Any]] = [
        {"price": 5, "brand": "acme"},
        {"price": "five", "brand": {"name": "acme"}},
        {"price": [5, "five", True, None, {"deep": 1}], "brand": 5},
        {f"key {n}": n for n in range(1_000)},
        *({f"own {n}": n, "n": n} for n in range(60)),
        {"a.b": 1, "a": {"b": {"c": 2}}},
        {"k": {"id": 1}, "live": False, "version": "none", "t": "x", "v": [1, 2]},
    ]
    outcomes = await store.put([record(f"{n:02d}", seed=n, tags=each) for n, each in enumerate(tags)])
    assert results(outcomes) == ["created"] * len(tags)
    properties = (await mapping_of(ask, indices))["properties"]
    assert sum(len(properties[kind].get("properties", {})) for kind in "knb") == 20
    for given, expected in (
        ({"price": 5}, ["00", "02"]),
        ({"price": "five"}, ["01", "02"]),
        ({"price": {"$gte": 5}}, ["00", "02"]),
        ({"brand.name": "acme"}, ["01"]),
        ({"brand": {"$gt": 4}}, ["02"]),
        ({"key 999": {"$gt": 998}}, ["03"]),
        ({"own 55": {"$lt": 56}}, ["59"]),
        ({"n": {"$gte": 58}}, ["62", "63"]),
        ({"a.b": 1}, ["64"]),
        ({"a.b.c": {"$exists": True}}, ["64"]),
        ({"live": False, "k.id": 1}, ["65"]),
    ):
        hits = await found(store, vector_of(0), limit=100, where=where(given))
        assert sorted(hits.ids) == expected, given
    assert list((await store.verify()).faults) == []


async def test_the_longest_filters_are_evaluated(indices: Indices) -> None:
    store = await prepared(indices)
    await store.put([record("a", tags={"tag 990": 1_000, "other": "text 5"})])
    longest: list[dict[str, Any]] = [
        {"$or": [{f"tag {n}": {"$gt": n}} for n in range(MAX_CONDITIONS)]},
        {"$and": [{f"tag {n}": {"$exists": n == 990}} for n in range(MAX_CONDITIONS)]},
        {"other": {"$in": [f"text {n}" for n in range(MAX_CONDITIONS)]}},
    ]
    for given in longest:
        assert (await found(store, vector_of(0), where=where(given))).ids == ["a"]
        assert (await found(store, vector_of(0), where=where(given), exact=True)).ids == ["a"]
        assert await store.count(IMAGES.name, where(given)) == 1
    longer = where({"$or": [{f"tag {n}": {"$not": {"$lt": n}}} for n in range(MAX_CONDITIONS)]})
    for work in (found(store, vector_of(0), where=longer), store.count(IMAGES.name, longer)):
        assert await code_of(work) == "invalid_filter"


# --- other versions, other programs


async def test_an_index_of_another_version_is_refused_with_the_way_out(indices: Indices, ask: Connection) -> None:
    store = await prepared(indices)
    await store.close()
    await ask.call("PUT", f"/{indices.prefix}-meta-000001/_mapping", {"_meta": {"format": 99}})
    with pytest.raises(Exception, match=r"store_invalid.*VS_OPENSEARCH_PREFIX"):
        await indices.open()


async def test_leftovers_and_damaged_filter_fields_are_found_and_mended(indices: Indices, ask: Connection) -> None:
    store = await prepared(indices)
    await store.put([record("a", tags={"x": 1}), record("b", seed=1, tags={"x": 2})])
    await ask.call("PUT", f"/{indices.prefix}-c-stray-000001", {})
    update = {"script": {"lang": "painless", "source": "ctx._source.n.x = [7]"}, "query": {"term": {"id": "a"}}}
    await ask.call("POST", f"/{indices.prefix}-c-images-*/_update_by_query", update, params={"refresh": "true"})
    assert (await found(store, vector_of(0), where=where({"x": 7}))).ids == ["a"]
    faults = list((await store.verify()).faults)
    assert len(faults) == 2
    assert "filter fields" in faults[0]
    assert "stray" in faults[1]
    report = await store.verify(repair=True)
    assert (list(report.faults), len(report.repaired)) == ([], 2)
    assert (await found(store, vector_of(0), where=where({"x": 1}))).ids == ["a"]
    assert list((await store.verify()).faults) == []


async def test_damaged_tags_are_named_and_never_served(indices: Indices, ask: Connection) -> None:
    store = await prepared(indices)
    await store.put([record("a", tags={"x": 1}), record("b", seed=1)])
    change = {
        "script": {"lang": "painless", "source": "ctx._source.tags = '{\"x\":2}'"},
        "query": {"term": {"id": "a"}},
    }
    await ask.call("POST", f"/{indices.prefix}-c-images-*/_update_by_query", change, params={"refresh": "true"})
    assert await code_of(store.get(IMAGES.name, ["a"])) == "store_invalid"
    assert await code_of(found(store, vector_of(0))) == "store_invalid"
    assert "'a'" in (await store.verify()).faults[0]
    await store.put([record("a", 2, tags={"x": 1})])
    assert (await found(store, vector_of(0))).tags[0] == {"x": 1}


# --- what others do to the cluster


async def test_a_collection_whose_index_was_deleted_costs_no_other_one(indices: Indices, ask: Connection) -> None:
    store = await prepared(indices)
    await store.ensure_collection(OTHERS)
    await store.put([record("a"), record("b", collection=OTHERS.name)])
    (index,) = await ask.call("GET", f"/{indices.prefix}-c-others-*/_alias")
    await ask.call("DELETE", f"/{index}")

    assert results(await store.put([record("c", 2, seed=1), record("d", 2, collection=OTHERS.name)])) == [
        "created", "store_invalid",
    ]  # fmt: skip
    assert await ids_of(store) == ["a", "c"]
    for question in (
        store.get(OTHERS.name, ["b"]),
        store.count(OTHERS.name),
        found(store, vector_of(0), collection=OTHERS.name),
        store.reindex(OTHERS.name),
    ):
        with pytest.raises(VisualSearchError, match="store_invalid: the index of the collection 'others' is gone"):
            await question
    for each in (store, await indices.open()):
        status = await each.status()
        assert {known.name: count for known, count in status.collections} == {IMAGES.name: 2, OTHERS.name: 0}
        assert list(status.unreadable) == [OTHERS.name]
        assert [line["failed"] is None for line in status.details["graphs"]] == [True, False]
        (fault,) = (await each.verify()).faults
        assert "'others' is gone" in fault
        assert [listed.id for listed in (await each.recent("")).keys] == ["c", "a"]
    await store.reindex()
    await indices.settle(store)
    assert await store.drop_collection(OTHERS.name, version(5)) == 0
    await store.ensure_collection(OTHERS)
    assert results(await store.put([record("b", 6, collection=OTHERS.name)])) == ["created"]
    assert (dict((await store.status()).unreadable), list((await store.verify()).faults)) == ({}, [])


async def test_an_index_that_is_read_only_is_told_as_such_whatever_is_asked(indices: Indices, ask: Connection) -> None:
    store = await prepared(indices)
    await store.put([record("a")])
    block = "index.blocks.read_only_allow_delete"
    await ask.call("PUT", f"/{indices.prefix}-*/_settings", {block: True})
    for write in (
        store.put([record("b", 2)]),
        store.update([tag_update("a", 2, {"quite new": "x"})]),
        store.delete([key("a", 2)]),
        store.drop_collection(IMAGES.name, version(5)),
        store.reindex(IMAGES.name),
    ):
        with pytest.raises(VisualSearchError, match="read-only"):
            await write
    await ask.call("PUT", f"/{indices.prefix}-*/_settings", {block: None})
    assert results(await store.put([record("b", 2)])) == ["created"]
    assert await ids_of(store) == ["a", "b"]


async def test_vectors_that_are_too_long_for_the_server_are_refused_as_such(indices: Indices) -> None:
    store = await prepared(indices)
    with pytest.raises(VisualSearchError, match="invalid_embedding: a vector has 1 to 16000 numbers"):
        await store.ensure_collection(Collection("long", "model", 16_001))


async def test_a_setting_that_the_server_can_not_fulfil_is_told_in_its_words(opensearch: ConnectionOptions) -> None:
    indices = Indices(opensearch, IndexOptions(shards=5_000))
    try:
        store = await indices.open()
        await store.adopt(IDENTITY)
        with pytest.raises(VisualSearchError, match=r"storage_denied: OpenSearch refuses .*shards"):
            await store.ensure_collection(IMAGES)
        assert (await store.status()).collections == []
    finally:
        await indices.close()
