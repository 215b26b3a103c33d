"""Records, vectors and answers for the tests of stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from executors.index.filters import Filter, parse_filter
from executors.index.records import (
    Collection,
    DocumentKey,
    Hits,
    Record,
    SearchRequest,
    ShardIdentity,
    StoredDocument,
    Superseded,
    TagUpdate,
    WriteOutcome,
)
from executors.index.store import Store

MODEL = "model-a@1"
DIMENSION = 8
IMAGES = Collection("images", MODEL, DIMENSION)
IDENTITY = ShardIdentity("0f" * 16, 0, 1)


class Harness(Protocol):
    """The functions that tests of the contract need from an implementation."""

    async def open(self) -> Store:
        """Open the one shard of this harness; after a `close` it is the same shard again."""
        ...

    async def settle(self, store: Store) -> None:
        """Wait until what the implementation does in the background (structures for searches, cleaning up) is done."""
        ...


def version(number: int) -> str:
    """The n-th version."""
    return f"{number:012x}-0000-test"


def unit(values: Sequence[float] | NDArray[Any]) -> NDArray[np.float32]:
    """The values as a float32 vector of length 1."""
    vector = np.asarray(values, dtype=np.float64)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def vector_of(seed: int, dimension: int = DIMENSION) -> NDArray[np.float32]:
    """A unit vector that belongs to the seed."""
    return unit(np.random.default_rng(seed).standard_normal(dimension))


def axis(number: int) -> NDArray[np.float32]:
    """One of the eight axes."""
    row: NDArray[np.float32] = np.eye(DIMENSION, dtype=np.float32)[number]
    return row


def record(document_id: str, number: int = 1, seed: int = 0, **changes: Any) -> Record:
    """A document in version `number` with the vector of `seed`."""
    fields: dict[str, Any] = {
        "collection": IMAGES.name,
        "id": document_id,
        "version": version(number),
        "model_id": MODEL,
        "embedding": vector_of(seed),
        "tags": {"n": number},
        "uri": f"photos/{document_id}",
    }
    return Record(**(fields | changes))


def key(document_id: str, number: int, collection: str = IMAGES.name) -> DocumentKey:
    return DocumentKey(collection, document_id, version(number))


def superseded(document_id: str, number: int, digest: str = "", collection: str = IMAGES.name) -> Superseded:
    return Superseded(collection, document_id, version(number), digest)


def tag_update(document_id: str, number: int, tags: dict[str, Any], mode: Any = "merge") -> TagUpdate:
    return TagUpdate(IMAGES.name, document_id, version(number), tags, mode)


def where(given: dict[str, Any]) -> Filter:
    """The filter of a request."""
    return parse_filter(given)


def results(outcomes: Sequence[WriteOutcome]) -> list[str]:
    """The result of each write, or the code of the error that refused it."""
    return [outcome.error.code if outcome.error else str(outcome.result) for outcome in outcomes]


def sample(document: StoredDocument | None) -> tuple[Any, ...] | None:
    """The fields of a stored document that tests compare."""
    return None if document is None else (document.id, document.version, document.tags)


async def prepared(harness: Harness) -> Store:
    """An open store that belongs to an index and has the collection `images`."""
    store = await harness.open()
    await store.adopt(IDENTITY)
    await store.ensure_collection(IMAGES)
    return store


async def found(
    store: Store, query: NDArray[np.float32], limit: int = 10, threshold: float | None = None, **changes: Any
) -> Hits:
    """The hits of one query."""
    fields: dict[str, Any] = {
        "collection": IMAGES.name,
        "queries": query[np.newaxis],
        "model_id": MODEL,
        "limit": limit,
        "threshold": threshold,
    }
    (hits,) = await store.search(SearchRequest(**(fields | changes)))
    return hits


async def ids_of(store: Store, collection: str = IMAGES.name) -> list[str]:
    """All ids, by scrolling in small pages."""
    ids: list[str] = []
    while page := await store.scroll(collection, after=ids[-1] if ids else "", limit=3):
        ids.extend(document.id for document in page)
    return ids


def true_cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """The cosine, as exactly as float64 has it."""
    first, second = one.astype(np.float64), other.astype(np.float64)
    return float(first @ second / np.sqrt((first @ first) * (second @ second)))
