"""A rebuild of a graph from the documents, in steps, while the old graph keeps answering."""

from __future__ import annotations

import logging
import sqlite3
import time
from contextlib import nullcontext
from itertools import islice
from typing import Final

import numpy as np

from executors.index.embedded.disk.database import ReadConnections
from executors.index.embedded.disk.reads import sequence_of, vectors_after
from executors.index.embedded.memory.collection_memory import CollectionMemory
from executors.index.embedded.memory.live_graph import LiveGraph, room_for
from executors.index.embedded.memory.shard_memory import Memory
from executors.index.encoding import decode_embedding

_ROWS_A_STEP: Final = 512

_log = logging.getLogger(__name__)


class Rebuild:
    """One rebuild of one collection's graph. Every `step` is short; between two of them the old graph may grow.

    Attributes:
        done, total: rows, to show the progress.
        finished: whether the new graph has replaced the old one, or the collection has been dropped.
    """

    def __init__(self, memory: Memory, number: int, held: CollectionMemory, reading: ReadConnections) -> None:
        self._memory = memory
        self._number = number
        self._reading = reading
        self._held = held
        self._started = time.perf_counter()
        self._graph: LiveGraph | None = None
        self._last = self._seen = 0
        self.done = 0
        self.total = self._held.documents
        self.finished = False
        with self._held.changing:
            self._held.removed_meanwhile = []

    def step(self) -> None:
        """Add some rows to the new graph, or replace the old graph by it."""
        if self._memory.held.get(self._number) is not self._held or self._held.graph is None:
            self._end()
            return
        if self._graph is None:
            self._graph = self._held.new_graph(self.total)
        found, damaged = self._reading.run(self._read)
        if damaged:
            self._memory.damaged[self._number].update(damaged)
        if not found and not damaged:
            self._swap()
            return
        self._last = max([*(row for row, _ in found), *damaged])
        sound = [(row, embedding) for row, embedding in found if len(embedding) == 4 * self._held.dimension]
        if not sound:
            return
        if self._graph.extent.slots + len(sound) > self._graph.graph.capacity:
            self._graph.grow(room_for(self._graph.extent.slots + len(sound)), nullcontext())
        vectors = decode_embedding(b"".join(embedding for _, embedding in sound)).reshape(len(sound), -1)
        rows = np.asarray([row for row, _ in sound], dtype=np.int64)
        self._graph.build(rows, vectors, self._held.options.threads)
        self.done += len(sound)

    def abandon(self) -> None:
        """Stop without a result."""
        self._end()

    def _read(self, connection: sqlite3.Connection) -> tuple[list[tuple[int, bytes]], dict[int, str]]:
        """The next rows that the old graph covers: those with their vectors, and the damaged ones with their ids."""
        graph = self._held.graph
        assert graph is not None
        self._seen = sequence_of(connection)
        found: list[tuple[int, bytes]] = []
        damaged: dict[int, str] = {}
        for row, document_id, embedding in islice(
            vectors_after(connection, self._number, self._last, graph.extent.covered + 1), _ROWS_A_STEP
        ):
            if embedding is None:
                damaged[row] = document_id
            else:
                found.append((row, embedding))
        return found, damaged

    def _swap(self) -> None:
        """Replace the old graph by the new one, which covers the same rows except those removed meanwhile."""
        assert self._graph is not None
        old = self._held.graph
        assert old is not None
        with self._held.changing:
            removed = np.unique(np.asarray(self._held.removed_meanwhile, dtype=np.int64))
            # Rows that were removed before the documents were read are not in the new graph, so searches as of that
            # time must start again.
            sequence = max(self._memory.applied, self._held.last_removed, self._seen)
            self._graph.take_over(sequence, removed, old.extent.covered)
            self._held.graph = self._graph
            self._held.removed_meanwhile = None
        self.finished = True
        _log.info(
            "collection %d: graph of %d documents rebuilt in %.1f s",
            self._number, self._graph.count, time.perf_counter() - self._started,
        )  # fmt: skip

    def _end(self) -> None:
        self._graph = None
        with self._held.changing:
            self._held.removed_meanwhile = None
        self.finished = True
