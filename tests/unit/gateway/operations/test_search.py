"""The options of a search; any number of shards gives the same answers as one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from executors.documents import ImageDoc
from executors.errors import VisualSearchError
from executors.gateway.operations.search_parameters import shard_parameters
from executors.gateway.parameters import SearchParameters, parse_parameters
from executors.gateway.rendering import SEARCHED, answer_to_json
from tests.support.flows.local_index import Caller

VECTORS = np.linalg.qr(np.random.default_rng(3).normal(size=(4, 4)))[0].astype(np.float32)


async def filled(call: Caller) -> Caller:
    for n in range(12):
        angle = n / 20
        vector = np.cos(angle) * VECTORS[0] + np.sin(angle) * VECTORS[1]
        tags: dict[str, Any] = {"n": n, "brand": "abc"[n % 3], "nested": {"size": n / 2}}
        if n % 4 == 0:
            del tags["brand"]
        await call.index(f"d{n:02}", shard=n, embedding=vector, tags=tags, parent=f"p{n // 3}" if n > 5 else None)
    return call


async def search(call: Caller, **parameters: Any) -> list[dict[str, Any]]:
    answer = await call("/search", ImageDoc.from_values(embedding=VECTORS[0]), **parameters)
    body = answer_to_json(SEARCHED, answer)
    assert body["data"][0]["error"] is None
    return list(body["data"][0]["matches"])


def ids(matches: list[dict[str, Any]]) -> list[str]:
    return [match["id"] for match in matches]


async def test_a_filter_gives_the_best_of_those_that_match(call: Caller) -> None:
    await filled(call)
    assert ids(await search(call, filter={"brand": "c"}, limit=2)) == ["d02", "d05"]
    assert ids(await search(call, filter={"nested.size": {"$gt": 4.5}, "$not": {"brand": "b"}})) == ["d11"]
    assert ids(await search(call, filter={"brand": {"$exists": False}}, offset=1)) == ["d04", "d08"]
    assert await search(call, filter={"brand": "nobodys"}) == []


@pytest.mark.parametrize("grouped", [{}, {"group_by": "brand"}, {"group_by": "parent"}])
async def test_a_document_is_left_out_of_what_resembles_it(call: Caller, grouped: dict[str, str]) -> None:
    await filled(call)

    async def like(**parameters: Any) -> list[str]:
        answer = await call("/search", like="d03", **parameters, **grouped)
        return ids(answer_to_json(SEARCHED, answer)["data"][0]["matches"])

    everything = await like(limit=12, exclude_self=True)
    assert "d03" not in everything
    assert (await like(limit=12))[0] == "d03"
    if not grouped:
        assert everything == [each for each in await like(limit=12) if each != "d03"]
    if grouped == {"group_by": "brand"}:
        # Its group is still there, with its next best.
        assert sorted(everything) == ["d02", "d05", "d06"] or sorted(everything) == ["d01", "d02", "d06"]
    pages = [await like(limit=2, offset=offset, exclude_self=True) for offset in range(0, 12, 2)]
    assert [each for page in pages for each in page] == everything


async def test_only_what_is_searched_with_can_be_left_out(call: Caller) -> None:
    with pytest.raises(VisualSearchError, match=r"invalid_parameter: exclude_self needs `like`"):
        await call("/search", ImageDoc.from_values(embedding=VECTORS[0]), exclude_self=True)


async def test_groups_are_counted_by_limit_and_offset(call: Caller) -> None:
    await filled(call)
    matches = await search(call, group_by="brand", limit=2, offset=1)
    assert [(match["id"], match["group"]) for match in matches] == [("d02", "c"), ("d03", "a")]
    matches = await search(call, group_by="parent", limit=20)
    assert [(match["id"], match["group"]) for match in matches] == [
        *((f"d{n:02}", f"d{n:02}") for n in range(6)),
        ("d06", "p2"),
        ("d09", "p3"),
    ]
    assert [match["group"] for match in await search(call, group_by="nested.size", limit=3)] == [0.0, 0.5, 1.0]


async def test_fields_and_vectors(call: Caller) -> None:
    await filled(call)
    assert set((await search(call, limit=1))[0]) == {"id", "score", "uri", "tags", "parent", "box", "thumbnail_url"}
    assert set((await search(call, limit=1, fields=[]))[0]) == {"id", "score"}
    assert await search(call, limit=1, fields=["thumbnail_url"]) == [
        {"id": "d00", "score": pytest.approx(1), "thumbnail_url": "/thumbnail?collection=images&id=d00"}
    ]
    match = (await search(call, limit=1, offset=7, fields=["tags.nested.size", "parent"], with_=["embedding"]))[0]
    assert (match["id"], match["tags"], match["parent"]) == ("d07", {"nested": {"size": 3.5}}, "p2")
    assert match["score"] == pytest.approx(float(match["embedding"] @ VECTORS[0]), abs=1e-6)


async def test_like_takes_the_same_parameters(call: Caller) -> None:
    await filled(call)
    answer = await call("/search", like="d00", filter={"brand": "b"}, group_by="brand", fields=["tags.n"])
    assert answer_to_json(SEARCHED, answer)["data"][0]["matches"] == [
        {"id": "d01", "score": pytest.approx(np.cos(1 / 20)), "tags": {"n": 1}, "group": "b"}
    ]


async def test_explain_says_for_each_query_how_each_shard_searched(call: Caller) -> None:
    await filled(call)
    queries = [ImageDoc.from_values(id=str(n), embedding=each) for n, each in enumerate(VECTORS[:2])]
    answer = await call("/search", *queries, explain=True)
    shards = len(call.stages.shards)
    assert answer.info()["explain"] == [{"shards": [{"shard": n} for n in range(shards)]}] * 2
    assert "explain" not in (await call("/search", *queries)).info()


def test_only_what_was_asked_for_travels_and_filters_travel_as_text() -> None:
    plain = shard_parameters(parse_parameters(SearchParameters, {"limit": 3, "allow_partial": True, "like": "a"}))
    assert plain == {"limit": 3, "offset": 0}
    asked = {
        "collection": "c",
        "limit": 3.0,
        "threshold": 0,
        "filter": {"n": {"$gt": 2**53 - 1}},
        "group_by": "parent",
        "fields": [],
        "with": ["embedding"],
        "exact": True,
        "ef": 64.0,
        "explain": True,
    }
    sent = shard_parameters(parse_parameters(SearchParameters, asked))
    assert sent == asked | {"limit": 3, "offset": 0, "ef": 64, "filter": '{"n":{"$gt":9007199254740991}}'}
