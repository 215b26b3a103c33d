"""The memory of a shard: its identity, its collections, and their vectors, each as of the last applied transaction."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from executors.errors import VisualSearchError
from executors.index.embedded.disk.meta import KnownCollection, identity_of
from executors.index.embedded.disk.transaction import Changes
from executors.index.embedded.memory.collection_memory import CollectionMemory, GraphOptions
from executors.index.embedded.tags.filter_cache import FilterCache
from executors.index.encoding import decode_embedding

ADDED_AT_ONCE: Final = 1024
DEFAULT_OPTIONS: Final = GraphOptions()
_LONGEST_WAIT_S: Final = 30.0

LoadedVector: TypeAlias = tuple[int, str, bytes]


class Memory:
    """One thread writes (the one that opened the store, then the writer's), many read.

    Attributes:
        collections: by name; replaced as a whole, never changed.
        held: each collection in memory, by its number; replaced as a whole, too.
        damaged: for each collection number, the rows whose vector differs from what was stored, with their ids.
        filters: rows that match recent filters.
        applied: the number of the last transaction that everything here shows.
    """

    def __init__(
        self, meta: Mapping[str, Any], collections: dict[str, KnownCollection], options: GraphOptions = DEFAULT_OPTIONS
    ) -> None:
        self.identity = identity_of(meta)
        self.last_version: str = meta["last_version"]
        self.applied: int = meta["sequence"]
        self.collections = collections
        self.options = options
        self.held = {each.number: CollectionMemory(each.collection.dimension, options) for each in collections.values()}
        self.damaged: dict[int, dict[int, str]] = defaultdict(dict)
        self.filters = FilterCache(self.applied)
        self._arrived = threading.Condition()
        self.broken = False

    def prepare(self, changes: Changes) -> None:
        """Make room for the changes that are about to be committed, so that publishing them can't fail.

        Raises:
            MemoryError: nothing was changed.
        """
        added: dict[int, int] = defaultdict(int)
        for number, _, _ in changes.added.values():
            added[number] += 1
        for number, count in added.items():
            if number in self.held:
                self.held[number].reserve(count)

    def publish(self, changes: Changes) -> None:
        """Show the changes that were committed."""
        try:
            self._apply(changes)
        except BaseException:
            self.broken = True
            raise
        finally:
            with self._arrived:
                self._arrived.notify_all()
        for number in {number for number, _ in changes.removed} & self.held.keys():
            # If there is no memory for the copy, the old blocks stay.
            with suppress(MemoryError):
                self.held[number].compact(changes.sequence)

    def documents(self, collection: KnownCollection) -> int:
        """How many documents the collection has."""
        held = self.held.get(collection.number)
        return 0 if held is None else held.documents

    def wait_for(self, sequence: int) -> None:
        """Wait until that transaction, which is committed, is shown: the moment between the commit and `publish`.

        Raises:
            VisualSearchError: `internal` if publishing failed, which is a defect: memory then differs from the disk.
        """
        if self.applied < sequence:
            with self._arrived:
                self._arrived.wait_for(lambda: self.applied >= sequence or self.broken, _LONGEST_WAIT_S)
        if self.broken or self.applied < sequence:
            raise VisualSearchError("internal", "memory and disk of this shard differ: restart it")

    def _apply(self, changes: Changes) -> None:
        sequence = changes.sequence
        self._change_collections(changes)
        removed: dict[int, list[int]] = defaultdict(list)
        for number, row in changes.removed:
            removed[number].append(row)
            self.damaged[number].pop(row, None)
        added: dict[int, list[LoadedVector]] = defaultdict(list)
        for row, (number, document_id, embedding) in changes.added.items():
            added[number].append((row, document_id, embedding))
        changed = {number: set(rows) for number, rows in removed.items()}
        for number, documents in added.items():
            changed.setdefault(number, set()).update(row for row, _, _ in documents)
        for number, row in changes.retagged:
            changed.setdefault(number, set()).add(row)
        for number in (removed.keys() | added.keys()) & self.held.keys():
            held = self.held[number]
            if number in removed:
                held.remove(sequence, removed[number])
            if number in added:
                add_vectors(held, sequence, added[number])
            # If a transaction's removals came first, the count would be too low between its removals and its additions.
            held.documents += len(added.get(number, ())) - len(removed.get(number, ()))
        # After a repair of the tag index, older answers are invalid.
        self.filters.note(sequence, None if changes.tags_reindexed else changed)
        if changes.identity is not None:
            self.identity = changes.identity
        if changes.last_version is not None:
            self.last_version = changes.last_version
        self.applied = sequence

    def _change_collections(self, changes: Changes) -> None:
        if changes.collections:
            new = {each.number: CollectionMemory(each.collection.dimension, self.options)
                   for each in changes.collections.values()}  # fmt: skip
            self.held = self.held | new
            self.collections = self.collections | changes.collections
        if changes.dropped:
            # Running searches hold references to the old dictionaries.
            self.collections = {
                name: each for name, each in self.collections.items() if each.number not in changes.dropped
            }
            self.held = {number: each for number, each in self.held.items() if number not in changes.dropped}
            for number in changes.dropped:
                self.damaged.pop(number, None)


def add_vectors(held: CollectionMemory, sequence: int, documents: Sequence[LoadedVector]) -> None:
    """Add encoded vectors, a limited number at once: row, id and little-endian float32 of each."""
    for start in range(0, len(documents), ADDED_AT_ONCE):
        some = documents[start : start + ADDED_AT_ONCE]
        vectors: NDArray[np.float32] = decode_embedding(b"".join(embedding for _, _, embedding in some))
        held.add(
            sequence,
            [row for row, _, _ in some],
            [document_id for _, document_id, _ in some],
            vectors.reshape(len(some), held.dimension),
        )
