"""Facets over any number of shards: exact, the most frequent first, with what was not shown counted."""

from __future__ import annotations

from typing import Any

import pytest

from executors.errors import VisualSearchError
from executors.gateway.rendering import WRITTEN, answer_to_json
from tests.support.flows.local_index import Caller

TAGS: list[dict[str, Any]] = [
    {"brand": "acme", "price": 1, "sold": True},
    {"brand": "acme", "price": 1.0},
    {"brand": "acme", "price": 2.5, "sold": False},
    {"brand": ["zeta", "zeta", "acme"], "price": "1"},
    {"brand": "zeta", "sold": None},
    {"brand": {"name": "zeta"}},
    {},
]


async def filled(call: Caller) -> Caller:
    for n, tags in enumerate(TAGS):
        await call.index(f"{n}", shard=n, tags=tags)
    return call


async def facets(call: Caller, *paths: str, **parameters: Any) -> tuple[int, list[tuple[list[Any], int]]]:
    answer = await call("/facets", paths=list(paths), **parameters)
    body = answer_to_json(WRITTEN, answer)
    assert body["data"] == []
    found = body["parameters"]["facets"]
    assert [each["path"] for each in found] == list(paths)
    shown = [([(each["value"], each["count"]) for each in facet["values"]], facet["more"]) for facet in found]
    return body["parameters"]["count"], shown


async def refused(call: Caller, **parameters: Any) -> VisualSearchError:
    with pytest.raises(VisualSearchError) as caught:
        await call("/facets", **parameters)
    return caught.value


async def test_values_of_all_shards_are_added_up_and_typed(call: Caller) -> None:
    await filled(call)
    count, (brand, price, sold, name, nowhere) = await facets(call, "brand", "price", "sold", "brand.name", "nowhere")
    assert count == 7
    assert brand == ([("acme", 4), ("zeta", 2)], 0)
    assert repr(price) == repr(([(1, 2), (2.5, 1), ("1", 1)], 0))
    assert repr(sold) == repr(([(None, 1), (False, 1), (True, 1)], 0))
    assert (name, nowhere) == (([("zeta", 1)], 0), ([], 0))


async def test_only_the_most_frequent_are_shown_and_the_others_counted(call: Caller) -> None:
    await filled(call)
    _, (brand, price) = await facets(call, "brand", "price", limit=1)
    assert (brand, price) == (([("acme", 4)], 1), ([(1, 2)], 2))


async def test_a_facet_leaves_out_the_filter_on_itself(call: Caller) -> None:
    await filled(call)
    count, (brand, price) = await facets(call, "brand", "price", filter={"brand": "zeta", "price": {"$exists": True}})
    assert count == 1
    assert brand == ([("acme", 4), ("zeta", 1)], 0)
    assert price == ([("1", 1)], 0)


async def test_collections_that_do_not_exist(call: Caller) -> None:
    assert await facets(call, "brand") == (0, [([], 0)])
    assert (await refused(call, paths=["a"], collection="nothing")).code == "collection_not_found"


async def test_a_shard_that_is_missing(call2: Caller) -> None:
    await filled(call2)
    call2.stages.missing = {1}
    assert (await refused(call2, paths=["brand"])).code == "shard_missing"
    answer = await call2("/facets", paths=["brand"], allow_partial=True)
    assert answer.info()["partial"]
    assert answer.extra["count"] == 4


async def test_values_that_are_too_many_in_all_shards_together(call2: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(call2)
    monkeypatch.setattr("executors.index.facets.MAX_CHARACTERS", 7)
    assert (await refused(call2, paths=["brand"])).code == "too_many_values"
    monkeypatch.setattr("executors.index.facets.MAX_CHARACTERS", 8)
    assert (await facets(call2, "brand"))[1] == [([("acme", 4), ("zeta", 2)], 0)]


@pytest.mark.parametrize(
    ("parameters", "part"),
    [
        ({}, "paths"),
        ({"paths": []}, "paths"),
        ({"paths": ["a", "a"]}, "paths: names a tag twice"),
        ({"paths": [""]}, "paths.0"),
        ({"paths": "a"}, "paths"),
        ({"paths": [f"{n}" for n in range(17)]}, "paths"),
        ({"paths": ["a"], "limit": 0}, "limit"),
        ({"paths": ["a"], "limit": 1001}, "limit"),
        ({"paths": ["a"], "offset": 1}, "offset: unknown parameter"),
    ],
)
async def test_wrong_parameters_are_named(call2: Caller, parameters: dict[str, Any], part: str) -> None:
    error = await refused(call2, **parameters)
    assert error.code == "invalid_parameter"
    assert part in error.message
