"""Several gateways find a new index at the same moment: together they form one, in any order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest
from docarray import DocList

from executors.documents import ImageDoc
from executors.errors import VisualSearchError
from executors.gateway.flow.route import StageAnswer
from executors.gateway.shards.index_client import IndexClient
from executors.index.records import ShardIdentity
from tests.support.flows.local_index import Caller, LocalStages, local_service
from tests.support.stores.dictionary_store import DictionaryStore

SETTLE_MS = 1_000


class SlowStages(LocalStages):
    """Every request to the shards waits by chance before and after, and may be cut off."""

    def __init__(self, shards: int, chance: random.Random) -> None:
        super().__init__(shards)
        self.chance = chance
        self.cut_off_after: int | None = None

    async def post(
        self,
        endpoint: str,
        documents: Sequence[ImageDoc],
        parameters: dict[str, Any] | None = None,
        target: str | Sequence[str] | None = None,
    ) -> StageAnswer:
        await self._wait()
        answer = await super().post(endpoint, documents, parameters, target)
        if self.cut_off_after is not None:
            self.cut_off_after -= 1
            if self.cut_off_after < 0:
                raise VisualSearchError("unavailable", "the gateway was killed here")
        await self._wait()
        return answer

    async def _ask_one(self, *request: Any) -> DocList[ImageDoc]:
        await self._wait()
        return await super()._ask_one(*request)

    async def _wait(self) -> None:
        for _ in range(self.chance.randrange(6)):
            await asyncio.sleep(0)


async def opened(shards: int, seed: int) -> SlowStages:
    stages = SlowStages(shards, random.Random(seed))
    for store in stages.stores:
        await store.open()
    return stages


def client(stages: LocalStages) -> IndexClient:
    return IndexClient(stages, SETTLE_MS)  # type: ignore[arg-type]  # it posts, as Stages does


def uuids(stages: LocalStages) -> set[str | None]:
    return {None if store.identity is None else store.identity.index_uuid for store in stages.stores}


@pytest.mark.parametrize("seed", range(25))
async def test_gateways_that_join_a_new_index_together_form_one(seed: int) -> None:
    stages = await opened(3, seed)
    joined = await asyncio.gather(*(client(stages).join() for _ in range(4)))
    assert len({membership.uuid for membership in joined}) == 1
    assert uuids(stages) == {joined[0].uuid}
    assert (await client(stages).join()).uuid == joined[0].uuid


@pytest.mark.parametrize("cut_off_after", range(4))
async def test_a_gateway_that_is_killed_while_it_joins_leaves_an_index_that_can_be_formed(cut_off_after: int) -> None:
    stages = await opened(2, seed=1)
    stages.cut_off_after = cut_off_after
    with pytest.raises(VisualSearchError, match="killed"):
        await client(stages).join()
    stages.cut_off_after = None
    joined = await client(stages).join()
    assert uuids(stages) == {joined.uuid}


async def test_shards_that_took_different_indexes_and_hold_nothing_are_brought_together() -> None:
    stages = await opened(2, seed=1)
    for number, store in enumerate(stages.stores):
        await store.adopt(ShardIdentity(f"index-{number}", number, 2, False))
    assert (await client(stages).join()).uuid == "index-0"
    assert uuids(stages) == {"index-0"}


async def test_a_shard_that_was_written_to_never_changes_its_index() -> None:
    stages = await opened(2, seed=1)
    service, _ = await local_service(2, stages)
    assert await Caller(service, stages).index("a") == "created"
    before = uuids(stages)
    with pytest.raises(VisualSearchError, match="shard_identity"):
        await stages.stores[1].adopt(ShardIdentity("another", 1, 2, False))
    await stages.stores[1].adopt(ShardIdentity("another", 1, 2, False), proposed=True)
    assert uuids(stages) == before


async def test_a_new_index_waits_for_its_lowest_shard() -> None:
    stages = await opened(1, seed=1)
    membership_of_nothing = client(stages)
    stages.shards[0]._number = 1
    with pytest.raises(VisualSearchError, match="not_ready"):
        await membership_of_nothing.join()


async def test_a_gateway_that_joined_before_the_shards_of_an_unwritten_index_were_emptied_writes_to_the_new_one() -> (
    None
):
    stages = await opened(2, seed=1)
    early, _ = await local_service(2, stages)
    for number, shard in enumerate(stages.shards):
        stages.stores[number] = shard._store = DictionaryStore()
        await stages.stores[number].open()
    late, _ = await local_service(2, stages)
    for number, service in enumerate((early, late, early)):
        assert await Caller(service, stages).index(f"id {number}", number % 2) == "created"
    assert len(uuids(stages)) == 1
    assert await Caller(late, stages).ids() == await Caller(early, stages).ids() == ["id 0", "id 1", "id 2"]


async def test_a_gateway_whose_written_index_was_emptied_under_it_does_not_make_it_a_new_one() -> None:
    stages = await opened(2, seed=1)
    service, _ = await local_service(2, stages)
    assert await Caller(service, stages).index("a", 1) == "created"
    stages.stores[0] = stages.shards[0]._store = DictionaryStore()
    await stages.stores[0].open()
    with pytest.raises(VisualSearchError, match="shard_identity"):
        await Caller(service, stages).index("b", 0)
    with pytest.raises(VisualSearchError, match="shard_identity"):
        await client(stages).join()
    assert uuids(stages) - {None} == {service.index_client.joined().uuid}


async def test_a_gateway_that_has_seen_no_write_does_not_take_an_emptied_shard_for_a_new_one() -> None:
    stages = await opened(2, seed=1)
    early, _ = await local_service(2, stages)
    late, _ = await local_service(2, stages)
    assert await Caller(late, stages).index("a", 0) == "created"
    stages.stores[0] = stages.shards[0]._store = DictionaryStore()
    await stages.stores[0].open()
    with pytest.raises(VisualSearchError, match="shard_identity"):
        await Caller(early, stages).index("b", 1)
    with pytest.raises(VisualSearchError, match="shard_missing"):
        await Caller(late, stages)("/count")
