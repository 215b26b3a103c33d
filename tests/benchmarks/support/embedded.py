"""The embedded store as the benchmarks use it: opened, filled with rows of a matrix, and waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from executors.index.embedded.memory.collection_memory import GraphOptions
from executors.index.embedded.store import EmbeddedStore
from executors.index.records import Collection, DocumentKey, Hits, Record, SearchRequest, ShardIdentity
from executors.index.store import Store
from tests.benchmarks.support.vectors import Vectors

COLLECTION: Final = "images"
MODEL: Final = "bench/clip"
# Tags that one row in so many has with the value 0: what is filtered by.
SHARES: Final = {"half": 2, "tenth": 10, "hundredth": 100, "thousandth": 1000}


def name_of(row: int) -> str:
    """The id of a row of the matrix."""
    return f"pictures/{row:08d}.jpg"


def row_of(name: str) -> int:
    """Return the row of an id."""
    return int(name[-12:-4])


def version_of(number: int) -> str:
    """A version, later ones for larger numbers."""
    return f"{number:012x}-0000-bench"


def tags_of(row: int) -> dict[str, Any]:
    """Tags as a shop has them, about 130 bytes as JSON."""
    shares: dict[str, Any] = {name: row % every for name, every in SHARES.items()}
    return shares | {"brand": f"brand {row % 97}", "price": row % 1000 / 4, "colours": ["red", "blue"]}


def record(row: int, vector: NDArray[np.float32], version: int = 1) -> Record:
    """One document."""
    return Record(
        COLLECTION, name_of(row), version_of(version), MODEL, vector, tags_of(row), uri=f"https://shop.test/{row}.jpg"
    )


async def open_store(folder: Path, dimension: int, options: GraphOptions | None = None, **others: Any) -> EmbeddedStore:
    """A store with the collection in it."""
    store = EmbeddedStore(folder, graph=options or GraphOptions(), **others)
    await store.open()
    if store.identity is None:
        await store.adopt(ShardIdentity("0f" * 16, 0, 1))
    await store.ensure_collection(Collection(COLLECTION, MODEL, dimension))
    return store


async def put_rows(store: Store, vectors: Vectors, rows: Sequence[int], batch: int = 256, version: int = 1) -> None:
    """Write these rows of the matrix, a request after the other."""
    for start in range(0, len(rows), batch):
        some = rows[start : start + batch]
        outcomes = await store.put([record(row, np.array(vectors[row]), version) for row in some])
        assert all(outcome.error is None for outcome in outcomes)


async def delete_rows(store: Store, rows: Sequence[int], batch: int = 256, version: int = 2) -> None:
    """Delete these rows, a request after the other."""
    for start in range(0, len(rows), batch):
        keys = [DocumentKey(COLLECTION, name_of(row), version_of(version)) for row in rows[start : start + batch]]
        outcomes = await store.delete(keys)
        assert all(outcome.result == "deleted" for outcome in outcomes)


async def graph_of(store: Store) -> dict[str, Any]:
    """Return the store's report about its graph."""
    lines: list[dict[str, Any]] = (await store.status()).details["graphs"]
    return lines[0]


async def settled(store: Store) -> None:
    """Wait until everything is in the graph and it is not being built anew."""
    quiet = 0
    while quiet < 3:
        graph = await graph_of(store)
        dead = graph["removed_in_graph"] > 0.2 * (graph["in_graph"] + graph["removed_in_graph"])
        waits = graph["in_graph"] and (graph["uncovered"] or graph["rebuilding"] or dead)
        quiet = 0 if waits else quiet + 1
        await asyncio.sleep(0.1)


def request_for(query: NDArray[np.float32], limit: int = 20, **others: Any) -> SearchRequest:
    """A search with one query."""
    return SearchRequest(COLLECTION, query[np.newaxis], MODEL, limit, **others)


async def search(store: Store, query: NDArray[np.float32], limit: int = 20, **others: Any) -> Hits:
    """The hits of one query."""
    (hits,) = await store.search(request_for(query, limit, **others))
    return hits


def rows_of(hits: Hits) -> list[int]:
    """Return the rows that were found, best first."""
    return [row_of(name) for name in hits.ids]


def every(share: int, count: int) -> Iterable[int]:
    """The rows of which one in `share` is."""
    return range(0, count, share)
