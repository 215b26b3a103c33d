"""A flow under load: several clients that write, read and drop, and note what they were told, until they are stopped.

Each lane writes ids of its own, one request after the other. Every answer that says yes is checked at once: what it
acknowledged is read and found by the next request.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from executors.client import Document, RetryPolicy, VisualSearchClient
from executors.errors import VisualSearchError
from tests.support.flows.flow_ledger import (
    GROUPS,
    MODEL,
    Ledger,
    Operation,
    descendants_of,
    document_of,
    name_of,
    place_of,
    vector_of,
)

T = TypeVar("T")

PLACES = 24
LANES = ("lane a", "lane b", "lane c")
# Documents that are only replaced, many at a time: they give every shard enough for a graph.
STOCK = [name_of("stock", place) for place in range(480)]
KEPT, BRIEF = "kept", "brief"
GRAPH_FROM = 100
# A client that is told nothing waits a little longer than the flow may take.
ONCE = RetryPolicy(attempts=1)
_PAUSE_AFTER_REFUSAL_S = 0.05


class Load:
    """The clients of one life of a flow.

    Args:
        url: the flow.
        timeout_s: how long a client waits for an answer.
        tokens: names of writes, unique over all lives.
    """

    def __init__(self, url: str, ledger: Ledger, seed: int, tokens: itertools.count[int], timeout_s: float) -> None:
        self._url = url
        self._ledger = ledger
        self._seed = seed
        self._tokens = tokens
        self._timeout_s = timeout_s
        self._stopping = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All clients at work; at the end, what each has under way is waited for."""
        tasks = [
            asyncio.create_task(self._client(number, lane)) for number, lane in enumerate([*LANES, "stock", BRIEF])
        ]
        try:
            yield
        finally:
            self._stopping = True
            await asyncio.gather(*tasks)

    async def fill(self) -> None:
        """Write the stock, in requests small enough for every shard to get a part of it."""
        async with self._new_client() as client:
            for start in range(0, len(STOCK), 20):
                await self._put(client, KEPT, STOCK[start : start + 20])
        assert len(self._ledger.certain(KEPT)) >= len(STOCK), self._ledger.refusals

    def _new_client(self) -> VisualSearchClient:
        return VisualSearchClient(self._url, timeout_s=self._timeout_s, retry=ONCE)

    async def _client(self, number: int, lane: str) -> None:
        chance = random.Random(self._seed * 10 + number)
        async with self._new_client() as client:
            while not self._stopping:
                refused = self._ledger.refusals.total()
                if lane == "stock":
                    await self._put(client, KEPT, chance.sample(STOCK, chance.choice([1, 5, 40])))
                elif lane == BRIEF:
                    await self._come_and_go(client, chance)
                else:
                    await self._lane(client, lane, chance)
                if self._ledger.refusals.total() > refused:
                    await asyncio.sleep(_PAUSE_AFTER_REFUSAL_S)

    async def _lane(self, client: VisualSearchClient, lane: str, chance: random.Random) -> None:
        names = [name_of(lane, place) for place in range(PLACES)]
        work = chance.choices(["put", "update", "delete", "matching", "read"], [8, 3, 3, 1, 3])[0]
        ids = chance.sample(names, chance.choice([1, 1, 3, 8, PLACES]))
        if work == "put":
            # One request a shard: what comes from each other gets into different ones.
            for start in range(0, len(ids), 8):
                await self._put(client, KEPT, ids[start : start + 8])
        elif work == "update":
            await self._update(client, ids)
        elif work == "delete":
            await self._delete(client, names, ids[:3])
        elif work == "matching":
            await self._delete_matching(client, lane, names, chance.randrange(GROUPS))
        else:
            await self._read(client, names)

    async def _put(self, client: VisualSearchClient, collection: str, ids: Sequence[str]) -> None:
        token = self._token()
        before = self._ledger.may(collection, "put", token, ids)
        documents = [document_of(each, token, collection) for each in ids]
        answer = await self._ask(client.index(documents, collection=collection))
        if answer is not None:
            self._ledger.answered(collection, "put", token, before, answer)

    async def _update(self, client: VisualSearchClient, ids: Sequence[str]) -> None:
        token = self._token()
        before = self._ledger.may(KEPT, "update", token, ids)
        answer = await self._ask(client.update({each: {"updated": token} for each in ids}, collection=KEPT))
        if answer is not None:
            self._ledger.answered(KEPT, "update", token, before, answer)

    async def _delete(self, client: VisualSearchClient, names: Sequence[str], ids: Sequence[str]) -> None:
        # What comes from an id goes with it, whether that one is there or not.
        operation: Operation = "remove"
        certain = descendants_of(ids, names, self._ledger.certain(KEPT))
        possible = descendants_of(ids, names, self._ledger.possible(KEPT))
        before = self._ledger.may(KEPT, operation, "", [*ids, *possible])
        answer = await self._ask(client.delete(ids, collection=KEPT))
        if answer is not None and not answer.failed:
            self._ledger.answered(KEPT, operation, "", before, answer)
            self._ledger.gone(KEPT, certain)

    async def _delete_matching(self, client: VisualSearchClient, lane: str, names: list[str], group: int) -> None:
        matching = {each for each in names if place_of(each) % GROUPS == group}
        certain, possible = self._ledger.certain(KEPT), self._ledger.possible(KEPT)
        surely = descendants_of(matching & set(certain), names, certain)
        perhaps = descendants_of(matching & possible, names, possible)
        self._ledger.may(KEPT, "remove", "", matching | perhaps)
        where = {"lane": lane, "group": {"$in": [group]}}
        deleted = await self._ask(client.delete_matching(where, collection=KEPT))
        if deleted is not None:
            assert deleted >= len((matching & set(certain)) | surely)
            self._ledger.gone(KEPT, matching | surely)

    async def _come_and_go(self, client: VisualSearchClient, chance: random.Random) -> None:
        """Into a collection that is dropped now and then."""
        names = [name_of(BRIEF, place) for place in range(40)]
        if chance.random() < 0.7:
            await self._put(client, BRIEF, chance.sample(names, chance.choice([1, 5, 20])))
            return
        certain = self._ledger.certain(BRIEF)
        self._ledger.may(BRIEF, "remove", "", names)
        try:
            documents = await self._ask(client.drop_collection(BRIEF), passing="collection_not_found")
        except VisualSearchError:
            assert not certain
            documents = 0
        if documents is not None:
            assert documents >= len(certain)
            self._ledger.gone(BRIEF, names)

    async def _read(self, client: VisualSearchClient, names: Sequence[str]) -> None:
        """Read and find what is known; nothing else of this lane is under way."""
        answer = await self._ask(client.get(names, collection=KEPT, with_embedding=True))
        read = [each for each in answer or () if not self._is_refused(each.error)]
        self._ledger.check_states(KEPT, [each.id for each in read], read)
        certain = {name: state for name, state in self._ledger.certain(KEPT).items() if name in names}
        queries = [query_of(name, put) for name, (put, _) in certain.items()]
        found = await self._ask(client.search(queries, collection=KEPT, limit=1)) if queries else None
        for name, result in zip(certain, found or (), strict=found is not None):
            if not self._is_refused(result.error):
                assert [hit.id for hit in result.matches] == [name]
                assert result.matches[0].score > 1.0 - 1e-5

    def _is_refused(self, error: VisualSearchError | None) -> bool:
        """Return whether a document was refused because a part of the service is down, and count it."""
        if error is None or error.code == "not_found":
            return False
        self._ledger.refusals[error.code] += 1
        return True

    async def _ask(self, answer: Awaitable[T], passing: str = "") -> T | None:
        """The answer, or None where the request was refused as a whole, with any code but `passing`."""
        try:
            return await answer
        except VisualSearchError as error:
            if error.code == passing:
                raise
            self._ledger.refusals[error.code] += 1
            return None

    def _token(self) -> str:
        return f"w{next(self._tokens)}"


def query_of(document_id: str, put: str) -> Document:
    """A query that is the vector of this put."""
    return Document(embedding=vector_of(document_id, put).tolist(), model_id=MODEL)
