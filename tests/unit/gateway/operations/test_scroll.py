"""Scrolling returns every document once, in the order of the ids, for all sizes of pages and numbers of shards; counts agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from executors.documents import ImageDoc
from executors.errors import VisualSearchError
from executors.gateway.rendering import FOUND, answer_to_json, documents_for_grpc
from tests.support.flows.local_index import Caller

IDS = ["0", "A", "a", "aa", "b", "ä", "日", "\U0001f600"]


async def filled(call: Caller) -> Caller:
    for n, each in enumerate(reversed(IDS)):
        await call.index(each, shard=n, tags={"n": n, "even": n % 2 == 0}, text=f"text {n}")
    return call


async def refused(call: Caller, endpoint: str, *documents: ImageDoc, **parameters: Any) -> str:
    with pytest.raises(VisualSearchError) as caught:
        await call(endpoint, *documents, **parameters)
    return caught.value.code


@pytest.mark.parametrize("limit", [1, 3, 8, 100])
async def test_all_documents_come_once_in_the_order_of_code_points(call: Caller, limit: int) -> None:
    await filled(call)
    assert await call.ids(limit=limit) == IDS
    assert await call.ids(limit=limit, filter={"even": True}) == IDS[1::2]
    assert await call.ids(limit=limit, after="b") == IDS[5:]


async def test_the_last_page_has_no_next(call: Caller) -> None:
    await filled(call)
    assert (await call("/scroll", limit=100)).extra == {"next": None}
    assert (await call("/scroll", limit=5)).extra == {"next": "b"}
    assert (await call("/scroll", limit=100, after="\U0001f600")).extra == {"next": None}


async def test_large_pages_travel_in_pieces(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(call)
    monkeypatch.setattr("executors.gateway.operations.scroller._DOCUMENTS_AT_ONCE", 3)
    monkeypatch.setattr("executors.gateway.operations.scroller._LARGE_DOCUMENTS_AT_ONCE", 2)
    for wanted in ([], ["embedding"]):
        call.stages.posted.clear()
        answer = await call("/scroll", limit=7, with_=wanted)
        assert [each.id for each in answer.documents] == IDS[:7]
        assert answer.extra["next"] == IDS[6]
        assert len(call.stages.posted) == (4 if wanted else 3)


async def test_a_page_that_grows_too_large_ends_early_and_says_where(
    call: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(call)
    monkeypatch.setattr("executors.gateway.operations.scroller._DOCUMENTS_AT_ONCE", 2)
    monkeypatch.setattr("executors.gateway.operations.scroller._PAGE_BYTES", 500)
    answer = await call("/scroll", limit=100)
    assert 2 <= len(answer.documents) < len(IDS)
    assert answer.extra["next"] == answer.documents[-1].id
    assert await call.ids(limit=100) == IDS


async def test_vectors_and_thumbnails_come_when_they_are_asked_for(call: Caller) -> None:
    vector = np.asarray([0.6, 0.8, 0.0, 0.0], np.float32)
    await call.index("a", shard=1, embedding=vector, thumbnail=b"\xff\xd8\xff small", box=[1, 2, 3, 4], uri="u")
    await call.index("b")
    plain = answer_to_json(FOUND, await call("/scroll"))["data"]
    assert [set(each) & {"embedding", "thumbnail"} for each in plain] == [set(), set()]
    both = await call("/scroll", with_=["embedding", "thumbnail"])
    first, second = answer_to_json(FOUND, both)["data"]
    np.testing.assert_array_equal(first["embedding"], vector)
    assert first["thumbnail"] == "/9j/IHNtYWxs"
    assert (first["box"], first["uri"], first["error"]) == ([1, 2, 3, 4], "u", None)
    assert "thumbnail" not in second
    assert documents_for_grpc(FOUND, both)[0].thumbnail == b"\xff\xd8\xff small"


async def test_the_same_fields_as_get(call: Caller) -> None:
    await filled(call)
    scrolled = answer_to_json(FOUND, await call("/scroll", with_=["embedding"]))["data"]
    got = answer_to_json(
        FOUND, await call("/get", *(ImageDoc.from_values(id=each) for each in IDS), with_=["embedding"])
    )
    assert [each | {"embedding": None} for each in scrolled] == [each | {"embedding": None} for each in got["data"]]


async def test_counts(call: Caller) -> None:
    await filled(call)
    assert (await call("/count")).info()["count"] == 8
    assert (await call("/count", filter={"n": {"$gte": 6}})).info()["count"] == 2
    assert (await call("/count", filter={"n": "6"})).info()["count"] == 0
    assert (await call("/count")).documents == []


@pytest.mark.parametrize("endpoint", ["/scroll", "/count"])
async def test_an_unknown_collection_is_not_found_and_the_default_one_is_empty(call: Caller, endpoint: str) -> None:
    for parameters in ({}, {"collection": "images"}):
        answer = await call(endpoint, **parameters)
        assert (answer.documents, answer.extra) in (([], {"next": None}), ([], {"count": 0}))
    assert await refused(call, endpoint, collection="nobodys") == "collection_not_found"
    await call.index("a", collection="mine")
    assert (await call(endpoint, collection="mine", filter={"x": 1})).extra in ({"next": None}, {"count": 0})


@pytest.mark.parametrize("endpoint", ["/scroll", "/count"])
async def test_a_missing_shard_is_refused_or_flagged(call2: Caller, endpoint: str) -> None:
    await filled(call2)
    call2.stages.missing = {0}
    assert await refused(call2, endpoint) == "shard_missing"
    info = (await call2(endpoint, allow_partial=True)).info()
    assert (info["shards"], info["partial"]) == ({"total": 2, "answered": 1}, True)


@pytest.mark.parametrize("endpoint", ["/scroll", "/count"])
async def test_wrong_requests_are_told_so(call2: Caller, endpoint: str) -> None:
    assert await refused(call2, endpoint, ImageDoc.from_values(id="a")) == "invalid_parameter"
    assert await refused(call2, endpoint, filter={"a": []}) == "invalid_filter"
    assert await refused(call2, endpoint, filter={"$where": "1"}) == "invalid_filter"
    assert await refused(call2, endpoint, limt=1) == "invalid_parameter"
    assert await refused(call2, endpoint, collection="a/b") == "invalid_parameter"
