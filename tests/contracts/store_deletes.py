"""The contract of a store, part seven: deletes that take more than one document with them. Written against `Store` alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from executors.errors import VisualSearchError
from executors.index.records import Record
from executors.index.store import Store
from tests.support.stores.records import (
    IMAGES,
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
    where,
)

TWIN = replace(IMAGES, name="twin")


def child(document_id: str, parent: str | None, number: int = 1, **changes: object) -> Record:
    """A document that came from another."""
    return record(document_id, number, seed=sum(map(ord, document_id)), parent=parent, **changes)


async def family(harness: Harness) -> Store:
    """picture → (face, text → word → letter), other → eye."""
    store = await prepared(harness)
    await store.put(
        [
            child("picture", None), child("face", "picture"), child("text", "picture"), child("word", "text"),
            child("letter", "word"), child("other", None), child("eye", "other"),
        ]
    )  # fmt: skip
    return store


async def expect_ids(store: Store, expected: list[str]) -> None:
    """Exactly these documents exist, however they are read."""
    assert await ids_of(store) == expected
    assert sorted((await found(store, vector_of(1), limit=1000)).ids) == expected
    assert await store.count(IMAGES.name) == len(expected)
    report = await store.verify()
    assert list(report.faults) == []
    assert sorted(each.id for each in report.keys if each.collection == IMAGES.name) == expected


class DeleteContract:
    """See `store_contract.StoreContract`, which needs the fixture `harness`."""

    # --- delete with descendants

    async def test_what_came_from_a_deleted_document_goes_with_it(self, harness: Harness) -> None:
        store = await family(harness)
        (outcome, missing) = await store.delete([key("picture", 5), key("nobody", 5)])
        assert (outcome.result, sorted(outcome.descendants)) == ("deleted", ["face", "letter", "text", "word"])
        assert (missing.result, missing.descendants) == ("not_found", ())
        for _ in range(2):
            await expect_ids(store, ["eye", "other"])
            late = [child(name, "x", 5) for name in ("picture", "face", "text", "word", "letter")]
            assert results(await store.put(late)) == ["stale_version"] * 5
            await store.close()
            store = await harness.open()
        assert results(await store.put([child("face", "picture", 6)])) == ["created"]
        assert (await store.status()).last_version == version(6)

    async def test_a_delete_executed_twice_gives_the_same_result(self, harness: Harness) -> None:
        store = await family(harness)
        keys = [key("text", 5), key("letter", 5), key("eye", 5), key("other", 5)]
        for _ in range(2):
            assert results(await store.delete(keys)) == ["deleted"] * 4
            await expect_ids(store, ["face", "picture"])

    async def test_children_of_an_id_that_is_not_there_go_too(self, harness: Harness) -> None:
        store = await family(harness)
        await store.put([child("orphan", "never there"), child("its child", "orphan")])
        (outcome,) = await store.delete([key("never there", 5)])
        assert (outcome.result, sorted(outcome.descendants)) == ("not_found", ["its child", "orphan"])
        assert results(await store.supersede([superseded("other", 6)])) == ["replaced"]
        (outcome,) = await store.delete([key("other", 7)])
        assert (outcome.result, outcome.descendants) == ("not_found", ("eye",))
        await expect_ids(store, ["face", "letter", "picture", "text", "word"])

    async def test_what_is_newer_than_the_delete_stays_with_what_came_from_it(self, harness: Harness) -> None:
        store = await family(harness)
        await store.put([child("text", "picture", 9)])
        await store.update([replace(tag_update("eye", 9, {"x": 1}))])
        (one, other) = await store.delete([key("picture", 5), key("other", 5)])
        assert (one.descendants, other.descendants) == (("face",), ())
        await expect_ids(store, ["eye", "letter", "text", "word"])

    async def test_a_stale_delete_removes_nothing(self, harness: Harness) -> None:
        store = await family(harness)
        await store.put([child("picture", None, 9)])
        (outcome,) = await store.delete([key("picture", 5)])
        assert outcome.error is not None
        assert (outcome.error.code, outcome.descendants) == ("stale_version", ())
        assert len(await ids_of(store)) == 7

    async def test_a_repeated_delete_takes_what_came_late(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([child("picture", None)])
        assert results(await store.delete([key("picture", 5)])) == ["deleted"]
        await store.put([child("face", "picture", 3), child("newer", "picture", 6)])
        for late in (("face",), ()):
            (outcome,) = await store.delete([key("picture", 5)])
            assert (outcome.result, outcome.descendants) == ("deleted", late)
        await expect_ids(store, ["newer"])

    async def test_rings_of_parents_end(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([child("a", "b"), child("b", "a"), child("self", "self"), child("c", "b")])
        (outcome,) = await store.delete([key("a", 5)])
        assert (outcome.result, sorted(outcome.descendants)) == ("deleted", ["b", "c"])
        (outcome,) = await store.delete([key("self", 5)])
        assert (outcome.result, outcome.descendants) == ("deleted", ())
        await expect_ids(store, [])

    async def test_the_same_ids_of_another_collection_stay(self, harness: Harness) -> None:
        store = await family(harness)
        await store.ensure_collection(TWIN)
        await store.put([record("picture", collection="twin"), record("face", collection="twin", parent="picture")])
        await store.delete([key("picture", 5)])
        assert await ids_of(store, "twin") == ["face", "picture"]

    async def test_a_moved_child_follows_its_new_parent(self, harness: Harness) -> None:
        store = await family(harness)
        await store.put([child("face", "other", 2)])
        assert (await store.delete([key("other", 5)]))[0].descendants in (("eye", "face"), ("face", "eye"))
        await store.put([child("text", None, 6)])
        assert (await store.delete([key("picture", 7)]))[0].descendants == ()
        await expect_ids(store, ["letter", "text", "word"])

    async def test_long_chains_and_wide_families_go_whole(self, harness: Harness) -> None:
        store = await prepared(harness)
        chain = [child(f"{n:04d}", f"{n - 1:04d}" if n else None) for n in range(1200)]
        await store.put([*chain, *[child(f"wide {n:04d}", "0000") for n in range(1200)], child("kept", None)])
        (outcome,) = await store.delete([key("0000", 5)])
        assert len(set(outcome.descendants)) == len(outcome.descendants) == 2399
        await expect_ids(store, ["kept"])

    # --- descendants of documents that another shard removed

    async def test_children_are_removed_for_another_shard(self, harness: Harness) -> None:
        store = await family(harness)
        await store.put([child("newer", "picture", 9), child("of the newer", "newer", 1)])
        removed = await store.delete_children(IMAGES.name, ["picture", "nobody"], version(5))
        assert sorted(removed) == ["face", "letter", "text", "word"]
        await expect_ids(store, ["eye", "newer", "of the newer", "other", "picture"])
        assert results(await store.put([child("face", "picture", 5)])) == ["stale_version"]
        assert await store.delete_children(IMAGES.name, ["picture", "nobody"], version(5)) == []
        assert await store.delete_children("nowhere", ["picture"], version(5)) == []
        assert await store.delete_children(IMAGES.name, [], version(5)) == []

    async def test_the_parents_themselves_are_not_touched(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([child("a", "b"), child("b", "a"), child("self", "self"), child("c", "b")])
        assert sorted(await store.delete_children(IMAGES.name, ["a", "self"], version(5))) == ["b", "c"]
        await expect_ids(store, ["a", "self"])

    # --- by filter

    async def test_what_matches_is_removed_with_what_came_from_it(self, harness: Harness) -> None:
        store = await family(harness)
        await store.update([tag_update(name, 2, {"x": 1}) for name in ("text", "eye", "word")])
        removed = await store.delete_matching(IMAGES.name, where({"x": 1}), version(5), 100)
        assert sorted(removed) == ["eye", "letter", "text", "word"]
        assert len(set(removed)) == len(removed)
        for _ in range(2):
            await expect_ids(store, ["face", "other", "picture"])
            assert await store.delete_matching(IMAGES.name, where({"x": 1}), version(5), 100) == []
            assert results(await store.put([child(name, None, 5) for name in removed])) == ["stale_version"] * 4
            await store.close()
            store = await harness.open()
        assert await store.delete_matching("nowhere", where({"x": 1}), version(6), 100) == []
        assert (await store.status()).last_version == version(5)

    async def test_rounds_of_a_limit_remove_everything_that_matches(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([record(f"{n:03d}", seed=n, tags={"odd": n % 2, "n": n}) for n in range(100)])
        await store.put([child(f"of {n:03d}", f"{n:03d}") for n in range(10)])
        rounds = []
        while removed := await store.delete_matching(IMAGES.name, where({"odd": 1}), version(5), 8):
            rounds.append(len(removed))
        assert sum(rounds) == 55
        # "About" the limit: descendants of the removed documents are removed in addition.
        assert max(rounds) <= 8 + 10
        assert len(rounds) >= 50 // 8
        await expect_ids(
            store, sorted([*[f"{n:03d}" for n in range(0, 100, 2)], *[f"of {n:03d}" for n in range(0, 10, 2)]])
        )

    async def test_matching_documents_that_are_newer_stay(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([record(f"{n}", n, seed=n, tags={"x": 1}) for n in range(1, 9)])
        await store.put([child("child of 3", "3", 9), child("child of 4", "4", 1)])
        removed: list[str] = []
        while some := await store.delete_matching(IMAGES.name, where({"x": 1}), version(5), 2):
            removed += some
        assert sorted(removed) == ["1", "2", "3", "4", "child of 4"]
        await expect_ids(store, ["5", "6", "7", "8", "child of 3"][0:])

    async def test_what_matches_is_judged_by_the_tags_of_now(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([record(name, 1, seed=n, tags={"x": 1}) for n, name in enumerate("abcd")])
        assert await store.count(IMAGES.name, where({"x": 1})) == 4
        await store.update([tag_update("a", 2, {"x": 2})])
        await store.put([record("b", 2, seed=7, tags={"y": 1}), record("e", 2, tags={"x": 1})])
        assert sorted(await store.delete_matching(IMAGES.name, where({"x": 1}), version(5), 10)) == ["c", "d", "e"]
        assert sorted(await store.delete_matching(IMAGES.name, where({"x": {"$ne": 1}}), version(5), 10)) == ["a", "b"]
        await expect_ids(store, [])

    async def test_a_shard_without_an_identity_removes_nothing(self, harness: Harness) -> None:
        store = await harness.open()
        await store.ensure_collection(IMAGES)
        for write in (
            store.delete_children(IMAGES.name, ["a"], version(1)),
            store.delete_matching(IMAGES.name, where({}), version(1), 10),
            store.drop_collection(IMAGES.name, version(1)),
        ):
            with pytest.raises(VisualSearchError) as refused:
                await write
            assert refused.value.code == "shard_identity"
        assert [each.name for each, _ in (await store.status()).collections] == [IMAGES.name]
