"""Writes and drops that were interrupted while a shard was away are completed before the next gateway serves anything."""

from __future__ import annotations

import pytest

from executors.errors import VisualSearchError
from tests.support.flows.local_index import Caller, local_service


async def next_gateway(call: Caller) -> Caller:
    """Another gateway, which joins the shards as they are."""
    return Caller(*await local_service(len(call.stages.shards), call.stages))


async def test_a_drop_that_not_every_shard_was_told_of_is_told_to_all(call2: Caller) -> None:
    """Or half of the collection would be served as if it were the whole."""
    for n in range(6):
        await call2.index(str(n), shard=n, collection="gone")
        await call2.index(str(n), shard=n, collection="stays")
    call2.stages.missing = {1}
    with pytest.raises(VisualSearchError) as refused:
        await call2("/collections/drop", collection="gone")
    assert refused.value.code == "shard_missing"
    call2.stages.missing = set()
    again = await next_gateway(call2)
    collections = (await again("/collections/list")).extra["collections"]
    assert [(each["name"], each["documents"]) for each in collections] == [("stays", 6)]
    assert await again.ids(collection="stays") == [str(n) for n in range(6)]


async def test_what_was_written_since_the_drop_stays(call2: Caller) -> None:
    for n in range(4):
        await call2.index(str(n), shard=n, collection="c")
    call2.stages.missing = {1}
    with pytest.raises(VisualSearchError):
        await call2("/collections/drop", collection="c")
    call2.stages.missing = set()
    assert await call2.index("new", shard=1, collection="c") == "created"
    assert await call2.index("other", shard=0, collection="c") == "created"
    assert await (await next_gateway(call2)).ids(collection="c") == ["new", "other"]


async def test_of_a_replaced_document_the_new_copy_alone_stays(call2: Caller) -> None:
    await call2.index("a", shard=0, tags={"n": 1})
    call2.stages.missing = {0}
    with pytest.raises(VisualSearchError):
        await call2.index("a", shard=1, tags={"n": 2})
    call2.stages.missing = set()
    again = await next_gateway(call2)
    assert (await again("/count")).extra["count"] == 1
    (found,) = (await again("/scroll")).documents
    assert dict(found.tags) == {"n": 2}
