"""The contract of a store, part three: searches and reads. Written against `Store` alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from executors.errors import VisualSearchError
from executors.index.records import NEWEST, Collection, DocumentKey, SearchRequest
from tests.support.stores.records import (
    DIMENSION,
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
    tag_update,
    true_cosine,
    unit,
    vector_of,
    version,
)


class ReadContract:
    """See `store_contract.StoreContract`, which needs the fixture `harness`."""

    # --- search

    async def test_a_sample_has_random_documents_with_their_vectors(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([record(f"{n}", seed=n) for n in range(30)])
        assert await store.sample(IMAGES.name, 0) == await store.sample("nowhere", 5) == []
        seen: set[str] = set()
        for _ in range(40):
            found = await store.sample(IMAGES.name, 10)
            assert len({name for name, _ in found}) == 10
            for name, vector in found:
                np.testing.assert_array_equal(vector, vector_of(int(name)))
            seen |= {name for name, _ in found}
        # One that is drawn with the chance of a third is missing from 40 samples once in ten million.
        assert len(seen) == 30
        await store.delete([key("7", 2)])
        assert sorted(name for name, _ in await store.sample(IMAGES.name, 50)) == sorted(seen - {"7"})

    async def test_hits_are_the_true_best_with_their_fields(self, harness: Harness) -> None:
        store = await prepared(harness)
        records = [record(f"{n:03d}", n + 1, seed=n, parent=f"p{n}", box=(n, 1.0, 2.0, 3.0)) for n in range(60)]
        await store.put(records)
        for query in (vector_of(1000), vector_of(7)):
            expected = sorted(records, key=lambda each: (-true_cosine(query, each.embedding), each.id))[:12]
            hits = await found(store, query, limit=12)
            assert hits.ids == [each.id for each in expected]
            np.testing.assert_allclose(
                hits.scores, [true_cosine(query, each.embedding) for each in expected], atol=1e-6
            )
            assert hits.versions == [each.version for each in expected]
            assert hits.uris == [each.uri for each in expected]
            assert hits.tags == [each.tags for each in expected]
            assert hits.parents == [each.parent for each in expected]
            assert hits.boxes == [each.box for each in expected]

    async def test_scores_are_cosines_from_minus_one_to_one(self, harness: Harness) -> None:
        store = await prepared(harness)
        vectors = {"same": axis(0), "opposite": -axis(0), "across": axis(1)}
        await store.put([record(name, embedding=vector) for name, vector in vectors.items()])
        hits = await found(store, axis(0))
        assert hits.ids == ["same", "across", "opposite"]
        assert hits.scores == [1.0, 0.0, -1.0]

    async def test_ties_are_ordered_and_cut_by_the_code_points_of_the_id(self, harness: Harness) -> None:
        store = await prepared(harness)
        names = ["b", "a", "B", "ä", "z", "10", "9", "\uffff", "\U0001f431", "a\x00", "a "]
        await store.put([record(name, embedding=axis(2)) for name in names])
        await store.put([record("aa best", embedding=unit([0, 0, 1, 0.01, 0, 0, 0, 0]))])
        for limit in range(1, len(names) + 2):
            hits = await found(store, unit([0, 0, 1, 0.02, 0, 0, 0, 0]), limit=limit)
            assert hits.ids == ["aa best", *sorted(names)][:limit]

    async def test_a_threshold_is_inclusive(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([record(str(n), seed=n) for n in range(30)])
        query = vector_of(99)
        everything = await found(store, query, limit=30)
        for place in (0, 11, 29):
            hits = await found(store, query, limit=30, threshold=everything.scores[place])
            assert hits.ids == everything.ids[: place + 1]
        above = np.nextafter(everything.scores[0], 2.0)
        assert (await found(store, query, threshold=float(above))).ids == []
        assert len((await found(store, query, limit=3, threshold=-1.0)).ids) == 3

    async def test_a_limit_beyond_the_documents_gives_them_all(self, harness: Harness) -> None:
        store = await prepared(harness)
        assert (await found(store, vector_of(0), limit=10_000)).ids == []
        await store.put([record(f"{n:05d}", seed=n % 50) for n in range(1200)])
        hits = await found(store, vector_of(0), limit=10_000)
        assert sorted(hits.ids) == [f"{n:05d}" for n in range(1200)]
        pairs = list(zip(hits.scores, hits.ids, strict=True))
        assert pairs == sorted(pairs, key=lambda pair: (-pair[0], pair[1]))

    async def test_queries_are_answered_in_order_each_by_itself(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([record(f"{n:02d}", seed=n) for n in range(40)])
        queries = np.stack([vector_of(seed) for seed in (3, 500, 31, 3)])
        together = await store.search(SearchRequest(IMAGES.name, queries, MODEL, 5))
        assert [hits.ids[0] for hits in together][::2] == ["03", "31"]
        assert together == [await found(store, query, limit=5) for query in queries]
        assert await store.search(SearchRequest(IMAGES.name, queries[:0], MODEL, 5)) == []

    async def test_what_can_not_be_searched_is_refused_with_its_own_code(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([record("a")])
        for changes, code in (
            ({"collection": "nowhere"}, "collection_not_found"),
            ({"model_id": "model-b@1"}, "model_mismatch"),
            ({"queries": np.ones((1, DIMENSION + 1), np.float32)}, "dimension_mismatch"),
        ):
            with pytest.raises(VisualSearchError) as refused:
                await found(store, vector_of(0), **changes)
            assert refused.value.code == code

    async def test_a_replaced_picture_is_not_found_by_the_old_one(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([record("a", 1, embedding=axis(0)), *[record(f"x{n}", embedding=axis(3)) for n in range(20)]])
        await store.put([record("a", 2, embedding=axis(1))])
        hits = await found(store, axis(0), limit=30)
        assert (hits.ids.count("a"), max(hits.scores)) == (1, 0.0)
        assert (await found(store, axis(1), limit=1)).ids == ["a"]

    async def test_the_stored_embedding_is_a_query_for_itself(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([record(f"{n:02d}", seed=n) for n in range(40)])
        (stored,) = await store.get(IMAGES.name, ["17"], embedding=True)
        assert stored is not None
        assert stored.embedding is not None
        hits = await found(store, stored.embedding, limit=1)
        assert hits.ids == ["17"]
        assert hits.scores[0] == pytest.approx(1.0, abs=1e-7)

    # --- reads

    async def test_get_answers_in_order_with_none_for_the_missing(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([record("a", 1), record("b", 2, seed=1)])
        got = await store.get(IMAGES.name, ["b", "nobody", "a", "b"])
        assert [sample(each) for each in got] == [
            ("b", version(2), {"n": 2}), None, ("a", version(1), {"n": 1}), ("b", version(2), {"n": 2}),
        ]  # fmt: skip
        assert all(each.embedding is None and each.thumbnail is None for each in got if each)
        assert await store.get("nowhere", ["a", "b"]) == [None, None]
        assert await store.get(IMAGES.name, []) == []

    async def test_scroll_gives_every_document_once_in_the_order_of_code_points(self, harness: Harness) -> None:
        store = await prepared(harness)
        names = ["b", "a", "B", "ä", "aa", "\uffff", "\U0001f431", "a\x00", "1", "\x00", "\x01"]
        await store.put([record(name, seed=n) for n, name in enumerate(names)])
        assert await ids_of(store) == sorted(names)
        page = await store.scroll(IMAGES.name, after="a", limit=2)
        assert [each.id for each in page] == ["a\x00", "aa"]
        assert [each.embedding for each in page] == [None, None]
        assert await store.scroll(IMAGES.name, after="\U0010ffff") == []
        assert await store.scroll("nowhere") == []

    @pytest.mark.parametrize("limit", [2, 3, 100])
    async def test_recent_writes_are_listed_page_by_page_and_none_is_left_out(
        self, harness: Harness, limit: int
    ) -> None:
        """They come in about the order of their versions."""
        store = await prepared(harness)
        numbers = [2, 1, 3, 5, 4, 6, 9, 8, 10]
        outcomes = [(await store.put([record(f"{n}", n, seed=n)]))[0] for n in numbers]
        await store.put([record("7", 7, seed=7), record("gone", 11)])
        await store.delete([key("gone", 12)])
        digests = {each.version: each.digest for each in outcomes}
        seen: list[tuple[DocumentKey, str]] = []
        before: int | None = NEWEST
        while before is not None:
            page = await store.recent(version(6), before, limit)
            assert len(page.keys) == len(page.digests) <= limit
            seen += zip(page.keys, page.digests, strict=True)
            before = page.next
        assert len({each.id for each, _ in seen}) == len(seen)
        assert {each.id for each, _ in seen} >= {"6", "7", "8", "9", "10"}
        assert all(each.collection == IMAGES.name and each.id != "gone" for each, _ in seen)
        assert all(digests.get(each.version, digest) == digest for each, digest in seen)

    async def test_an_unknown_collection_has_no_documents(self, harness: Harness) -> None:
        store = await prepared(harness)
        assert await store.count("nowhere") == 0
        assert results(await store.update([replace(tag_update("a", 1, {}), collection="nowhere")])) == ["not_found"]

    async def test_status_counts_what_is_there(self, harness: Harness) -> None:
        store = await prepared(harness)
        other = Collection("other", "model-b@1", 2)
        await store.ensure_collection(other)
        await store.put([record("a", 1), record("b", 1), record("a", 2, seed=3)])
        await store.delete([key("b", 2)])
        status = await store.status()
        assert sorted(status.collections, key=lambda each: each[0].name) == [(IMAGES, 1), (other, 0)]
        assert status.format_version >= 1
        assert status.bytes_on_disk > 0

    async def test_verify_finds_nothing_wrong_and_names_every_document(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([record("a", 1), record("b", 2, thumbnail=b"t"), record("c", 3), record("a", 4, seed=9)])
        await store.delete([key("b", 5)])
        await store.update([tag_update("c", 6, {"x": 1})])
        report = await store.verify()
        assert list(report.faults) == []
        assert report.documents == 2
        assert sorted(report.keys, key=lambda each: each.id) == [
            DocumentKey(IMAGES.name, "a", version(4)), DocumentKey(IMAGES.name, "c", version(6)),
        ]  # fmt: skip

    # --- together

    async def test_a_search_after_the_acknowledgement_sees_every_write(self, harness: Harness) -> None:
        store = await prepared(harness)

        async def work(lane: int) -> None:
            here = unit([1, 0.001 * lane, 0, 0, 0, 0, 0, 0])
            away = axis(1 + lane % 7)
            for turn in range(6):
                number = 10 * turn + 1
                name = f"lane {lane}"
                await store.put([record(name, number, embedding=here)])
                assert name in (await found(store, here, limit=100, threshold=0.999)).ids
                await store.update([tag_update(name, number + 1, {"turn": turn})])
                hits = await found(store, here, limit=100, threshold=0.999)
                assert hits.tags[list(hits.ids).index(name)]["turn"] == turn
                await store.put([record(name, number + 2, embedding=away)])
                assert name not in (await found(store, here, limit=100, threshold=0.999)).ids
                await store.delete([key(name, number + 3)])
                assert name not in (await found(store, away, limit=100)).ids

        await asyncio.gather(*[work(lane) for lane in range(8)])
        assert await store.count(IMAGES.name) == 0
        assert list((await store.verify()).faults) == []

    async def test_a_document_that_is_replaced_all_the_time_is_in_every_answer_once(self, harness: Harness) -> None:
        store = await prepared(harness)
        names = [f"{n}" for n in range(5)]
        await store.put([record(name, 1, seed=0) for name in names])
        done = asyncio.Event()
        answers = []

        async def ask() -> None:
            while not done.is_set():
                answers.append(await found(store, vector_of(0), limit=20))

        async def replace_all() -> None:
            try:
                for number in range(2, 60):
                    await store.put([record(name, number, seed=0) for name in names])
            finally:
                done.set()

        await asyncio.gather(ask(), ask(), replace_all())
        assert answers
        for hits in answers:
            assert sorted(hits.ids) == names
            assert [tags["n"] for tags in hits.tags] == [int(each.split("-")[0], 16) for each in hits.versions]

    async def test_closing_twice_is_harmless_and_nothing_works_afterwards(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([record("a")])
        await store.close()
        await store.close()
        with pytest.raises(VisualSearchError) as refused:
            await store.put([record("b")])
        assert refused.value.code == "storage_unavailable"
        again = await harness.open()
        assert await ids_of(again) == ["a"]
