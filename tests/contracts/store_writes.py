"""The contract of a store, part one: identity, collections, and what is put. Written against `Store` alone."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from executors.errors import VisualSearchError
from executors.index.records import Collection, Record, ShardIdentity, StoredDocument
from tests.support.stores.records import (
    DIMENSION,
    IDENTITY,
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
)

AWKWARD_IDS = [
    "a",
    "0",
    " ",
    "a/b c.jpg",
    "ü",
    "日本",
    "\U0001f431",
    "\uffff",
    "\x7f",
    "a\x00b",
    "\x00",
    "'; --",
    "%_",
    "é" * 256,
    "x" * 512,
]
AWKWARD_TAGS: dict[str, Any] = {
    "largest": 2**53,
    "smallest": -(2**53),
    "tenth": 0.1,
    "tiny": 5e-324,
    "one": 1,
    "one.0": 1.0,
    "true": True,
    "null": None,
    "empty": "",
    "": "empty key",
    "text": "ü\U0001f431\x00\u2028\"'\\",
    "list": [1, "1", 1.5, None, False, [], {}],
    "nested": {"a.b": {"c": [{"d": None}]}},
}
# What makes a document the write that it is, beside its content.
KEYS = {"collection", "id", "version", "model_id"}
# Other values of each field than those of `record("a")`: a field of `Record` that is missing here fails a test.
CHANGES: list[dict[str, Any]] = [
    {"tags": {"n": 2}}, {"tags": {"n": 1.0}}, {"tags": {"n": True}}, {"uri": None}, {"uri": ""}, {"parent": "p"},
    {"box": (1.0, 2.0, 3.0, 4.0)}, {"text": "t"}, {"thumbnail": b"t"}, {"thumbnail": b""}, {"embedding": vector_of(1)},
]  # fmt: skip


class WriteContract:
    """See `store_contract.StoreContract`, which needs the fixture `harness`."""

    # --- identity and collections

    async def test_a_new_shard_has_no_identity_and_takes_no_write(self, harness: Harness) -> None:
        store = await harness.open()
        assert store.identity is None
        await store.ensure_collection(IMAGES)
        for write in (
            store.put([record("a")]),
            store.delete([key("a", 2)]),
            store.update([tag_update("a", 2, {})]),
            store.supersede([superseded("a", 2)]),
        ):
            with pytest.raises(VisualSearchError) as refused:
                await write
            assert refused.value.code == "shard_identity"
        assert await store.count(IMAGES.name) == 0

    async def test_an_identity_is_kept_and_grows_but_never_changes(self, harness: Harness) -> None:
        store = await harness.open()
        await store.adopt(IDENTITY)
        assert store.identity == IDENTITY
        await store.adopt(replace(IDENTITY, shards=3, populated=True))
        await store.adopt(replace(IDENTITY, shards=3, populated=False))
        expected = replace(IDENTITY, shards=3, populated=True)
        assert store.identity == expected
        for other in (
            replace(expected, index_uuid="other"),
            replace(expected, shard=1),
            replace(expected, shards=2),
        ):
            with pytest.raises(VisualSearchError) as refused:
                await store.adopt(other)
            assert refused.value.code == "shard_identity"
        await store.close()
        again = await harness.open()
        assert again.identity == expected
        assert (await again.status()).identity == expected

    async def test_an_index_that_was_never_written_to_may_be_adopted_anew(self, harness: Harness) -> None:
        store = await harness.open()
        await store.adopt(IDENTITY, proposed=True)
        await store.adopt(replace(IDENTITY, index_uuid="late"), proposed=True)
        assert store.identity == IDENTITY, "the first proposal is followed"
        await store.adopt(replace(IDENTITY, index_uuid="decided"))
        assert store.identity == replace(IDENTITY, index_uuid="decided")

    async def test_the_first_accepted_write_marks_the_index_as_populated_for_good(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.delete([key("never there", 1)])
        await store.put([record("a", embedding=vector_of(0, DIMENSION + 1))])
        assert store.identity is not None
        assert store.identity.populated is False
        await store.put([record("a")])
        await store.delete([key("a", 2)])
        await store.close()
        assert (await harness.open()).identity == ShardIdentity(IDENTITY.index_uuid, 0, 1, populated=True)

    async def test_a_collection_is_bound_to_its_model_and_dimension(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.ensure_collection(IMAGES)
        for changed, code in (
            (replace(IMAGES, model_id="model-b@1"), "model_mismatch"),
            (replace(IMAGES, dimension=DIMENSION + 1), "dimension_mismatch"),
        ):
            with pytest.raises(VisualSearchError) as refused:
                await store.ensure_collection(changed)
            assert refused.value.code == code
        await store.close()
        status = await (await harness.open()).status()
        assert list(status.collections) == [(IMAGES, 0)]

    async def test_collections_hold_their_own_documents_under_the_same_ids(self, harness: Harness) -> None:
        store = await prepared(harness)
        faces = Collection("faces", "model-f@1", 3)
        await store.ensure_collection(faces)
        face = record("a", collection="faces", model_id="model-f@1", embedding=vector_of(5, 3))
        assert results(await store.put([record("a"), face])) == ["created", "created"]
        assert results(await store.delete([key("a", 2)])) == ["deleted"]
        assert (await store.count("images"), await store.count("faces")) == (0, 1)
        assert await store.get("images", ["a"]) == [None]
        (kept,) = await store.get("faces", ["a"], embedding=True)
        assert kept is not None
        assert kept.model_id == "model-f@1"
        np.testing.assert_array_equal(kept.embedding, face.embedding)

    # --- put

    async def test_everything_that_was_put_comes_back_exactly(self, harness: Harness) -> None:
        store = await prepared(harness)
        full = record(
            "full",
            tags=AWKWARD_TAGS,
            parent="the parent",
            box=(0.1, 2.0, 1e-9, 640.0),
            text="wörds",
            thumbnail=b"\xff\xd8\x00",
        )
        bare = record("bare", tags={}, uri=None, seed=1)
        assert results(await store.put([full, bare])) == ["created", "created"]
        for opened in (store, None):
            if opened is None:
                await store.close()
                store = await harness.open()
            one, other = await store.get(IMAGES.name, ["full", "bare"], embedding=True, thumbnail=True)
            assert one is not None
            assert other is not None
            assert list(one.tags.items()) == list(AWKWARD_TAGS.items())
            assert [type(value) for value in one.tags.values()] == [type(value) for value in AWKWARD_TAGS.values()]
            for name in (each.name for each in fields(StoredDocument)):
                assert name in KEYS or repr(getattr(full, name)) != repr(getattr(bare, name)), f"{name} is not tried"
                np.testing.assert_array_equal(getattr(one, name), getattr(full, name), name)
                np.testing.assert_array_equal(getattr(other, name), getattr(bare, name), name)
            assert list((await store.verify()).faults) == []

    @pytest.mark.parametrize("document_id", AWKWARD_IDS)
    async def test_any_id_of_1_to_512_bytes_is_kept_exactly(self, harness: Harness, document_id: str) -> None:
        store = await prepared(harness)
        assert results(await store.put([record(document_id), record("neighbour", seed=1)])) == ["created"] * 2
        await store.close()
        store = await harness.open()
        assert sorted(await ids_of(store)) == sorted([document_id, "neighbour"])
        assert document_id in (await found(store, vector_of(0))).ids
        assert results(await store.update([tag_update(document_id, 2, {"x": 1})])) == ["updated"]
        assert results(await store.delete([key(document_id, 3)])) == ["deleted"]
        assert results(await store.put([record(document_id, 2)])) == ["stale_version"]
        assert await ids_of(store) == ["neighbour"]

    async def test_a_put_replaces_what_is_older_and_says_when_nothing_changed(self, harness: Harness) -> None:
        store = await prepared(harness)
        (first,) = await store.put([record("a", 1)])
        (second,) = await store.put([record("a", 2, seed=7)])
        (third,) = await store.put([record("a", 3, seed=7, tags={"n": 2})])
        assert results([first, second, third]) == ["created", "replaced", "unchanged"]
        assert [each.version for each in (first, second, third)] == [version(1), version(2), version(3)]
        assert first.digest != second.digest
        assert second.digest == third.digest
        assert await store.count(IMAGES.name) == 1
        (kept,) = await store.get(IMAGES.name, ["a"], embedding=True)
        assert kept is not None
        assert kept.version == version(3)
        np.testing.assert_array_equal(kept.embedding, vector_of(7))

    def test_every_field_of_a_record_and_of_what_is_read_is_known_here(self) -> None:
        names = {each.name for each in fields(Record)}
        assert names == {each.name for each in fields(StoredDocument)}
        assert {name for changes in CHANGES for name in changes} == names - KEYS

    @pytest.mark.parametrize("changes", CHANGES)
    async def test_every_part_of_the_content_counts(self, harness: Harness, changes: dict[str, Any]) -> None:
        store = await prepared(harness)
        (first,) = await store.put([record("a", 1)])
        (second,) = await store.put([record("a", 2, **({"tags": {"n": 1}} | changes))])
        assert results([second]) == ["replaced"]
        assert first.digest != second.digest

    async def test_the_order_of_tag_keys_is_no_content(self, harness: Harness) -> None:
        store = await prepared(harness)
        outcomes = await store.put([record("a", 1, tags={"x": 1, "y": 2}), record("a", 2, tags={"y": 2, "x": 1})])
        assert results(outcomes) == ["created", "unchanged"]

    async def test_the_same_put_executed_twice_is_one_write(self, harness: Harness) -> None:
        store = await prepared(harness)
        writes = [record("a", 1), record("a", 2, seed=1), record("a", 3, seed=1, tags={"n": 2})]
        for write, expected in zip(writes, ("created", "replaced", "unchanged"), strict=True):
            first = await store.put([write])
            assert results(first) == [expected]
            assert await store.put([write]) == first
            assert await store.put([write, write]) == first * 2
        await store.close()
        store = await harness.open()
        assert results(await store.put(writes)) == ["stale_version", "stale_version", "unchanged"]
        assert await store.count(IMAGES.name) == 1
        assert len((await found(store, vector_of(1))).ids) == 1

    async def test_one_bad_record_does_not_stop_its_neighbours(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([record("old", 5)])
        outcomes = await store.put(
            [
                record("a"),
                record("old", 4),
                record("b", embedding=vector_of(0, DIMENSION - 1)),
                record("c", model_id="model-b@1"),
                record("d", collection="nowhere"),
                record("e"),
            ]
        )
        assert results(outcomes) == [
            "created", "stale_version", "dimension_mismatch", "model_mismatch", "collection_not_found", "created",
        ]  # fmt: skip
        assert await ids_of(store) == ["a", "e", "old"]

    async def test_one_id_twice_in_a_call_is_written_in_order(self, harness: Harness) -> None:
        store = await prepared(harness)
        outcomes = await store.put([record("a", 1), record("a", 2, seed=1), record("a", 1)])
        assert results(outcomes) == ["created", "replaced", "stale_version"]
        assert (await found(store, vector_of(1))).scores[0] == pytest.approx(1.0, abs=1e-6)
        assert await store.count(IMAGES.name) == 1

    async def test_nothing_to_write_is_no_error(self, harness: Harness) -> None:
        store = await prepared(harness)
        assert await store.put([]) == []
        assert await store.delete([]) == []
        assert await store.update([]) == []
        assert await store.supersede([]) == []
