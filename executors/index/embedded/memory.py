"""What a shard keeps in memory: who it is, its collections, and their vectors, each as of the last applied transaction."""

from __future__ import annotations

import sqlite3
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from executors.errors import VisualSearchError
from executors.index.embedded.encoding import decode_embedding
from executors.index.embedded.reads import all_vectors
from executors.index.embedded.transaction import (
    Changes,
    KnownCollection,
    identity_of,
    read_collections,
    read_meta,
)
from executors.index.embedded.vectors import VectorCache

_LOADED_AT_ONCE: Final = 1024
_LONGEST_WAIT_S: Final = 30.0


class Memory:
    """Written by one thread (the one that opened the store, then the writer's), read by many.

    Attributes:
        collections: by name; replaced as a whole, never changed.
        damaged: for each collection number, the rows whose vector is not what was stored, with their ids.
        applied: the number of the last transaction that everything here shows.
    """

    def __init__(self, meta: Mapping[str, Any], collections: dict[str, KnownCollection]) -> None:
        self.identity = identity_of(meta)
        self.last_version: str = meta["last_version"]
        self.applied: int = meta["sequence"]
        self.collections = collections
        self.caches = {each.number: VectorCache(each.collection.dimension) for each in collections.values()}
        self.damaged: dict[int, dict[int, str]] = defaultdict(dict)
        # Set when a transaction is applied as a whole: between its removals and its additions the caches count less.
        self._counts: dict[int, int] = {}
        self._arrived = threading.Condition()
        self.broken = False

    def prepare(self, changes: Changes) -> None:
        """Make room for what is about to be committed, so that publishing it can't fail.

        Raises:
            MemoryError: nothing was changed.
        """
        added: dict[int, int] = defaultdict(int)
        for number, _, _ in changes.added.values():
            added[number] += 1
        for number, count in added.items():
            if number in self.caches:
                self.caches[number].reserve(count)

    def publish(self, changes: Changes) -> None:
        """Show what was committed."""
        try:
            self._apply(changes)
        except BaseException:
            self.broken = True
            raise
        finally:
            with self._arrived:
                self._arrived.notify_all()
        for number in {number for number, _ in changes.removed}:
            # Without memory for the copy, the old blocks simply stay.
            with suppress(MemoryError):
                self.caches[number].compact(changes.sequence)

    def documents(self, collection: KnownCollection) -> int:
        """How many documents the collection has."""
        return self._counts.get(collection.number, 0)

    def recount(self, numbers: Iterable[int]) -> None:
        """Count the documents of these collections anew."""
        self._counts.update(
            {number: self.caches[number].live + len(self.damaged.get(number, ())) for number in numbers}
        )

    def wait_for(self, sequence: int) -> None:
        """Wait until that transaction, which is committed, is shown: the moment between the commit and `publish`.

        Raises:
            VisualSearchError: `internal` if publishing failed, which is a defect: then memory is not the truth any more.
        """
        if self.applied < sequence:
            with self._arrived:
                self._arrived.wait_for(lambda: self.applied >= sequence or self.broken, _LONGEST_WAIT_S)
        if self.broken or self.applied < sequence:
            raise VisualSearchError("internal", "memory and disk of this shard differ: restart it")

    def _apply(self, changes: Changes) -> None:
        sequence = changes.sequence
        if changes.collections:
            for each in changes.collections.values():
                self.caches[each.number] = VectorCache(each.collection.dimension)
            self.collections = self.collections | changes.collections
        removed: dict[int, list[int]] = defaultdict(list)
        for number, row in changes.removed:
            removed[number].append(row)
            self.damaged[number].pop(row, None)
        for number, rows in removed.items():
            self.caches[number].remove(sequence, rows)
        added: dict[int, list[tuple[int, str, bytes]]] = defaultdict(list)
        for row, (number, document_id, embedding) in changes.added.items():
            added[number].append((row, document_id, embedding))
        for number, documents in added.items():
            _add(self.caches[number], sequence, documents)
        self.recount({*removed, *added})
        if changes.identity is not None:
            self.identity = changes.identity
        if changes.last_version is not None:
            self.last_version = changes.last_version
        self.applied = sequence


def load(connection: sqlite3.Connection) -> Memory:
    """Read everything that searches need.

    Raises:
        VisualSearchError: `store_invalid` if the file lacks its counters.
        sqlite3.Error: the file can't be read.
    """
    memory = Memory(read_meta(connection), read_collections(connection))
    waiting: dict[int, list[tuple[int, str, bytes]]] = defaultdict(list)
    documents = all_vectors(connection)
    while some := list(islice(documents, _LOADED_AT_ONCE)):
        for row, number, document_id, embedding in some:
            cache = memory.caches.get(number)
            if cache is None or embedding is None or len(embedding) != 4 * cache.dimension:
                memory.damaged[number][row] = document_id
            else:
                waiting[number].append((row, document_id, embedding))
        for number, few in waiting.items():
            _add(memory.caches[number], memory.applied, few)
        waiting.clear()
    memory.recount(memory.caches)
    return memory


def _add(cache: VectorCache, sequence: int, documents: list[tuple[int, str, bytes]]) -> None:
    for some in _pieces(documents, _LOADED_AT_ONCE):
        vectors: NDArray[np.float32] = decode_embedding(b"".join(embedding for _, _, embedding in some))
        cache.add(
            sequence,
            [row for row, _, _ in some],
            [document_id for _, document_id, _ in some],
            vectors.reshape(len(some), cache.dimension),
        )


def _pieces(documents: list[tuple[int, str, bytes]], size: int) -> Iterator[list[tuple[int, str, bytes]]]:
    for start in range(0, len(documents), size):
        yield documents[start : start + size]
