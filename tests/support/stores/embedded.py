"""Folders of the embedded store for the tests of stores."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from executors.errors import VisualSearchError
from executors.index.embedded.disk.database import database_path
from executors.index.embedded.graph.graph_file import GraphFileInvalid, read_stamp
from executors.index.embedded.memory.collection_memory import GraphOptions
from executors.index.embedded.store import EmbeddedStore
from executors.index.store import Store
from tests.support.stores.records import IDENTITY, IMAGES, key, record

# A graph from a few documents on, saved all the time.
SMALL_GRAPH = GraphOptions(graph_from=4, save_every=16)
# The file of the first collection's graph.
FIRST_GRAPH = "graph-1"
_LONGEST_WAIT_S = 60.0


async def code_of(awaitable: Awaitable[object]) -> str:
    """The code of the error that this ends with."""
    with pytest.raises(VisualSearchError) as refused:
        await awaitable
    return refused.value.code


class Folder:
    """One folder that is opened again and again; stores that are still open are closed at the end.

    Args:
        options: of `EmbeddedStore`.
    """

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self._options = options
        self._opened: list[Store] = []

    async def open(self) -> Store:
        store = EmbeddedStore(self.folder, **self._options)
        await store.open()
        self._opened.append(store)
        return store

    async def settle(self, store: Store) -> None:
        await settled(store, self._options.get("graph", GraphOptions()))

    async def close(self) -> None:
        for store in self._opened:
            await store.close()


async def settled(store: Store, options: GraphOptions = SMALL_GRAPH) -> None:
    """Wait until the graphs cover all that they should, and nothing is being built anew."""
    end = time.monotonic() + _LONGEST_WAIT_S
    while waiting := [each for each in await graphs_of(store) if _is_behind(each, options)]:
        assert time.monotonic() < end, waiting
        await asyncio.sleep(0.005)


def _is_behind(graph: dict[str, Any], options: GraphOptions) -> bool:
    has_graph = graph["in_graph"] or graph["removed_in_graph"] or graph["documents"] >= options.graph_from
    return graph["rebuilding"] is not None or bool(has_graph and graph["uncovered"])


async def opened(folder: Path, graph: GraphOptions = SMALL_GRAPH) -> EmbeddedStore:
    store = EmbeddedStore(folder, graph=graph)
    await store.open()
    await store.adopt(IDENTITY)
    await store.ensure_collection(IMAGES)
    return store


async def saved(
    store: Store, folder: Path, name: str = FIRST_GRAPH, collection: str = IMAGES.name, copies: int = 0
) -> None:
    """Wait until the graph is built and its file covers it but for the few rows that are not worth it.

    Args:
        copies: how many documents have a vector that others have; the file holds it once.
    """
    end = time.monotonic() + _LONGEST_WAIT_S
    while True:
        await settled(store)
        (line,) = [each for each in await graphs_of(store) if each["collection"] == collection]
        slots = line["in_graph"] + line["removed_in_graph"] - copies
        if _count(folder, name) > slots - SMALL_GRAPH.save_every:
            return
        assert time.monotonic() < end, f"the graph is not saved: {line}"
        await asyncio.sleep(0.01)


def _count(folder: Path, name: str) -> int:
    try:
        return read_stamp(folder, name).count
    except GraphFileInvalid:
        return 0


async def filled(folder: Path, documents: int = 120) -> EmbeddedStore:
    """Return a shard with a saved graph, some of whose rows were deleted."""
    store = await opened(folder)
    await store.put([record(f"{n:03d}", 1, seed=n, tags={"n": n}) for n in range(documents)])
    await saved(store, folder)
    await store.delete([key(f"{n:03d}", 2) for n in range(0, documents, 10)])
    await store.put([record(f"{n:03d}", 3, seed=n + 1000, tags={"n": -n}) for n in range(1, documents, 10)])
    await saved(store, folder)
    return store


async def graphs_of(store: Store) -> list[dict[str, Any]]:
    """Return the report about each collection's graph in the status."""
    graphs: list[dict[str, Any]] = (await store.status()).details["graphs"]
    return graphs


def read_store_id(folder: Path) -> str:
    """Return the id of the store in a shard's file, which must not be open elsewhere."""
    connection = sqlite3.connect(f"file:{database_path(folder)}?mode=ro", uri=True)
    (store_id,) = connection.execute("SELECT value FROM meta WHERE key = 'store_id'").fetchone()
    connection.close()
    return str(store_id)
