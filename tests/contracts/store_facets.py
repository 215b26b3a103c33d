"""The contract of a store, part nine: facets, compared with counts made by hand. Written against `Store` alone."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from executors.errors import VisualSearchError
from executors.index.store import Store
from tests.contracts.store_filters import SAMPLES
from tests.support.stores.filter_meaning import THERE, documents, filters, holds, reached
from tests.support.stores.records import IMAGES, Harness, key, prepared, record, tag_update, where

Counts = dict[tuple[str, Any], int]
_TYPES = {bool: "boolean", int: "number", float: "number", str: "text", type(None): "null"}


def brute(tags: list[dict[str, Any]], path: str) -> Counts:
    """The documents that have each value at the path, one by one."""
    counts: Counter[tuple[str, Any]] = Counter()
    for each in tags:
        counts.update({(_TYPES[type(value)], value) for value in reached(each, path) if value is not THERE})
    return dict(counts)


async def counted(store: Store, *paths: str, given: dict[str, Any] | None = None) -> tuple[int, list[Counts]]:
    """The total and the counts of each path, of which no value may stand twice."""
    found = await store.facets(IMAGES.name, paths, None if given is None else where(given))
    for path in found.counts:
        for value, count in path:
            assert count > 0
            assert not isinstance(value, float) or not value.is_integer() or abs(value) > 2**53, (
                "a whole number is whole"
            )
        assert len({(_TYPES[type(value)], value) for value, _ in path}) == len(path)
    return found.total, [{(_TYPES[type(value)], value): count for value, count in path} for path in found.counts]


async def filled(harness: Harness, tags: list[dict[str, Any]]) -> Store:
    store = await prepared(harness)
    await store.put([record(f"{n:04d}", seed=n, tags=each) for n, each in enumerate(tags)])
    return store


class FacetContract:
    """See `store_contract.StoreContract`, which needs the fixture `harness`."""

    async def test_every_value_is_counted_as_filters_compare_it(self, harness: Harness) -> None:
        tags = list(SAMPLES.values())
        store = await filled(harness, tags)
        paths = ["v", "v.w", "w", "t", "nowhere", "", ".", "$lt", "$$.$in"]
        for turn in range(2):
            total, counts = await counted(store, *paths)
            assert total == len(tags)
            assert counts == [brute(tags, path) for path in paths]
            for (kind, value), count in counts[0].items():
                assert await store.count(IMAGES.name, where({"v": value})) == count, (kind, value)
            if turn == 0:
                await harness.settle(store)
                await store.close()
                store = await harness.open()

    async def test_a_facet_leaves_out_the_conditions_on_its_own_path(self, harness: Harness) -> None:
        tags: list[dict[str, Any]] = [
            {"brand": "abc"[n % 3], "size": n % 4, "sold": n % 2 == 0, "at": {"shop": n % 5}} for n in range(60)
        ]
        store = await filled(harness, tags)
        given = {"brand": {"$in": ["a", "b"]}, "$and": [{"size": {"$gt": 0}}, {"size": {"$lt": 3}}], "at.shop": 1}
        total, (brand, size, sold, shop) = await counted(store, "brand", "size", "sold", "at.shop", given=given)
        assert total == sum(holds(given, each) for each in tags)
        assert brand == brute([each for each in tags if 0 < each["size"] < 3 and each["at"]["shop"] == 1], "brand")
        assert size == brute([each for each in tags if each["brand"] in "ab" and each["at"]["shop"] == 1], "size")
        assert sold == brute([each for each in tags if holds(given, each)], "sold")
        assert shop == brute([each for each in tags if each["brand"] in "ab" and 0 < each["size"] < 3], "at.shop")
        # A condition that touches another path, too, stays.
        either = {"$or": [{"brand": "a"}, {"size": 0}]}
        _, (brand,) = await counted(store, "brand", given=either)
        assert brand == brute([each for each in tags if holds(either, each)], "brand")
        same = {"$or": [{"brand": "a"}, {"brand": "b"}], "$not": {"brand": "c"}}
        assert await counted(store, "brand", given=same) == (40, [brute(tags, "brand")])

    async def test_facets_see_every_change(self, harness: Harness) -> None:
        store = await filled(harness, [{"x": n % 2} for n in range(6)])

        async def xs() -> tuple[int, Counts]:
            total, (counts,) = await counted(store, "x")
            filtered, again = await counted(store, "x", given={"none": {"$exists": False}})
            assert (filtered, again) == (total, [counts])
            return total, counts

        assert await xs() == (6, {("number", 0): 3, ("number", 1): 3})
        await store.delete([key("0001", 2)])
        assert await xs() == (5, {("number", 0): 3, ("number", 1): 2})
        await store.update([tag_update("0003", 2, {"x": [0, 0.0, "0", 1]}), tag_update("0005", 2, {"x": None})])
        assert await xs() == (5, {("number", 0): 4, ("number", 1): 1, ("text", "0"): 1})
        await store.put([record("0000", 2, seed=0, tags={"x": {"y": 1}}), record("0002", 2, seed=2, tags={"x": []})])
        assert await xs() == (5, {("number", 0): 2, ("number", 1): 1, ("text", "0"): 1})
        await store.drop_collection(IMAGES.name, record("", 9).version)
        assert await store.facets(IMAGES.name, ["x"], None) == await store.facets("nowhere", ["x"], None)

    async def test_nothing_is_counted_where_there_is_nothing(self, harness: Harness) -> None:
        store = await prepared(harness)
        for name in (IMAGES.name, "nowhere"):
            for given in (None, where({"v": 1})):
                found = await store.facets(name, ["v", "w"], given)
                assert (found.total, [list(each) for each in found.counts]) == (0, [[], []])

    async def test_long_texts_and_many_tags_are_counted(self, harness: Harness) -> None:
        stem = "é" * 700
        tags: list[dict[str, Any]] = [
            *({"v": f"{stem}{n % 2}"} for n in range(5)),
            {"v": "é" * 20_000},
            {"v": stem, **{f"key {n}": n for n in range(1500)}},
            {"v": list(range(1200))},
            {"v": [stem, 7]},
        ]
        store = await filled(harness, tags)
        total, (counts,) = await counted(store, "v")
        assert (total, counts) == (len(tags), brute(tags, "v"))
        given = {"key 1": {"$exists": False}}
        _, (counts, others) = await counted(store, "v", "key 3", given=given)
        assert counts == brute([each for each in tags if "key 1" not in each], "v")
        assert others == {}
        assert (await counted(store, "key 3"))[1] == [{("number", 3): 1}]

    @pytest.mark.parametrize("seed", range(3))
    async def test_any_facet_under_any_filter(self, harness: Harness, seed: int) -> None:
        """Compared with the second evaluator of filters, for filters none of whose conditions is left out."""
        tags = list(documents(seed, 120).values())
        store = await filled(harness, tags)
        for given in filters(seed, 15):
            matching = [each for each in tags if holds(given, each)]
            whole = {"$or": [given, {"$and": [{"not there": 1}, {"nor there": 1}]}]}
            total, counts = await counted(store, "a", "b", "a.b", given=whole)
            assert total == len(matching)
            assert counts == [brute(matching, path) for path in ("a", "b", "a.b")], given

    async def test_too_many_values_are_refused(self, harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("executors.index.facets.MAX_CHARACTERS", 100_000)
        store = await filled(harness, [{"v": f"{n}" * 60_000, "w": n % 2} for n in range(3)])
        with pytest.raises(VisualSearchError) as refused:
            await store.facets(IMAGES.name, ["w", "v"], None)
        assert (refused.value.code, refused.value.details["path"]) == ("too_many_values", "v")
        assert (await counted(store, "w"))[1] == [{("number", 0): 2, ("number", 1): 1}]
