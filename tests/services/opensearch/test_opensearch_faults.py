"""The OpenSearch store when its server dies, hangs, is full, is overloaded, or refuses requests."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from executors.errors import VisualSearchError
from executors.index.opensearch.cluster.connection import Connection, ConnectionOptions
from executors.index.opensearch.cluster.layout import IndexOptions
from executors.index.store import Store
from tests.support.opensearch.opensearch_index import Indices
from tests.support.opensearch.opensearch_server import OpenSearchNode
from tests.support.stores.embedded import code_of
from tests.support.stores.records import (
    IMAGES,
    found,
    ids_of,
    key,
    prepared,
    record,
    results,
    tag_update,
    vector_of,
    version,
    where,
)

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]
IMPATIENT_S = 2.0
LANES = 4


@pytest.fixture(scope="module")
def node(opensearch_parts: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSearchNode]:
    """A server of this module's own, which its tests kill."""
    home, java = opensearch_parts
    node = OpenSearchNode(home, java, home.parent / "faults", heap="-Xms512m -Xmx512m")
    node.start()
    yield node
    node.stop()


@pytest.fixture
async def indices(node: OpenSearchNode) -> AsyncIterator[Indices]:
    made = Indices(ConnectionOptions((node.url,), timeout_s=IMPATIENT_S))
    yield made
    node.thaw()
    await made.close()


class Lane:
    """Writes ids of its own until it is stopped, and knows what must be there: `None`: nothing."""

    def __init__(self, number: int) -> None:
        self.rng = random.Random(number)
        self.number = number
        self.acknowledged: dict[str, tuple[str, int] | None] = {}
        self.unknown: dict[str, list[tuple[str, int] | None]] = {}
        self.turn = number

    async def write(self, store: Store) -> None:
        """One write; what it does to an id is only known when it was acknowledged."""
        self.turn += LANES
        names = [f"lane {self.number} {n}" for n in self.rng.sample(range(12), 3)]
        kind = self.rng.choice(["put", "put", "put", "update", "delete"])
        mark = version(self.turn)
        wanted = dict.fromkeys(names, None if kind == "delete" else (mark, self.turn))
        if kind == "update":
            # Only of what is there for certain.
            wanted = {name: each for name, each in wanted.items() if self._is_there(name)}
        for name, each in wanted.items():
            self.unknown.setdefault(name, []).append(each)
        if kind == "put":
            write = store.put([record(name, self.turn, seed=self.turn) for name in wanted])
        elif kind == "update":
            write = store.update([tag_update(name, self.turn, {"n": self.turn}) for name in wanted])
        else:
            write = store.delete([key(name, self.turn) for name in wanted])
        outcomes = await write
        for (name, each), outcome in zip(wanted.items(), outcomes, strict=True):
            if outcome.error is None:
                self.acknowledged[name] = each
                self.unknown[name] = []

    def _is_there(self, name: str) -> bool:
        return not self.unknown.get(name) and self.acknowledged.get(name) is not None

    def check(self, shown: dict[str, tuple[str, int]]) -> None:
        """Check that the index holds the last acknowledged write, or one that was tried after it."""
        for name in {*self.acknowledged, *self.unknown}:
            allowed = [self.acknowledged.get(name), *self.unknown.get(name, ())]
            assert shown.get(name) in allowed, name


async def work(store: Store, lanes: list[Lane], done: asyncio.Event) -> set[str]:
    """Let the lanes write until told to stop; the codes of what failed."""
    codes: set[str] = set()

    async def run(lane: Lane) -> None:
        while not done.is_set():
            try:
                await lane.write(store)
            except VisualSearchError as error:
                codes.add(error.code)
                await asyncio.sleep(0.05)

    await asyncio.gather(*(run(lane) for lane in lanes))
    return codes


async def test_nothing_acknowledged_is_lost_when_the_server_is_killed(indices: Indices, node: OpenSearchNode) -> None:
    store = await prepared(indices)
    lanes = [Lane(number) for number in range(LANES)]
    for cycle in range(2):
        done = asyncio.Event()
        working = asyncio.create_task(work(store, lanes, done))
        await asyncio.sleep(1.0 + cycle)
        # Enough to lose, however slow the machine is.
        while sum(len(lane.acknowledged) for lane in lanes) <= 20:
            await asyncio.sleep(0.05)
        await asyncio.to_thread(node.kill)
        await asyncio.sleep(0.3)
        await asyncio.to_thread(node.start)
        await asyncio.sleep(0.5)
        done.set()
        assert await working <= {"storage_unavailable"}
        await settled(store)
        documents = await store.scroll(IMAGES.name, limit=1000, embedding=True)
        shown = {each.id: (each.version, each.tags["n"]) for each in documents}
        for lane in lanes:
            lane.check(shown)
        for each in documents:
            # A document is whole: the vector is that of some put of its lane, never a mixture.
            assert each.embedding is not None
            assert abs(float(np.linalg.norm(each.embedding)) - 1.0) < 1e-6
        assert list((await store.verify()).faults) == []
    assert sorted((await found(store, vector_of(0), limit=1000)).ids) == sorted(shown)


async def settled(store: Store) -> None:
    """Until the server answers again."""
    for _ in range(100):
        try:
            await store.count(IMAGES.name)
        except VisualSearchError:
            await asyncio.sleep(0.1)
        else:
            return
    pytest.fail("the server does not come back")


async def test_a_server_that_stands_still_costs_the_deadline_and_is_an_error(
    indices: Indices, node: OpenSearchNode
) -> None:
    store = await prepared(indices)
    await store.put([record("a")])
    node.freeze()
    started = asyncio.get_running_loop().time()
    for work in (store.put([record("b")]), found(store, vector_of(0)), store.count(IMAGES.name)):
        assert await code_of(work) == "storage_unavailable"
    assert asyncio.get_running_loop().time() - started < 3 * IMPATIENT_S + 5
    node.thaw()
    await settled(store)
    assert (await found(store, vector_of(0))).ids[0] == "a"
    # The write may have been applied or not; it can be repeated.
    assert results(await store.put([record("b")])) == ["created"]


async def test_no_server_is_an_error_at_the_start_and_never_an_empty_answer(tmp_path: Path) -> None:
    nobody = Indices(ConnectionOptions(("http://127.0.0.1:9",), timeout_s=0.5))
    assert await code_of(nobody.open()) == "storage_unavailable"


async def test_a_full_disk_takes_no_write_and_searches_go_on(indices: Indices, node: OpenSearchNode) -> None:
    store = await prepared(indices)
    await store.put([record("a")])
    # What OpenSearch does by itself at the flood stage of its disks.
    block = "index.blocks.read_only_allow_delete"
    node.call("PUT", f"/{indices.prefix}-*/_settings", {block: True})
    for write in (store.put([record("b")]), store.update([tag_update("a", 2, {})]), store.delete([key("a", 2)])):
        assert await code_of(write) == "storage_unavailable"
    assert (await found(store, vector_of(0))).ids == ["a"]
    node.call("PUT", f"/{indices.prefix}-*/_settings", {block: None})
    assert results(await store.put([record("b")])) == ["created"]


async def test_an_overloaded_server_is_tried_again(opensearch_parts: tuple[Path, Path]) -> None:
    home, java = opensearch_parts
    node = OpenSearchNode(home, java, home.parent / "overloaded", heap="-Xms512m -Xmx512m")
    # One thread, and next to no queue: what comes at the same time is turned away with 429.
    settings: dict[str, Any] = {"node.processors": 1, "thread_pool.write.size": 1, "thread_pool.write.queue_size": 1}
    node.start(**settings)
    indices = Indices(ConnectionOptions((node.url,), timeout_s=30))
    try:
        stores = [await prepared(indices)] + [await indices.open() for _ in range(7)]
        counts = [
            store.put([record(f"{n} of {lane}", seed=n, tags={"text": "t" * 2_000}) for n in range(150)])
            for lane, store in enumerate(stores)
        ]
        outcomes = [each for done in await asyncio.gather(*counts) for each in done]
        assert {each.result for each in outcomes} == {"created"}
        assert await stores[0].count(IMAGES.name) == 150 * len(stores)
        pools = node.call("GET", "/_nodes/stats/thread_pool")["nodes"]
        rejected = sum(each["thread_pool"]["write"]["rejected"] for each in pools.values())
        assert rejected > 0, "nothing was turned away: the test shows nothing"
    finally:
        await indices.close()
        node.stop()


async def test_a_lost_node_makes_answers_partial_and_says_so(opensearch_parts: tuple[Path, Path]) -> None:
    home, java = opensearch_parts
    heap = "-Xms512m -Xmx512m"
    first = OpenSearchNode(home, java, home.parent / "first", "first", heap)
    second = OpenSearchNode(home, java, home.parent / "second", "second", heap)
    seeds = {"seeds": [first.transport], "managers": ["first"]}
    indices = Indices(
        ConnectionOptions((first.url, second.url), timeout_s=4), IndexOptions(shards=2), graph_from=10_000
    )
    try:
        first.start(**seeds, wait=False)
        second.start(**seeds, wait=False, **{"node.roles": ["data", "ingest"]})
        first.wait_ready()
        second.wait_ready()
        store = await prepared(indices)
        await store.put([record(f"{n:02d}", seed=n) for n in range(60)])
        nodes = {each["node"] for each in first.call("GET", f"/_cat/shards/{indices.prefix}-c-*?format=json")}
        assert nodes == {"first", "second"}, "both hold a shard"
        whole = await found(store, vector_of(3), limit=100)
        assert (len(whole.ids), whole.partial) == (60, None)
        await asyncio.to_thread(second.kill)
        connection = Connection(indices.connection)
        for _ in range(100):
            health = await connection.call("GET", "/_cluster/health")
            if health["number_of_nodes"] == 1:
                break
            await asyncio.sleep(0.2)
        await connection.close()
        part = await found(store, vector_of(3), limit=100)
        assert part.partial == (1, 2)
        assert 0 < len(part.ids) < 60
        for read in (store.count(IMAGES.name), store.scroll(IMAGES.name), store.count(IMAGES.name, where({"n": 1}))):
            assert await code_of(read) == "shard_missing"
        await asyncio.to_thread(second.start, **seeds, wait=False, **{"node.roles": ["data", "ingest"]})
        for _ in range(300):
            if not (await found(store, vector_of(3), limit=1)).partial:
                break
            await asyncio.sleep(0.2)
        assert sorted((await found(store, vector_of(3), limit=100)).ids) == sorted(whole.ids)
        assert len(await ids_of(store)) == 60
    finally:
        first.thaw()
        await indices.close()
        second.stop()
        first.stop()
