"""Damage on disk while a graph answers: the store finds and names it, does not serve it, and repairs what it can."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from executors.errors import VisualSearchError
from executors.index.embedded.disk.database import database_path
from executors.index.embedded.graph.graph_file import load, save
from executors.index.embedded.graph.hnsw import HnswGraph
from executors.index.embedded.memory.collection_memory import GraphOptions
from tests.support.stores.embedded import (
    FIRST_GRAPH,
    SMALL_GRAPH,
    filled,
    graphs_of,
    opened,
    read_store_id,
    saved,
    settled,
)
from tests.support.stores.records import DIMENSION, IMAGES, found, key, record, results, vector_of, where

BAD = "055"
SEED = 55
VARIANTS = [SMALL_GRAPH, replace(SMALL_GRAPH, rerank="memory")]


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """A shard that was closed with a saved graph."""

    async def fill() -> None:
        await (await filled(tmp_path / "shard")).close()

    asyncio.run(fill())
    return tmp_path / "shard"


def flip(folder: Path, content: bytes) -> None:
    """Flip one bit of the only place in the closed file that has this content."""
    file = database_path(folder)
    data = bytearray(file.read_bytes())
    assert data.count(content) == 1
    data[data.index(content) + len(content) // 2] ^= 1
    file.write_bytes(data)


async def refusal(work: Coroutine[Any, Any, Any]) -> VisualSearchError:
    with pytest.raises(VisualSearchError) as refused:
        await work
    return refused.value


@pytest.mark.parametrize("options", VARIANTS, ids=lambda options: options.rerank)
@pytest.mark.parametrize(
    "changes",
    [{}, {"exact": True}, {"where": where({"n": SEED})}, {"group_by": "n"}, {"embedding": True}, {"threshold": 0.99}],
    ids=lambda changes: " ".join(changes) or "plain",
)
async def test_no_search_answers_without_a_damaged_vector_that_it_needs(
    shard: Path, options: GraphOptions, changes: dict[str, Any]
) -> None:
    flip(shard, vector_of(SEED).tobytes())
    store = await opened(shard, options)
    try:
        error = await refusal(found(store, vector_of(SEED), limit=5, **changes))
        assert (error.code, error.details["ids"]) == ("store_invalid", [BAD])
    finally:
        await store.close()


@pytest.mark.parametrize("options", VARIANTS, ids=lambda options: options.rerank)
@pytest.mark.parametrize("cure", ["index again", "delete"])
async def test_a_damaged_vector_is_named_and_can_be_cured(shard: Path, options: GraphOptions, cure: str) -> None:
    flip(shard, vector_of(SEED).tobytes())
    store = await opened(shard, options)
    try:
        faults = list((await store.verify()).faults)
        assert faults
        assert all(BAD in fault for fault in faults)
        assert (await refusal(store.get(IMAGES.name, [BAD], embedding=True))).code == "store_invalid"
        assert (await refusal(store.scroll(IMAGES.name, limit=1000, embedding=True))).code == "store_invalid"
        assert (await store.get(IMAGES.name, [BAD]))[0] is not None
        if cure == "delete":
            assert results(await store.delete([key(BAD, 9)])) == ["deleted"]
        else:
            assert results(await store.put([record(BAD, 9, seed=SEED, tags={"n": SEED})])) == ["unchanged"]
        for _ in range(2):
            hits = await found(store, vector_of(SEED), limit=3)
            assert (hits.ids[0] == BAD) == (cure != "delete")
            assert list((await store.verify()).faults) == []
            await settled(store, options)
            await store.reindex()
            await settled(store, options)
    finally:
        await store.close()


async def test_a_rebuild_does_not_lose_a_damaged_document_in_silence(shard: Path) -> None:
    flip(shard, vector_of(SEED).tobytes())
    (shard / FIRST_GRAPH).unlink()
    store = await opened(shard)
    try:
        await settled(store)
        await store.reindex()
        await settled(store)
        assert (await refusal(found(store, vector_of(SEED), limit=5))).details["ids"] == [BAD]
        assert await store.count(IMAGES.name) == 108
        assert any(BAD in fault for fault in (await store.verify(repair=True)).faults)
    finally:
        await store.close()


async def test_a_flipped_bit_in_the_tags_is_named(shard: Path) -> None:
    store = await opened(shard)
    await store.put([record("marked", 9, seed=9000, tags={"mark": "findable-text"})])
    await saved(store, shard)
    await store.close()
    data = database_path(shard).read_bytes()
    at = data.index(b'{"mark":"findable-text"}') + 12
    database_path(shard).write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    store = await opened(shard)
    try:
        faults = list((await store.verify()).faults)
        assert faults
        assert any("marked" in fault for fault in faults)
    finally:
        await store.close()


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM tag_values WHERE value = 55",
        "DELETE FROM tag_values",
        "UPDATE tag_values SET value = 1234567 WHERE value = 55",
        "INSERT INTO tag_values SELECT key, kind, 1234567, row FROM tag_values WHERE value = 55",
    ],
)
async def test_a_wrong_index_of_the_tags_is_found_and_built_anew(shard: Path, damage: str) -> None:
    connection = sqlite3.connect(database_path(shard))
    with connection:
        assert connection.execute(damage).rowcount > 0
    connection.close()
    store = await opened(shard)
    try:
        assert (await store.verify()).faults
        report = await store.verify(repair=True)
        assert (list(report.faults), len(report.repaired)) == ([], 1)
        assert list((await store.verify()).faults) == []
        for value, expected in ((55, [BAD]), (1234567, [])):
            assert (await found(store, vector_of(1), where=where({"n": value}))).ids == expected
            assert await store.count(IMAGES.name, where({"n": value})) == len(expected)
    finally:
        await store.close()


async def test_a_graph_that_differs_from_the_truth_is_found_and_built_anew(shard: Path) -> None:
    """As a defect of the software would leave it: sound by its checksums, with other vectors."""
    loaded = load(
        shard, FIRST_GRAPH, store_id=read_store_id(shard), collection=1, dimension=DIMENSION, precision="half"
    )
    wrong = HnswGraph(DIMENSION, precision="half", capacity=loaded.graph.count)
    wrong.add_many(np.stack([vector_of(4000 + n) for n in range(loaded.graph.count)]), 1)
    save(wrong, loaded.rows, loaded.stamp, shard, FIRST_GRAPH)
    store = await opened(shard)
    try:
        assert (await graphs_of(store))[0]["in_graph"] > 50
        assert any("graph" in fault for fault in (await store.verify()).faults)
        report = await store.verify(repair=True)
        assert (list(report.faults), len(report.repaired)) == ([], 1)
        await settled(store)
        assert list((await store.verify()).faults) == []
        for n in range(2, 9):
            assert (await found(store, vector_of(n), limit=1)).ids == [f"{n:03d}"]
    finally:
        await store.close()
