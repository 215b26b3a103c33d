"""The contract of a store, part four: collections come and go. Written against `Store` alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from executors.errors import VisualSearchError
from executors.index.records import Collection, Record
from executors.index.store import Store
from tests.support.stores.records import (
    IMAGES,
    MODEL,
    Harness,
    axis,
    found,
    ids_of,
    key,
    prepared,
    record,
    results,
    sample,
    superseded,
    tag_update,
    vector_of,
    version,
    where,
)

FACES = Collection("faces", "model-f@1", 3)


def face(document_id: str, number: int = 1, seed: int = 0, **changes: Any) -> Record:
    """A document of the second collection."""
    fields = {"collection": "faces", "model_id": "model-f@1", "embedding": vector_of(seed, 3)}
    return record(document_id, number, **(fields | changes))


async def faces_of(store: Store, **changes: Any) -> list[str]:
    hits = await found(store, vector_of(0, 3), 100, collection="faces", model_id="model-f@1", **changes)
    return sorted(hits.ids)


class CollectionContract:
    """See `store_contract.StoreContract`, which needs the fixture `harness`.

    Attributes:
        shows_requests_whole: whether a search sees all documents of a `put`, or none.
    """

    shows_requests_whole: ClassVar[bool] = True

    async def test_a_dropped_collection_is_gone_with_its_documents_and_no_other(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.ensure_collection(FACES)
        await store.put([record("a"), record("b", seed=1), face("a"), face("c", parent="a")])
        assert await store.drop_collection("images", version(5)) == 2
        for _ in range(2):
            with pytest.raises(VisualSearchError) as refused:
                await found(store, vector_of(0))
            assert refused.value.code == "collection_not_found"
            assert await store.count("images") == await store.count("images", where({})) == 0
            assert await store.scroll("images") == []
            assert await store.get("images", ["a", "b"]) == [None, None]
            assert list((await store.status()).collections) == [(FACES, 2)]
            assert await faces_of(store) == ["a", "c"]
            report = await store.verify()
            assert (list(report.faults), sorted(each.id for each in report.keys)) == ([], ["a", "c"])
            await store.close()
            store = await harness.open()

    async def test_a_dropped_name_is_free_for_another_model(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([record("a", seed=1), record("b")])
        await store.drop_collection("images", version(5))
        again = Collection("images", "model-b@1", 3)
        await store.ensure_collection(again)
        assert await store.count("images") == 0
        new = record("a", 6, model_id="model-b@1", embedding=vector_of(3, 3))
        assert results(await store.put([new, record("b", 7)])) == ["created", "model_mismatch"]
        for _ in range(2):
            assert list((await store.status()).collections) == [(again, 1)]
            hits = await found(store, vector_of(3, 3), model_id="model-b@1")
            assert (hits.ids, hits.tags) == (["a"], [{"n": 6}])
            await store.close()
            store = await harness.open()

    async def test_writes_that_are_not_newer_than_the_drop_are_refused(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([record("a", 1)])
        await store.drop_collection("images", version(5))
        assert results(await store.put([record("a", 2), record("b", 9)])) == ["collection_not_found"] * 2
        await store.ensure_collection(IMAGES)
        for _ in range(2):
            late = [record("a", 1), record("a", 5), record("b", 4)]
            assert results(await store.put(late)) == ["stale_version"] * 3
            assert await ids_of(store) == []
            await store.close()
            store = await harness.open()
        assert results(await store.put([record("a", 6), record("b", 9)])) == ["created", "created"]
        assert results(await store.delete([key("a", 5)])) == ["stale_version"]
        assert results(await store.update([tag_update("a", 5, {"late": 1})])) == ["stale_version"]
        assert results(await store.supersede([superseded("a", 5)])) == ["stale_version"]
        assert [sample(each) for each in await store.get("images", ["a"])] == [("a", version(6), {"n": 6})]

    async def test_after_a_drop_older_writes_are_answered_alike_whatever_was_there(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([record("live", 1), record("removed", 1)])
        await store.delete([key("removed", 4)])
        await store.drop_collection("images", version(5))
        for _ in range(2):
            for name in ("live", "removed", "never there"):
                for number in (2, 4, 5):
                    assert results(await store.delete([key(name, number)])) == ["stale_version"]
                    assert results(await store.update([tag_update(name, number, {})])) == ["stale_version"]
                    assert results(await store.supersede([superseded(name, number)])) == ["not_found"]
            await store.ensure_collection(IMAGES)
        assert results(await store.put([record("removed", 6)])) == ["created"]

    async def test_a_drop_of_what_is_not_here_yet_is_remembered(self, harness: Harness) -> None:
        store = await prepared(harness)
        assert await store.drop_collection("faces", version(5)) is None
        await store.ensure_collection(FACES)
        assert results(await store.put([face("a", 5), face("b", 6)])) == ["stale_version", "created"]
        assert (await store.status()).last_version == version(6)

    @pytest.mark.parametrize("number", [5, 4])
    async def test_a_drop_that_is_repeated_or_late_leaves_the_new_collection(
        self, harness: Harness, number: int
    ) -> None:
        store = await prepared(harness)
        await store.put([record("a", 1)])
        assert await store.drop_collection("images", version(5)) == 1
        await store.ensure_collection(IMAGES)
        await store.put([record("b", 6)])
        assert not await store.drop_collection("images", version(number))
        assert await ids_of(store) == ["b"]
        assert await store.drop_collection("images", version(7)) == 1

    async def test_a_drop_that_comes_after_newer_writes_takes_the_older_documents_alone(self, harness: Harness) -> None:
        """A shard may receive a drop long after it was made elsewhere."""
        store = await prepared(harness)
        await store.put([record("a", 1), record("b", 2), record("c", 6), record("a's child", 3, parent="c")])
        assert await store.drop_collection("images", version(5)) == 3
        assert await ids_of(store) == ["c"]
        assert results(await store.put([record("a", 4), record("b", 7)])) == ["stale_version", "created"]
        assert not await store.drop_collection("images", version(5)), "executed again"
        assert await ids_of(store) == ["b", "c"]
        assert await store.drop_collection("images", version(8)) == 2
        assert (await store.status()).collections == []

    async def test_drops_are_among_the_recent_writes(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.ensure_collection(FACES)
        await store.put([record(f"{n}", 7) for n in range(3)])
        for name, number in [("faces", 4), ("never there", 5), ("old", 2), ("images", 6)]:
            await store.drop_collection(name, version(number))
        page = await store.recent(version(4))
        assert list(page.drops) == [("faces", version(4)), ("never there", version(5)), ("images", version(6))]
        assert len(page.keys) == 3, "newer than the drop"
        await store.put([record(f"{n}", 8) for n in range(3)])
        second = await store.recent(version(4), (await store.recent(version(4), limit=2)).next or 0, 2)
        assert not second.drops, "on the first page only"

    async def test_a_removed_document_is_refused_after_the_drop_too(self, harness: Harness) -> None:
        """A delete that is newer than the drop, executed before it, is not forgotten with the collection."""
        store = await prepared(harness)
        await store.put([record("a", 1)])
        await store.delete([key("a", 9), key("b", 9)])
        await store.drop_collection("images", version(5))
        await store.ensure_collection(IMAGES)
        assert results(await store.put([record("a", 8), record("b", 9)])) == ["stale_version"] * 2
        assert results(await store.put([record("a", 10)])) == ["created"]

    async def test_a_large_collection_is_dropped_at_once_and_stays_away(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.ensure_collection(FACES)
        await store.put([record(f"{n:04d}", seed=n % 7, thumbnail=b"t" * 100, parent="0000") for n in range(1300)])
        await store.put([face("kept")])
        assert await store.drop_collection("images", version(5)) == 1300
        # At once, while the documents may still be in removal.
        await store.close()
        store = await harness.open()
        await store.ensure_collection(IMAGES)
        await store.put([record("new", 6, seed=3)])
        for _ in range(2):
            assert await ids_of(store) == ["new"]
            assert (await found(store, vector_of(3), 2000)).ids == ["new"]
            assert list((await store.verify()).faults) == []
            await harness.settle(store)
        assert await faces_of(store) == ["kept"]
        assert results(await store.delete([key("0000", 7)])) == ["not_found"]

    async def test_searches_beside_drops_see_the_old_the_new_or_none(self, harness: Harness) -> None:
        store = await prepared(harness)
        done = asyncio.Event()
        seen: set[tuple[int, ...]] = set()
        codes: set[str] = set()

        async def ask() -> None:
            while not done.is_set():
                try:
                    hits = await found(store, axis(0), limit=100)
                except VisualSearchError as error:
                    codes.add(error.code)
                    await asyncio.sleep(0)
                    continue
                turns = {tags["turn"] for tags in hits.tags}
                assert len(turns) <= 1
                assert len(hits.ids) in ((0, 20) if self.shows_requests_whole else range(21))
                seen.add(tuple(turns))

        async def drop_and_fill() -> None:
            try:
                for turn in range(12):
                    number = 10 * turn + 1
                    await store.ensure_collection(IMAGES)
                    await store.put([record(f"{n}", number, seed=n, tags={"turn": turn}) for n in range(20)])
                    await asyncio.sleep(0.01)
                    assert await store.drop_collection("images", version(number + 1)) == 20
            finally:
                done.set()

        async with asyncio.TaskGroup() as together:
            for work in (ask(), ask(), drop_and_fill()):
                together.create_task(work)
        assert len(seen) > 1
        assert codes <= {"collection_not_found"}
        assert list((await store.verify()).faults) == []

    async def test_a_drop_leaves_the_same_ids_elsewhere_alone(self, harness: Harness) -> None:
        store = await prepared(harness)
        twin = replace(IMAGES, name="twin")
        await store.ensure_collection(twin)
        await store.put([record("a"), record("a", collection="twin", seed=4), record("b", collection="twin", seed=5)])
        await store.drop_collection("twin", version(3))
        await store.ensure_collection(twin)
        await store.put([record("b", 4, collection="twin", seed=6)])
        (one, other) = (
            *await store.get("images", ["a"], embedding=True),
            *await store.get("twin", ["b"], embedding=True),
        )
        assert one is not None
        assert other is not None
        np.testing.assert_array_equal(one.embedding, vector_of(0))
        np.testing.assert_array_equal(other.embedding, vector_of(6))
        assert (await found(store, vector_of(6), 1, collection="twin", model_id=MODEL)).ids == ["b"]
