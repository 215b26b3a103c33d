"""The contract of a store, part five: filters. Written against `Store` alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from executors.index.store import Store
from tests.support.stores.records import (
    IMAGES,
    Harness,
    axis,
    found,
    ids_of,
    key,
    prepared,
    record,
    results,
    tag_update,
    true_cosine,
    unit,
    vector_of,
    where,
)

# The value of each document at `v`, which its name describes.
SAMPLES: dict[str, dict[str, Any]] = {
    "int": {"v": 1},
    "float": {"v": 1.0},
    "half": {"v": 0.5},
    "negative": {"v": -3},
    "minus zero": {"v": -0.0},
    "largest": {"v": 2**53},
    "almost": {"v": 2**53 - 1},
    "smallest": {"v": -(2**53)},
    "true": {"v": True},
    "false": {"v": False},
    "null": {"v": None},
    "digit": {"v": "1"},
    "word": {"v": "b"},
    "umlaut": {"v": "ü"},
    "cat": {"v": "\U0001f431"},
    "last of the plane": {"v": "\uffff"},
    "nul": {"v": "b\x00c"},
    "no text": {"v": ""},
    "list": {"v": [1, 5]},
    "mixed": {"v": ["b", None, 2.5]},
    "lists": {"v": [[7], [8]]},
    "no list": {"v": []},
    "object": {"v": {"w": 1}},
    "objects": {"v": [{"w": 1}, {"w": 9}]},
    "no object": {"v": {}},
    "dots": {"v.w": 1},
    "other": {"w": 1},
    "nothing": {},
    "morning": {"t": "2024-05-01T10:00:00+02:00"},
    "same morning": {"t": ["2024-05-01t08:00:00.000z", "no time"]},
    "a little later": {"t": "2024-05-01 08:00:00.000000001-00:00"},
    "day before": {"t": "2024-05-02T01:00:00+23:59"},
    "leap second": {"t": "2016-12-31T23:59:60Z"},
    "new year": {"t": "2017-01-01T01:00:00+01:00"},
    "first moment": {"t": "0000-01-01T00:00:00+23:59"},
    "last moment": {"t": "9999-12-31T23:59:59.9-23:59"},
    "no zone": {"t": "2024-05-01T10:00:00"},
    "no time": {"t": "2024-05-01"},
    "no day": {"t": "2023-02-29T10:00:00Z"},
    "empty key": {"": 1},
    "empty keys": {"": {"": 1}},
    "dollars": {"$lt": 1, "$$": {"$in": [2]}},
}
MOMENTS = {"morning", "same morning", "a little later", "day before", "leap second", "new year", "first moment",
           "last moment"}  # fmt: skip
WITHOUT_V = {name for name, tags in SAMPLES.items() if "v" not in tags}
NUMBERS = {"int", "float", "half", "negative", "minus zero", "largest", "almost", "smallest", "list", "mixed", "lists"}
TEXTS = {"digit", "word", "umlaut", "cat", "last of the plane", "nul", "no text", "mixed"}
ALL = set(SAMPLES)


def moment(text: str) -> dict[str, str]:
    return {"$datetime": text}


MEANINGS: list[tuple[dict[str, Any], set[str]]] = [
    ({}, ALL),
    ({"v": 1}, {"int", "float", "list"}),
    ({"v": {"$eq": 1.0}}, {"int", "float", "list"}),
    ({"v": True}, {"true"}),
    ({"v": False}, {"false"}),
    ({"v": "1"}, {"digit"}),
    ({"v": "b"}, {"word", "mixed"}),
    ({"v": "b\x00c"}, {"nul"}),
    ({"v": ""}, {"no text"}),
    ({"v": 0}, {"minus zero"}),
    ({"v": None}, {"null", "mixed"}),
    ({"v": 7}, {"lists"}),
    ({"v": 2**53}, {"largest"}),
    ({"v": 2**53 - 1}, {"almost"}),
    ({"v": {"$ne": 1}}, ALL - {"int", "float", "list"}),
    ({"v": {"$ne": None}}, ALL - {"null", "mixed"}),
    ({"v": {"$in": [1, "b", None]}}, {"int", "float", "list", "word", "mixed", "null"}),
    ({"v": {"$in": [True, 0.5]}}, {"true", "half"}),
    ({"v": {"$in": []}}, set()),
    ({"v": {"$nin": [1, "b", None]}}, ALL - {"int", "float", "list", "word", "mixed", "null"}),
    ({"v": {"$nin": []}}, ALL),
    ({"v": {"$lt": 1}}, {"half", "negative", "minus zero", "smallest"}),
    ({"v": {"$lte": 1}}, {"half", "negative", "minus zero", "smallest", "int", "float", "list"}),
    ({"v": {"$gt": 1}}, {"largest", "almost", "list", "mixed", "lists"}),
    ({"v": {"$gte": 2**53}}, {"largest"}),
    ({"v": {"$gt": 2**53 - 1}}, {"largest"}),
    ({"v": {"$gte": 2, "$lt": 5}}, {"mixed", "list"}),
    ({"v": {"$gt": -1e300, "$lt": 1e300}}, NUMBERS),
    ({"v": {"$gte": ""}}, TEXTS),
    ({"v": {"$gt": "b"}}, {"umlaut", "cat", "last of the plane", "nul"}),
    ({"v": {"$gt": "\uffff"}}, {"cat"}),
    ({"v": {"$lte": "b"}}, {"digit", "word", "no text", "mixed"}),
    ({"v": {"$lt": "b\x00d", "$gt": "b\x00"}}, {"nul"}),
    ({"v": {"$exists": True}}, ALL - WITHOUT_V),
    ({"v": {"$exists": False}}, WITHOUT_V),
    ({"v.w": 1}, {"object", "objects", "dots"}),
    ({"v.w": {"$gt": 5}}, {"objects"}),
    ({"v.w": {"$exists": True}}, {"object", "objects", "dots"}),
    ({"nowhere": 1}, set()),
    ({"nowhere": {"$ne": 1}}, ALL),
    ({"v": {"$not": {"$lt": 1}}}, ALL - {"half", "negative", "minus zero", "smallest"}),
    ({"$not": {"v": {"$exists": True}}}, WITHOUT_V),
    ({"$or": [{"v": "b"}, {"w": 1}]}, {"word", "mixed", "other"}),
    ({"$and": [{"v": {"$gt": 4}}, {"v": {"$lt": 2}}]}, {"list"}),
    ({"v": 1, "w": 1}, set()),
    ({"$or": [{"v": {"$exists": False}, "w": {"$ne": 1}}, {"$not": {"v": {"$nin": ["ü"]}}}]},
     {"dots", "nothing", "umlaut"} | {name for name in ALL if {"t", "", "$lt"} & set(SAMPLES[name])}),
    ({"t": moment("2024-05-01T08:00:00Z")}, {"morning", "same morning"}),
    ({"t": {"$eq": moment("2024-05-01T01:00:00-07:00")}}, {"morning", "same morning"}),
    ({"t": {"$ne": moment("2024-05-01T08:00:00Z")}}, ALL - {"morning", "same morning"}),
    ({"t": {"$gt": moment("2024-05-01T08:00:00Z")}}, {"a little later", "last moment"}),
    ({"t": {"$gte": moment("2024-05-01T08:00:00Z")}}, {"morning", "same morning", "a little later", "last moment"}),
    ({"t": {"$gte": moment("2024-05-01T01:01:00Z"), "$lt": moment("2024-05-01T08:00:00Z")}}, {"day before"}),
    ({"t": {"$lte": moment("2017-01-01T00:00:00Z")}}, {"leap second", "new year", "first moment"}),
    ({"t": {"$in": [moment("2017-01-01T00:00:00Z"), "no time", 5]}}, {"leap second", "new year", "same morning"}),
    ({"t": {"$nin": [moment("2017-01-01T00:00:00Z")]}}, ALL - {"leap second", "new year"}),
    ({"t": {"$lt": moment("0000-01-01T00:00:00Z")}}, {"first moment"}),
    ({"t": {"$gt": moment("9999-12-31T23:59:59Z")}}, {"last moment"}),
    ({"t": {"$gte": moment("0000-01-01T00:00:00+23:59")}}, MOMENTS),
    ({"v": {"$gte": moment("0000-01-01T00:00:00+23:59")}}, set()),
    ({"t": "2024-05-01T10:00:00+02:00"}, {"morning"}),
    ({"t": {"$gt": "2024-05-01T10:00:00+02:00"}}, {"day before", "last moment", "same morning"}),
    ({"": 1}, {"empty key"}),
    ({"": {"$exists": True}}, {"empty key", "empty keys"}),
    ({".": 1}, {"empty keys"}),
    ({"$$lt": 1}, {"dollars"}),
    ({"$$lt": {"$lt": 1}}, set()),
    ({"$$$.$in": {"$gt": 1}}, {"dollars"}),
    ({"$$or": {"$exists": False}}, ALL),
]  # fmt: skip


async def with_samples(harness: Harness) -> Store:
    store = await prepared(harness)
    await store.put([record(name, seed=n, tags=tags) for n, (name, tags) in enumerate(SAMPLES.items())])
    return store


async def crowd(harness: Harness, size: int = 400) -> Store:
    """Documents whose tag `n` counts, with vectors unrelated to it."""
    store = await prepared(harness)
    await store.put([record(f"{n:04d}", seed=n, tags={"n": n, "odd": bool(n % 2)}) for n in range(size)])
    await harness.settle(store)
    return store


class FilterContract:
    """See `store_contract.StoreContract`, which needs the fixture `harness`."""

    async def test_every_operator_means_what_the_table_says(self, harness: Harness) -> None:
        store = await with_samples(harness)
        for turn in range(2):
            for given, expected in MEANINGS:
                for exact in (True, False):
                    hits = await found(store, vector_of(99), limit=100, where=where(given), exact=exact)
                    assert set(hits.ids) == expected, given
                    assert len(hits.ids) == len(expected)
                page = await store.scroll(IMAGES.name, where=where(given))
                assert [each.id for each in page] == sorted(expected), given
                assert await store.count(IMAGES.name, where(given)) == len(expected), given
            if turn == 0:
                await harness.settle(store)
                await store.close()
                store = await harness.open()

    async def test_matching_documents_are_ranked_as_without_a_filter(self, harness: Harness) -> None:
        store = await crowd(harness)
        query = vector_of(10_000)
        everything = await found(store, query, limit=400, exact=True)
        filters: list[tuple[dict[str, Any], Callable[[int], bool]]] = [
            ({"odd": True}, lambda n: n % 2 == 1),
            ({"n": {"$gte": 350}}, lambda n: n >= 350),
        ]
        for given, matching in filters:
            for exact in (True, False):
                hits = await found(store, query, limit=20, where=where(given), exact=exact)
                expected = [
                    (name, score)
                    for name, score in zip(everything.ids, everything.scores, strict=True)
                    if matching(int(name))
                ][:20]
                assert hits.ids == [name for name, _ in expected]
                assert hits.scores == pytest.approx([score for _, score in expected], abs=1e-6)

    async def test_as_many_hits_as_match_come_back(self, harness: Harness) -> None:
        """However far the matching ones are from the query, and however few they are."""
        store = await prepared(harness)
        near = [record(f"near {n}", embedding=unit([1, 0.01 * n, 0, 0, 0, 0, 0, 0]), tags={"a": 1}) for n in range(300)]
        far = [record(f"far {n}", embedding=unit([-1, 0, 0.01 * n, 0, 0, 0, 0, 0]), tags={"a": 2}) for n in range(7)]
        await store.put([*near, *far])
        await harness.settle(store)
        for limit in (1, 6, 7, 8, 50):
            hits = await found(store, axis(0), limit=limit, where=where({"a": 2}))
            assert len(hits.ids) == min(limit, 7)
            assert all(name.startswith("far") for name in hits.ids)
        assert len((await found(store, axis(0), limit=50, threshold=-0.9, where=where({"a": 2}))).ids) == 0

    async def test_a_filter_sees_every_change_of_the_tags(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([record(name, 1, seed=n, tags={"x": 1}) for n, name in enumerate("abcdef")])

        async def ones() -> str:
            names = [each.id for each in await store.scroll(IMAGES.name, where=where({"x": 1}))]
            assert sorted((await found(store, vector_of(77), 100, where=where({"x": 1}))).ids) == names
            assert await store.count(IMAGES.name, where({"x": 1})) == len(names)
            others = [each.id for each in await store.scroll(IMAGES.name, where=where({"x": {"$ne": 1}}))]
            assert sorted([*names, *others]) == await ids_of(store)
            return "".join(names)

        assert await ones() == "abcdef"
        await store.update(
            [tag_update("a", 2, {"x": 2}), tag_update("b", 2, {"x": None}), tag_update("c", 2, {"y": 1})]
        )
        assert await ones() == "cdef"
        await store.put([record("d", 2, seed=9, tags={}), record("e", 2, seed=9, tags={"x": [2, 1]})])
        assert await ones() == "cef"
        await store.delete([key("c", 3)])
        assert await ones() == "ef"
        await store.update([tag_update("a", 4, {"x": 1.0}, "replace"), tag_update("f", 4, {"x": "1"})])
        assert await ones() == "ae"
        await store.put([record("g", 1, seed=3, tags={"x": 1}), record("g", 2, seed=3, tags={"x": 3})])
        assert await ones() == "ae"
        await store.close()
        store = await harness.open()
        assert await ones() == "ae"

    async def test_long_texts_and_many_tags_are_filtered_exactly(self, harness: Harness) -> None:
        store = await prepared(harness)
        stem = "é" * 700
        many = {f"key {n}": n for n in range(1500)}
        await store.put(
            [
                record("one", seed=0, tags={"long": f"{stem}a"}),
                record("two", seed=1, tags={"long": f"{stem}b", "list": list(range(3000))}),
                record("many", seed=2, tags=many),
                record("stem", seed=3, tags={"long": stem}),
            ]
        )
        for given, expected in (
            ({"long": f"{stem}a"}, ["one"]),
            ({"long": {"$gt": stem}}, ["one", "two"]),
            ({"long": {"$gt": f"{stem}a"}}, ["two"]),
            ({"long": {"$lte": stem}}, ["stem"]),
            ({"long": {"$ne": f"{stem}a"}}, ["many", "stem", "two"]),
            ({"long": {"$in": [f"{stem}b", "x"]}}, ["two"]),
            ({"list": 2999}, ["two"]),
            ({"list": {"$gt": 2999}}, []),
            ({"key 1499": 1499}, ["many"]),
            ({"key 1499": {"$exists": False}}, ["one", "stem", "two"]),
            ({"key 0": {"$lt": 1}, "key 1400": {"$gte": 1400}}, ["many"]),
        ):
            assert [each.id for each in await store.scroll(IMAGES.name, where=where(given))] == expected, given
        assert results(await store.update([tag_update("many", 2, {"key 1499": 7})])) == ["updated"]
        assert await store.count(IMAGES.name, where({"key 1499": 1499})) == 0
        assert await store.count(IMAGES.name, where({"key 1499": 7})) == 1

    async def test_queries_of_one_request_share_the_filter(self, harness: Harness) -> None:
        store = await crowd(harness, 60)
        queries = np.stack([vector_of(seed) for seed in (200, 201)])
        for query in queries:
            hits = await found(store, query, limit=5, where=where({"n": {"$lt": 30}}))
            expected = sorted(range(30), key=lambda n: -true_cosine(query, vector_of(n)))[:5]
            assert hits.ids == [f"{n:04d}" for n in expected]

    async def test_a_page_by_filter_goes_on_after_an_id(self, harness: Harness) -> None:
        store = await crowd(harness)
        odd = where({"odd": True})
        pages: list[str] = []
        while page := await store.scroll(IMAGES.name, after=pages[-1] if pages else "", limit=37, where=odd):
            assert len(page) == 37 or page[-1].id == "0399"
            pages.extend(each.id for each in page)
        assert pages == [f"{n:04d}" for n in range(1, 400, 2)]
        (one,) = await store.scroll(IMAGES.name, after="0005", limit=1, where=odd, embedding=True, thumbnail=True)
        assert (one.id, one.thumbnail) == ("0007", None)
        np.testing.assert_array_equal(one.embedding, vector_of(7))
        assert await store.scroll(IMAGES.name, after="0399", where=odd) == []
        assert await store.scroll("nowhere", where=odd) == []
        assert await store.count("nowhere", odd) == 0
