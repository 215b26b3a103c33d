"""The contract of a store, part two: deletes, supersedes, updates, and which write wins. Written against `Store` alone."""

from __future__ import annotations

import asyncio
import itertools

import numpy as np
import pytest

from executors.document_values import MAX_TAGS_BYTES
from executors.index.records import Collection
from tests.support.stores.records import (
    DIMENSION,
    IMAGES,
    MODEL,
    Harness,
    found,
    ids_of,
    key,
    prepared,
    record,
    results,
    superseded,
    tag_update,
    vector_of,
    version,
)


class VersionContract:
    """See `store_contract.StoreContract`, which needs the fixture `harness`."""

    # --- delete

    async def test_what_was_deleted_is_gone_and_stays_gone(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([record("a", 1), record("b", 1, seed=1)])
        assert results(await store.delete([key("a", 3), key("nobody", 3)])) == ["deleted", "not_found"]
        for _ in range(2):
            assert await store.get(IMAGES.name, ["a"]) == [None]
            assert await ids_of(store) == ["b"]
            assert (await found(store, vector_of(0))).ids == ["b"]
            late = [record("a", 1), record("a", 2), record("a", 3), record("nobody", 2), record("nobody", 3)]
            assert results(await store.put(late)) == ["stale_version"] * 5
            assert results(await store.update([tag_update("a", 2, {"x": 1})])) == ["stale_version"]
            await store.close()
            store = await harness.open()
        assert results(await store.put([record("a", 4), record("nobody", 4)])) == ["created", "created"]

    async def test_the_same_delete_executed_twice_gives_the_same_result(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([record("a", 1)])
        keys = [key("a", 2), key("nobody", 2)]
        first = await store.delete(keys)
        assert await store.delete(keys) == first
        assert results(first) == ["deleted", "not_found"]
        assert results(await store.delete([key("a", 3)])) == ["not_found"]
        assert results(await store.delete(keys)) == ["stale_version", "not_found"]

    async def test_an_older_delete_leaves_the_newer_copy(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([record("a", 5)])
        assert results(await store.delete([key("a", 4), key("a", 5)])) == ["stale_version", "stale_version"]
        assert await ids_of(store) == ["a"]

    async def test_a_delete_of_an_unknown_collection_is_remembered(self, harness: Harness) -> None:
        store = await prepared(harness)
        assert results(await store.delete([key("a", 5, "later")])) == ["not_found"]
        await store.ensure_collection(Collection("later", MODEL, DIMENSION))
        assert results(await store.put([record("a", 4, collection="later")])) == ["stale_version"]
        assert results(await store.put([record("a", 6, collection="later")])) == ["created"]

    # --- supersede

    async def test_a_superseded_copy_goes_and_its_writes_are_refused(self, harness: Harness) -> None:
        store = await prepared(harness)
        (same, *_) = await store.put([record("same", 1), record("other", 1, seed=1), record("newer", 9, seed=2)])
        writes = [
            superseded("same", 2, same.digest),
            superseded("other", 2, same.digest),
            superseded("newer", 2, same.digest),
            superseded("nobody", 2, same.digest),
        ]
        outcomes = await store.supersede(writes)
        assert results(outcomes) == ["unchanged", "replaced", "stale_version", "not_found"]
        assert await ids_of(store) == ["newer"]
        assert (await found(store, vector_of(0))).ids == ["newer"]
        assert await store.supersede(writes[:2]) == outcomes[:2]
        await store.close()
        store = await harness.open()
        late = [record(name, number) for name in ("same", "other", "nobody") for number in (1, 2)]
        assert results(await store.put(late)) == ["stale_version"] * 6
        assert results(await store.put([record("same", 3), record("nobody", 3)])) == ["created", "created"]

    async def test_a_write_that_moved_to_another_shard_is_refused_when_it_is_repeated_here(
        self, harness: Harness
    ) -> None:
        store = await prepared(harness)
        write = record("a", 3)
        (outcome,) = await store.put([write])
        assert results(await store.supersede([superseded("a", 3, outcome.digest)])) == ["unchanged"]
        assert results(await store.put([write])) == ["stale_version"]
        assert await store.count(IMAGES.name) == 0

    @pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
    async def test_in_every_order_the_newest_write_decides(self, harness: Harness, order: tuple[int, ...]) -> None:
        """Shard's view of: put 2, superseded by 3 elsewhere, delete 4, put 5: in any order only put 5 is there."""
        store = await prepared(harness)
        for step in order:
            if step == 0:
                await store.put([record("a", 2)])
            elif step == 1:
                await store.supersede([superseded("a", 3)])
            elif step == 2:
                await store.delete([key("a", 4)])
            else:
                await store.put([record("a", 5, seed=1)])
        (kept,) = await store.get(IMAGES.name, ["a"])
        assert kept is not None
        assert kept.version == version(5)
        assert await store.count(IMAGES.name) == 1

    @pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
    async def test_in_every_order_a_newest_supersede_leaves_nothing(
        self, harness: Harness, order: tuple[int, ...]
    ) -> None:
        store = await prepared(harness)
        for step in order:
            if step == 0:
                await store.put([record("a", 2)])
            elif step == 1:
                await store.delete([key("a", 3)])
            else:
                await store.supersede([superseded("a", 4)])
        assert await store.count(IMAGES.name) == 0
        assert results(await store.put([record("a", 4)])) == ["stale_version"]

    # --- update

    async def test_tags_are_merged_or_replaced_in_place(self, harness: Harness) -> None:
        store = await prepared(harness)
        (put,) = await store.put([record("a", 1, tags={"keep": 1, "drop": 2, "nested": {"x": 1}}, thumbnail=b"t")])
        (merged,) = await store.update([tag_update("a", 2, {"drop": None, "nested": {"y": None}, "new": [1]})])
        (kept,) = await store.get(IMAGES.name, ["a"], embedding=True, thumbnail=True)
        assert kept is not None
        assert kept.tags == {"keep": 1, "nested": {"y": None}, "new": [1]}
        assert (kept.version, kept.uri, kept.thumbnail) == (version(2), "photos/a", b"t")
        np.testing.assert_array_equal(kept.embedding, vector_of(0))
        (replaced,) = await store.update([tag_update("a", 3, {"only": None}, "replace")])
        (kept,) = await store.get(IMAGES.name, ["a"])
        assert kept is not None
        assert kept.tags == {"only": None}
        (unchanged,) = await store.update([tag_update("a", 4, {"absent": None})])
        assert results([merged, replaced, unchanged]) == ["updated", "updated", "unchanged"]
        assert len({put.digest, merged.digest, replaced.digest}) == 3
        assert unchanged.digest == replaced.digest
        hits = await found(store, vector_of(0))
        assert (hits.tags, hits.versions) == ([{"only": None}], [version(4)])

    async def test_merges_never_make_more_tags_of_a_document_than_one_may_have(self, harness: Harness) -> None:
        """Otherwise an export could not be imported any more."""
        store = await prepared(harness)
        half = "ü" * (MAX_TAGS_BYTES // 4)
        await store.put([record("a", tags={"one": half}), record("b", tags={"n": 1})])
        outcomes = await store.update([tag_update("a", 2, {"two": half}), tag_update("b", 2, {"two": half})])
        assert results(outcomes) == ["invalid_tags", "updated"]
        (kept,) = await store.get(IMAGES.name, ["a"])
        assert kept is not None
        assert kept.tags == {"one": half}
        assert results(await store.update([tag_update("a", 2, {"one": None, "two": half})])) == ["updated"]
        # A document that has more of them (from before merges were checked) may get fewer.
        await store.put([record("c", tags={"one": half, "two": half, "three": half})])
        updates = [tag_update("c", 2, {"four": 4}), tag_update("c", 3, {"three": None}), tag_update("c", 4, {"two": 2})]
        assert results(await store.update(updates)) == ["invalid_tags", "updated", "updated"]

    async def test_an_update_and_a_put_of_the_same_content_have_the_same_digest(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([record("a", 1, tags={"x": 1})])
        (updated,) = await store.update([tag_update("a", 2, {"x": 2})])
        (put,) = await store.put([record("a", 3, tags={"x": 2})])
        assert results([put]) == ["unchanged"]
        assert put.digest == updated.digest

    async def test_the_same_update_executed_twice_is_one_write(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([record("a", 1)])
        changes = [tag_update("a", 2, {"x": 1}), tag_update("nobody", 2, {"x": 1})]
        first = await store.update(changes)
        assert results(first) == ["updated", "not_found"]
        assert await store.update(changes) == first

    async def test_an_older_write_than_an_update_is_stale(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([record("a", 1)])
        await store.update([tag_update("a", 5, {"x": 1})])
        assert results(await store.update([tag_update("a", 4, {"x": 2})])) == ["stale_version"]
        assert results(await store.put([record("a", 1), record("a", 4), record("a", 5)])) == ["stale_version"] * 3
        assert results(await store.delete([key("a", 4)])) == ["stale_version"]
        (kept,) = await store.get(IMAGES.name, ["a"])
        assert kept is not None
        assert kept.tags == {"n": 1, "x": 1}

    async def test_an_unknown_id_is_not_found_and_not_made(self, harness: Harness) -> None:
        store = await prepared(harness)
        assert results(await store.update([tag_update("a", 1, {"x": 1})])) == ["not_found"]
        assert await store.count(IMAGES.name) == 0
        assert results(await store.put([record("a", 1)])) == ["created"]

    # --- together

    async def test_concurrent_writes_of_one_id_leave_the_newest(self, harness: Harness) -> None:
        store = await prepared(harness)
        numbers = np.random.default_rng(3).permutation(np.arange(1, 41)).tolist()
        outcomes = await asyncio.gather(*[store.put([record("a", number, seed=number)]) for number in numbers])
        accepted = [n for n, (each,) in zip(numbers, outcomes, strict=True) if each.error is None]
        assert 40 in accepted
        assert all(each.error is None or each.error.code == "stale_version" for (each,) in outcomes)
        (kept,) = await store.get(IMAGES.name, ["a"])
        assert kept is not None
        assert kept.version == version(40)
        assert await store.count(IMAGES.name) == 1
        assert (await store.verify()).faults == []

    async def test_the_newest_accepted_version_is_known_after_a_restart(self, harness: Harness) -> None:
        store = await prepared(harness)
        assert (await store.status()).last_version == ""
        await store.put([record("a", 5)])
        await store.put([record("a", 4), record("b", 3)])
        assert (await store.status()).last_version == version(5)
        await store.delete([key("nobody", 8)])
        await store.close()
        assert (await (await harness.open()).status()).last_version == version(8)
