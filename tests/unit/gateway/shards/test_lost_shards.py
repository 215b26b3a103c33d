"""While a shard is away, writes are refused before the others apply them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from executors.documents import ImageDoc
from executors.errors import VisualSearchError
from executors.gateway.health import Health
from tests.support.flows.local_index import Caller


async def refused(call: Caller, endpoint: str, *documents: ImageDoc, **parameters: Any) -> str:
    with pytest.raises(VisualSearchError) as caught:
        await call(endpoint, *documents, **parameters)
    return caught.value.code


def vector(document_id: str) -> ImageDoc:
    return ImageDoc.from_values(id=document_id, embedding=np.eye(4, dtype=np.float32)[1])


async def held(call: Caller) -> list[Any]:
    """Return the contents of the shard that answers."""
    store = call.stages.stores[0]
    collections = [each.name for each, _ in (await store.status()).collections]
    return collections + [(each.id, each.version, each.tags) for each in await store.scroll("images")]


async def test_writes_beside_a_lost_shard_change_nothing(call2: Caller) -> None:
    for n in range(8):
        await call2.index(f"{n}", shard=n, tags={"n": n})
    call2.stages.missing = {1}
    # Any request may notice the missing shard first; from then on it is known.
    assert await refused(call2, "/scroll") == "shard_missing"
    before = await held(call2)
    call2.stages.owner = 0
    writes: list[tuple[str, list[ImageDoc], dict[str, Any]]] = [
        ("/index", [vector("new"), vector("0")], {}),
        ("/update", [ImageDoc.from_values(id="0", tags={"n": 9})], {}),
        ("/delete", [ImageDoc.from_values(id="0")], {}),
        ("/delete", [], {"filter": {"n": {"$gte": 0}}}),
        ("/collections/drop", [], {"collection": "images"}),
        ("/collections/create", [], {"collection": "another"}),
    ]
    for endpoint, documents, parameters in writes:
        assert await refused(call2, endpoint, *documents, **parameters) == "shard_missing", endpoint
        assert await held(call2) == before, endpoint
    call2.stages.missing = set()
    assert (await call2("/count")).extra["count"] == 8
    assert await call2.index("new", shard=1) == "created"


async def test_reads_go_on_beside_a_lost_shard_where_a_part_will_do(call2: Caller) -> None:
    for n in range(4):
        await call2.index(f"{n}", shard=n)
    call2.stages.missing = {1}
    assert await refused(call2, "/search", vector("q")) == "shard_missing"
    answer = await call2("/search", vector("q"), allow_partial=True)
    assert answer.documents[0].error is None
    assert (answer.shards_answered, answer.shards_total) == (1, 2)


@pytest.mark.parametrize(("failing", "code"), [([1], "shard_missing"), ([0, 1], "storage_unavailable")])
async def test_health_tells_of_shards_that_fail_and_what_they_say_when_none_is_left(
    call2: Caller, failing: list[int], code: str
) -> None:
    call2.service.readiness.set_ready()
    health = Health(call2.service)
    for number in failing:
        await call2.stages.stores[number].close()
    _, report = await health.full()
    index = report["stages"]["index"]
    assert (index["ok"], index["error"]["code"]) == (False, code)
