"""Collections come, are described as they are now, and go; also when another gateway does it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from executors.documents import ImageDoc
from executors.errors import VisualSearchError
from tests.support.flows.local_index import Caller, local_service


async def refused(call: Caller, endpoint: str, **parameters: Any) -> str:
    with pytest.raises(VisualSearchError) as caught:
        await call(endpoint, **parameters)
    return caught.value.code


async def other_gateway(call: Caller) -> Caller:
    return Caller(*await local_service(len(call.stages.shards), call.stages))


def described(name: str, documents: int = 0, model_id: str = "tiny@1", dimension: int = 4) -> dict[str, Any]:
    return {"name": name, "model_id": model_id, "dimension": dimension, "documents": documents}


async def test_a_collection_is_created_once_and_bound_to_the_flows_model(call: Caller) -> None:
    for result in ("created", "unchanged"):
        answer = await call("/collections/create", collection="new")
        assert answer.extra == {"collection": described("new"), "result": result}
    assert (await call("/collections/list")).extra == {"collections": [described("new")]}


async def test_collections_are_counted_over_all_shards_and_listed_by_name(call: Caller) -> None:
    for n in range(5):
        await call.index(str(n), shard=n, collection="b")
    await call.index("x", collection="A")
    assert (await call("/collections/list")).extra["collections"] == [described("A", 1), described("b", 5)]
    assert (await call("/collections/describe", collection="b")).extra == {"collection": described("b", 5)}


async def test_a_collection_of_another_model(call: Caller) -> None:
    answer = await call("/collections/create", collection="other", model_id="big@2", dimension=8.0)
    assert answer.extra["collection"] == described("other", 0, "big@2", 8)
    assert await call.index("a", collection="other") == "model_mismatch"
    vector = np.eye(8, dtype=np.float32)[0]
    assert await call.index("a", collection="other", model_id="big@2", embedding=vector) == "created"


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"model_id": "big@2", "dimension": 4}, "model_mismatch"),
        ({"model_id": "big@2"}, "invalid_parameter"),
        ({"dimension": 5}, "dimension_mismatch"),
        ({"dimension": 0}, "invalid_parameter"),
        ({"dimension": 4.5}, "invalid_parameter"),
        ({"dimension": 70_000}, "invalid_parameter"),
        ({"model_id": ""}, "invalid_parameter"),
        ({"model_id": "x" * 257, "dimension": 4}, "invalid_parameter"),
        ({"dimensions": 4}, "invalid_parameter"),
        ({"collection": "a b"}, "invalid_parameter"),
        ({"collection": ""}, "invalid_parameter"),
    ],
    ids=str,
)
async def test_what_does_not_fit_is_refused(call2: Caller, parameters: dict[str, Any], code: str) -> None:
    await call2("/collections/create", collection="c")
    assert await refused(call2, "/collections/create", **({"collection": "c"} | parameters)) == code
    assert (await call2("/collections/list")).extra["collections"] == [described("c")]


async def test_of_the_same_model_only_another_dimension_is_refused(call2: Caller) -> None:
    await call2("/collections/create", collection="c", model_id="big@2", dimension=8)
    assert await refused(call2, "/collections/create", collection="c", model_id="big@2", dimension=9) == (
        "dimension_mismatch"
    )
    assert await refused(call2, "/collections/create", collection="c") == "model_mismatch"


@pytest.mark.parametrize("endpoint", ["/collections/describe", "/collections/drop"])
async def test_a_collection_that_is_not_there_is_not_found(call: Caller, endpoint: str) -> None:
    assert await refused(call, endpoint, collection="nobodys") == "collection_not_found"
    assert await refused(call, endpoint) == "invalid_parameter"


async def test_a_dropped_collection_is_gone_with_its_documents_and_can_come_back(call: Caller) -> None:
    for n in range(5):
        await call.index(str(n), shard=n, collection="c")
    assert (await call("/collections/drop", collection="c")).extra == {"result": "deleted", "documents": 5}
    assert await refused(call, "/collections/describe", collection="c") == "collection_not_found"
    assert await refused(call, "/scroll", collection="c") == "collection_not_found"
    assert await call.index("1", shard=2, collection="c") == "created"
    assert await call.ids(collection="c") == ["1"]


async def test_a_write_through_a_gateway_that_has_not_heard_of_a_drop(call: Caller) -> None:
    other = await other_gateway(call)
    await call.index("a", collection="c")
    await other.index("b", collection="c", shard=1)
    await other("/collections/drop", collection="c")
    assert await call.index("new", collection="c", shard=1) == "created"
    assert await other.ids(collection="c") == ["new"]


async def test_a_collection_that_another_gateway_bound_anew_is_taken_as_it_is_now(call: Caller) -> None:
    other = await other_gateway(call)
    vector = np.eye(8, dtype=np.float32)[0]
    await call.index("a", collection="c")
    await other("/collections/drop", collection="c")
    assert await other.index("b", collection="c", model_id="big@2", embedding=vector) == "created"
    assert await call.index("c", collection="c", model_id="big@2", embedding=vector) == "created"
    assert await call.index("d", collection="c") == "model_mismatch"
    assert await call.ids(collection="c") == ["b", "c"]


async def test_another_length_of_vectors_is_taken_as_it_is_now(call: Caller) -> None:
    other = await other_gateway(call)
    await call("/collections/create", collection="c", model_id="big@2", dimension=8)
    await other("/collections/drop", collection="c")
    await other("/collections/create", collection="c", model_id="big@2", dimension=6)
    six = np.eye(6, dtype=np.float32)[0]
    assert await call.index("a", collection="c", model_id="big@2", embedding=six) == "created"


async def test_the_gateway_that_dropped_a_collection_stores_the_next_write_at_once(call: Caller) -> None:
    await call.index("a", collection="c")
    await call("/collections/drop", collection="c")
    call.stages.posted.clear()
    assert await call.index("a", collection="c") == "created"
    assert [endpoint for endpoint, _ in call.stages.posted].count("/index") == 1


async def test_the_shards_refuse_what_a_gateway_does_not_know_to_be_wrong(call: Caller) -> None:
    other = await other_gateway(call)
    await call.index("a", collection="c")
    await other("/collections/drop", collection="c")
    await other("/collections/create", collection="c", model_id="big@2", dimension=4)
    assert await call.index("late", collection="c") == "model_mismatch"
    assert await other.ids(collection="c") == []


async def test_a_collection_that_another_gateway_dropped_does_not_come_back(call: Caller) -> None:
    other = await other_gateway(call)
    await call.index("a", collection="gone")
    await other("/collections/drop", collection="gone")
    await call.index("b", collection="new")
    assert [each["name"] for each in (await call("/collections/list")).extra["collections"]] == ["new"]


async def test_nothing_is_listed_or_dropped_while_a_shard_is_missing(call2: Caller) -> None:
    await call2.index("a", collection="c", shard=1)
    call2.stages.missing = {0}
    for endpoint in ("/collections/list", "/collections/create", "/collections/drop"):
        parameters = {} if endpoint.endswith("list") else {"collection": "c"}
        assert await refused(call2, endpoint, **parameters) == "shard_missing"
    call2.stages.missing = set()
    assert await call2.index("b", collection="c", shard=0) == "created"


async def test_reindex_needs_a_collection_that_is_there(call: Caller) -> None:
    assert (await call("/reindex")).extra == {"ok": True}
    assert (await call("/reindex", collection="images")).extra == {"ok": True}
    assert await refused(call, "/reindex", collection="nobodys") == "collection_not_found"


async def test_verify_repairs_and_says_what(call: Caller) -> None:
    await call.index("a")
    report = (await call("/verify", repair=True)).extra
    assert report == {"ok": True, "documents": 1, "faults": [], "double_ids": [], "repaired": 0, "repairs": []}


async def test_requests_without_documents_refuse_documents(call2: Caller) -> None:
    with pytest.raises(VisualSearchError) as caught:
        await call2("/collections/list", ImageDoc.from_values(id="a"))
    assert caught.value.code == "invalid_parameter"
