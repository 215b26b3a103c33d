"""kill -9 of a whole flow under load, of one shard, of the gateway; and an index whose shards grow in between.

Every acknowledged write is there afterwards, once, with its tags and its vector; nothing that was deleted is back; and
as long as a part is missing, every client is told so, with a code, in bounded time.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from executors.client import VisualSearchClient
from executors.errors import VisualSearchError
from tests.support.flows.flow import RunningFlow, kill_flow, processes_of_group, start_flow, wait_until
from tests.support.flows.flow_crash import BRIEF, GRAPH_FROM, KEPT, ONCE, STOCK, Load, query_of
from tests.support.flows.flow_ledger import GROUPS, Ledger, place_of

TIMEOUT_S = 6.0
# What the gateway may take beyond its deadline, and a busy machine.
SLACK_S = 10.0
# What says that a part of the service is away, and nothing else.
AWAY = {"unavailable", "shard_missing", "deadline_exceeded", "not_ready", "shard_identity"}


# No document's vector.
ANY_QUERY = query_of("nobody 0000", "")


@dataclass
class Index:
    """One index over all the lives of its flows."""

    folder: Path
    chance: random.Random
    ledger: Ledger = field(default_factory=Ledger)
    tokens: itertools.count[int] = field(default_factory=itertools.count)
    filled: bool = False

    async def live(self, shards: int, victims: Sequence[str], seconds: float = 1.0) -> None:
        """Start the flow, check its contents, load, and kill: first the pods that are named, then everything."""
        flow = self.start(shards)
        try:
            wait_until(flow)
            await self.check(flow)
            load = Load(flow.http_url, self.ledger, self.chance.randrange(2**32), self.tokens, TIMEOUT_S + SLACK_S)
            if not self.filled:
                await load.fill()
                self.filled = True
            async with load.running():
                await asyncio.sleep(self.chance.uniform(0.2, 2 * seconds))
                assert not self.ledger.refusals, "refused although nothing was killed"
                for victim in victims:
                    for pid in flow.pids_of(victim):
                        os.kill(pid, signal.SIGKILL)
                    await asyncio.sleep(seconds)
                    assert self.ledger.refusals.total(), f"no request was refused without {victim}"
                    await check_refused(flow)
                kill_at_once(flow)
        finally:
            kill_flow(flow)
        assert set(self.ledger.refusals) <= AWAY, self.ledger.refusals
        self.ledger.refusals.clear()

    def start(self, shards: int) -> RunningFlow:
        environment: dict[str, Any] = {
            "VS_REPLICAS": "1",
            "VS_GRAPH_FROM": str(GRAPH_FROM),
            "VS_TIMEOUT_MS": str(round(TIMEOUT_S * 1000)),
        }
        return start_flow(self.folder, VS_SHARDS=str(shards), **environment)

    async def start_and_kill(self, shards: int) -> None:
        """Kill the flow while it starts."""
        flow = self.start(shards)
        await asyncio.sleep(self.chance.uniform(0.0, 8.0))
        kill_at_once(flow)

    async def end(self, shards: int) -> list[int]:
        """Start the flow, check its contents, and return how many documents each shard holds."""
        flow = self.start(shards)
        try:
            wait_until(flow)
            await self.check(flow)
            async with VisualSearchClient(flow.http_url) as client:
                return [int(each["documents"]) for each in (await client.status())["index"]["shards"]]
        finally:
            kill_flow(flow)

    async def check(self, flow: RunningFlow) -> None:
        """Check that all acknowledged documents are there, and none that can't be."""
        async with VisualSearchClient(flow.http_url) as client:
            await self.check_doubles(client)
            documents = 0
            for collection in (KEPT, BRIEF):
                there = self.ledger.certain(collection)
                documents += len(there)
                await check_reads(client, collection, there)
                await check_searches(client, collection, there)
            assert (await client.verify()).documents == documents
            if self.filled:
                self.ledger.plans.update(await plans_of(client))

    async def check_doubles(self, client: VisualSearchClient) -> None:
        """Check ids that are stored twice: unacknowledged writes left them, reads see one state, and repair removes them."""
        putting = set(self.ledger.putting)
        found = await client.verify()
        assert list(found.faults) == []
        assert set(found.double_ids) <= putting
        self.ledger.doubles += len(found.double_ids)
        for collection, known in self.ledger.states.items():
            names = sorted(known)
            answer = await client.get(names, collection=collection, with_embedding=True)
            self.ledger.settle(collection, names, self.ledger.check_states(collection, names, answer))
        self.ledger.putting.clear()
        repaired = await client.verify(repair=True)
        assert (repaired.ok, set(repaired.double_ids)) == (True, set(found.double_ids))
        clean = await client.verify()
        assert (clean.ok, list(clean.double_ids), list(clean.faults)) == (True, [], [])


async def check_reads(client: VisualSearchClient, collection: str, there: dict[str, tuple[str, str]]) -> None:
    """By id, in order, and counted: the same documents, once each."""
    names = sorted(there)
    if not names and collection not in [each.name for each in await client.collections()]:
        return
    scrolled = [each async for each in client.scroll_all(collection=collection, limit=50, with_embedding=True)]
    assert [each.id for each in scrolled] == names
    known = Ledger()
    known.settle(collection, names, [there[name] for name in names])
    known.check_states(collection, names, scrolled)
    assert await client.count(collection=collection) == len(names)
    for group in range(GROUPS):
        expected = [name for name in names if place_of(name) % GROUPS == group]
        where = {"group": group}
        assert await client.count(collection=collection, filter=where) == len(expected)
        assert [each.id async for each in client.scroll_all(collection=collection, filter=where)] == expected


async def check_searches(client: VisualSearchClient, collection: str, there: dict[str, tuple[str, str]]) -> None:
    """Exactly or by the graph: each by its own vector, all of them by any, and those that a filter leaves."""
    names = sorted(there)
    if not names:
        return
    queries = [query_of(name, there[name][0]) for name in names]
    for exact in (True, False):
        for name, result in zip(
            names, await client.search(queries, collection=collection, limit=2, exact=exact), strict=True
        ):
            assert result.error is None, result.error
            best = result.matches[0]
            assert (best.id, best.tags["put"], best.tags.get("updated", "")) == (name, *there[name])
            assert best.score == pytest.approx(1.0, abs=1e-6)
        (everything,) = await client.search([ANY_QUERY], collection=collection, limit=10_000, exact=exact)
        assert sorted(hit.id for hit in everything.matches) == names
        where = {"group": 1}
        (some,) = await client.search([ANY_QUERY], collection=collection, limit=10_000, exact=exact, filter=where)
        assert sorted(hit.id for hit in some.matches) == [name for name in names if place_of(name) % GROUPS == 1]


async def check_refused(flow: RunningFlow) -> None:
    """While a part is missing, nothing is answered as if it were everything, and no document is said not to be there."""
    async with VisualSearchClient(flow.http_url, timeout_s=TIMEOUT_S + SLACK_S, retry=ONCE) as client:
        requests: list[Coroutine[Any, Any, object]] = [client.get([name], collection=KEPT) for name in STOCK[::30]]
        requests += [client.search([ANY_QUERY], collection=KEPT), client.search_like(STOCK[0], collection=KEPT)]
        requests += [client.scroll(collection=KEPT), client.count(collection=KEPT)]
        requests += [client.collections(), client.verify()]
        for answer in await asyncio.gather(*requests, return_exceptions=True):
            assert isinstance(answer, VisualSearchError), answer
            assert answer.code in AWAY, answer


async def plans_of(client: VisualSearchClient) -> list[str]:
    """How the shards search that have enough documents for a graph; the building of graphs is waited for."""
    end = time.monotonic() + 20
    while True:
        answer = await client.search([ANY_QUERY], collection=KEPT, limit=5, explain=True)
        plans = [each["plan"] for each in answer.explain[0]["shards"] if each["documents"] >= GRAPH_FROM]
        # A graph this small is compared as a whole as soon as something in it is gone.
        if all(plan.endswith("graph") for plan in plans):
            return plans
        assert time.monotonic() < end, answer.explain
        await asyncio.sleep(0.05)


def kill_at_once(flow: RunningFlow) -> None:
    """kill -9 of the whole process group."""
    os.killpg(flow.process.pid, signal.SIGKILL)
    flow.process.wait()
    while processes_of_group(flow.process.pid):
        time.sleep(0.01)


async def test_nothing_is_lost_by_kills_while_the_shards_grow(tmp_path: Path, models_dir: Path) -> None:
    index = Index(tmp_path, random.Random(21))
    for shards in (1, 2, 3):
        await index.live(shards, [])
    documents = await index.end(3)
    # What was written after the growing went to the new shards, too.
    assert min(documents) > 0
    assert index.ledger.plans.total() > 0
    assert index.ledger.acknowledged["put"] > len(STOCK)
    assert index.ledger.acknowledged["remove"] > 0


async def test_a_killed_shard_and_a_killed_gateway_are_told_and_lose_nothing(tmp_path: Path, models_dir: Path) -> None:
    index = Index(tmp_path, random.Random(22))
    await index.live(2, ["index/shard-1"])
    await index.live(2, ["gateway"])
    await index.end(2)
    assert index.ledger.acknowledged["put"] > len(STOCK)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("shards", [1, 2, 3])
async def test_nothing_is_lost_by_many_kills(tmp_path: Path, models_dir: Path, shards: int) -> None:
    index = Index(tmp_path, random.Random(100 + shards))
    one = "index/rep-0" if shards == 1 else "index/shard-0"
    for _ in range(2):
        for victims in ([], [one], [], ["gateway"], []):
            await index.live(shards, victims)
        await index.start_and_kill(shards)
    await index.end(shards)
    assert index.ledger.plans.total() > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_nothing_is_lost_by_many_kills_while_the_shards_grow(tmp_path: Path, models_dir: Path) -> None:
    index = Index(tmp_path, random.Random(200))
    for shards in (1, 2, 3, 4):
        await index.live(shards, [])
        await index.live(shards, ["gateway"])
        # Growing, and killed in the middle of it.
        await index.start_and_kill(shards + 1)
        await index.start_and_kill(shards + 1)
    await index.end(5)
