"""A delete removes the document's descendants in all shards as well, and counts them."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executors.documents import ImageDoc
from executors.errors import VisualSearchError
from executors.index.wire.columns import unpack
from tests.support.flows.local_index import Caller, local_service


def doc(document_id: str, **fields: Any) -> ImageDoc:
    return ImageDoc.from_values(id=document_id, **fields)


def descendants(document: ImageDoc) -> list[str]:
    return list(unpack(document).get("descendants", []))


async def refused(call: Caller, *documents: ImageDoc, **parameters: Any) -> str:
    with pytest.raises(VisualSearchError) as caught:
        await call("/delete", *documents, **parameters)
    return caught.value.code


async def chain(call: Caller, ids: str = "abcdef") -> None:
    """Each came from the one before it, and lies in the next shard."""
    for n, each in enumerate(ids):
        await call.index(each, shard=n, parent=ids[n - 1] if n else None, tags={"n": n})


async def test_what_came_from_a_document_goes_with_it_through_all_shards(call: Caller) -> None:
    await chain(call)
    await call.index("other")
    answer = await call("/delete", doc("a"), doc("nobody"))
    assert [each.result for each in answer.documents] == ["deleted", "not_found"]
    assert [descendants(each) for each in answer.documents] == [["b", "c", "d", "e", "f"], []]
    assert answer.info()["deleted"] == 6
    assert await call.ids() == ["other"]


async def test_each_document_answers_for_what_came_from_it(call: Caller) -> None:
    for n, name in enumerate("xyz"):
        await call.index(name, shard=n)
        for child in range(n + 1):
            await call.index(f"{name}{child}", shard=n + child, parent=name)
            await call.index(f"{name}{child}-crop", shard=n + child + 1, parent=f"{name}{child}")
    answer = await call("/delete", doc("x"), doc("z"))
    assert [len(descendants(each)) for each in answer.documents] == [2, 6]
    assert answer.info()["deleted"] == 10
    assert await call.ids() == ["y", "y0", "y0-crop", "y1", "y1-crop"]


async def test_the_children_of_a_document_that_is_gone_go_too(call: Caller) -> None:
    await call.index("child", shard=1, parent="gone")
    await call.index("grandchild", shard=2, parent="child")
    answer = await call("/delete", doc("gone"))
    assert answer.documents[0].result == "not_found"
    assert answer.info()["deleted"] == 2
    assert await call.ids() == []


async def test_documents_that_came_from_each_other_are_deleted_once(call: Caller) -> None:
    await call.index("a", shard=0, parent="b")
    await call.index("b", shard=1, parent="a")
    answer = await call("/delete", doc("a"), doc("b"))
    assert answer.info()["deleted"] == 2
    assert await call.ids() == []


async def test_other_collections_are_not_touched(call: Caller) -> None:
    await call.index("p", collection="one")
    await call.index("c", shard=1, parent="p", collection="two")
    await call("/delete", doc("p"), collection="one")
    assert await call.ids(collection="two") == ["c"]


async def test_a_document_without_descendants_costs_one_message(call: Caller) -> None:
    await call.index("alone")
    call.stages.posted.clear()
    await call("/delete", doc("alone"))
    assert [endpoint for endpoint, _ in call.stages.posted] == ["/delete"]


async def test_a_filter_deletes_what_matches_and_what_came_from_it(call: Caller) -> None:
    await chain(call)
    for n in range(7):
        await call.index(f"k{n}", shard=n, tags={"n": 100 + n})
    answer = await call("/delete", filter={"n": {"$in": [2, 103, 104.0]}})
    assert answer.documents == []
    assert answer.info()["deleted"] == 6
    assert await call.ids() == ["a", "b", "k0", "k1", "k2", "k5", "k6"]
    assert (await call("/delete", filter={"n": 2})).info()["deleted"] == 0


async def test_many_matches_go_in_rounds(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executors.gateway.operations.deleter._MATCHES_AT_ONCE", 2)
    monkeypatch.setattr("executors.gateway.operations.deleter._PARENTS_AT_ONCE", 2)
    for n in range(15):
        await call.index(f"k{n:02}", shard=n, tags={"even": n % 2 == 0})
        await call.index(f"k{n:02}-crop", shard=n + 1, parent=f"k{n:02}")
    assert (await call("/delete", filter={"even": True})).info()["deleted"] == 16
    assert len(await call.ids()) == 14


async def test_integers_in_filters_stay_exact(call: Caller) -> None:
    await call.index("a", tags={"n": 2**53})
    await call.index("b", tags={"n": 2**53 - 1})
    assert (await call("/delete", filter={"n": 2**53 - 1})).info()["deleted"] == 1
    assert await call.ids() == ["a"]


@pytest.mark.parametrize("empty", [{}, {"$and": [{}]}, {"$or": [{"$and": [{}, {}]}]}, {"$not": {"$not": {}}}], ids=str)
async def test_a_filter_that_asks_for_nothing_deletes_nothing(call2: Caller, empty: dict[str, Any]) -> None:
    await call2.index("kept")
    assert await refused(call2, filter=empty) == "invalid_parameter"
    assert await call2.ids() == ["kept"]


async def test_wrong_requests_are_told_so(call2: Caller) -> None:
    await call2.index("kept", tags={"a": 1})
    assert await refused(call2, doc("kept"), filter={"a": 1}) == "invalid_parameter"
    assert await refused(call2) == "empty_request"
    assert await refused(call2, filter={"a": {"$near": 1}}) == "invalid_filter"
    assert await refused(call2, filter="a = 1") == "invalid_filter"
    assert await refused(call2, filter={"a": 1}, collection="nobodys") == "collection_not_found"
    assert await call2.ids() == ["kept"]


async def test_a_default_collection_without_a_write_is_empty(call: Caller) -> None:
    assert (await call("/delete", filter={"a": 1})).info()["deleted"] == 0


async def test_a_delete_that_a_shard_did_not_see_is_not_acknowledged(call2: Caller) -> None:
    await chain(call2)
    call2.stages.missing = {1}
    assert await refused(call2, doc("f"), doc("a")) == "shard_missing"
    assert await refused(call2, filter={"n": 1}) == "shard_missing"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parents=st.lists(st.integers(0, 11), min_size=12, max_size=12),
    roots=st.sets(st.integers(0, 11), min_size=1, max_size=3),
    shards=st.integers(1, 3),
    seed=st.integers(0, 9),
    by_filter=st.booleans(),
)
async def test_whatever_came_from_what_and_wherever_it_is(
    parents: list[int], roots: set[int], shards: int, seed: int, by_filter: bool
) -> None:
    call = Caller(*await local_service(shards))
    spread = random.Random(seed)
    for n, parent in enumerate(parents):
        await call.index(f"{n:02}", shard=spread.randrange(shards), parent=f"{parent:02}", tags={"root": n in roots})
    gone = set(roots)
    while more := {n for n, parent in enumerate(parents) if parent in gone} - gone:
        gone |= more
    if by_filter:
        answer = await call("/delete", filter={"root": True})
    else:
        answer = await call("/delete", *(doc(f"{n:02}") for n in sorted(roots)))
    assert answer.info()["deleted"] == len(gone)
    assert await call.ids() == [f"{n:02}" for n in range(12) if n not in gone]
