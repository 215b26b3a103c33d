"""The parts of an embedded shard without the thread that keeps its graphs: a test does that thread's steps itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from executors.index.embedded.disk.checkpoints import Checkpointer
from executors.index.embedded.disk.database import ReadConnections, connect_writer
from executors.index.embedded.disk.meta import KnownCollection
from executors.index.embedded.disk.placement import Placement
from executors.index.embedded.disk.reads import moment_of
from executors.index.embedded.disk.reserve import Reserve
from executors.index.embedded.disk.schema import prepare
from executors.index.embedded.disk.transaction import Transaction
from executors.index.embedded.graph.hnsw import HnswGraph
from executors.index.embedded.memory.collection_memory import CollectionMemory, CollectionView, GraphOptions
from executors.index.embedded.memory.live_graph import ROWS_A_MOVE, LiveGraph, set_places
from executors.index.embedded.memory.loading import load_memory
from executors.index.embedded.search.exact import selected_views
from executors.index.embedded.search.ranking import Scope, scope_of
from executors.index.embedded.search.targets import targets_of
from executors.index.embedded.upkeep.rebuild import Rebuild
from executors.index.embedded.write import apply, removal
from executors.index.embedded.write.writer import Writer
from executors.index.encoding import encode_record
from executors.index.records import Record
from tests.support.stores.records import DIMENSION, IDENTITY, IMAGES, key, results, vector_of

HOUR_MS = 3_600_000
FROM_4 = GraphOptions(graph_from=4)
NO_ROWS = np.empty(0, dtype=np.int64)

T = TypeVar("T")


class Shard:
    """A writer with what it needs, one collection, and a wall clock that can be turned."""

    def __init__(self, folder: Path, graph: GraphOptions = FROM_4) -> None:
        self.folder = folder
        self.connection = connect_writer(folder)
        prepare(self.connection)
        self.notes: list[str] = []
        self.memory = load_memory(self.connection, folder, graph, self.notes)
        self.now_ms = 1_800_000_000_000
        self.writer = Writer(
            self.connection,
            self.memory,
            Placement(folder),
            Reserve(folder),
            lambda: self.now_ms,
            HOUR_MS,
            Checkpointer(self.connection),
        )
        self.reading = ReadConnections(folder)
        self.run(partial(apply.adopt, identity=IDENTITY))
        self.run(partial(apply.ensure_collection, collection=IMAGES))

    def close(self) -> None:
        self.writer.close()
        self.reading.close()
        self.connection.close()

    @property
    def known(self) -> KnownCollection:
        return self.memory.collections[IMAGES.name]

    @property
    def held(self) -> CollectionMemory:
        return self.memory.held[self.known.number]

    def run(self, work: Callable[[Transaction], T]) -> T:
        """Do something in a transaction of the writer."""
        return self.writer.submit(work).result(20)

    def put(self, *records: Record) -> list[str]:
        return results(self.run(partial(apply.put, records=[encode_record(each) for each in records])))

    def delete(self, number: int, *ids: str) -> list[str]:
        return results(self.run(partial(removal.delete, keys=[key(each, number) for each in ids])))

    def read(self, sql: str, *values: Any) -> list[Any]:
        """The first column of what is on disk."""
        return self.reading.run(lambda each: [row[0] for row in each.execute(sql, values)])

    def rows(self) -> list[int]:
        """The rows of the collection's documents on disk."""
        return self.reading.run(partial(rows_on_disk, number=self.known.number))

    def row_of(self, document_id: str) -> int:
        return int(self.read("SELECT row FROM documents WHERE id = ?", document_id)[0])

    def cover(self) -> LiveGraph:
        """Bring the graph up to date."""
        return covered(self.held, self.memory.applied)

    def rebuild(self) -> Rebuild:
        """Build the graph anew."""
        rebuild = Rebuild(self.memory, self.known.number, self.held, self.reading)
        while not rebuild.finished:
            rebuild.step()
        return rebuild

    def view(self) -> CollectionView:
        view = self.reading.run(partial(view_in, shard=self))
        assert view is not None
        return view

    def in_scope(self, work: Callable[[Scope], T], rows: NDArray[np.int64] | None = None) -> T:
        """Do something with what a search of now would see."""

        def read(connection: sqlite3.Connection) -> T:
            view = view_in(connection, self)
            assert view is not None
            return work(scope_of(connection, self.held, view, rows))

        return self.reading.run(read)


def view_in(connection: sqlite3.Connection, shard: Shard) -> CollectionView | None:
    """Return the part of the collection that a search in this reading transaction sees."""
    sequence, next_row = moment_of(connection)
    shard.memory.wait_for(sequence)
    return shard.held.view(sequence, next_row)


def rows_on_disk(connection: sqlite3.Connection, number: int) -> list[int]:
    return [
        row
        for (row,) in connection.execute("SELECT row FROM documents WHERE collection = ? ORDER BY row", (number,))
    ]  # fmt: skip


def small_graph(capacity: int, precision: Any = "half", dimension: int = DIMENSION, sequence: int = 0) -> LiveGraph:
    """An empty graph with little room."""
    return LiveGraph(HnswGraph(dimension, precision=precision, capacity=capacity), NO_ROWS, sequence)


def covered(held: CollectionMemory, applied: int) -> LiveGraph:
    """Move everything into the graph, which is begun if there is none."""
    if held.graph is None:
        held.start_graph(applied)
    assert held.graph is not None
    while move(held):
        pass
    held.drop_covered()
    return held.graph


def move(held: CollectionMemory) -> int:
    """The maintenance thread's smallest step: a few rows into the graph, which grows if it has to."""
    assert held.graph is not None
    if not held.graph.has_room:
        held.graph.grow(held.graph.extent.slots + 4 * ROWS_A_MOVE, held.changing)
    return held.move_some(ROWS_A_MOVE)


def rows_found(view: CollectionView, wanted: Sequence[int] | None = None) -> list[int]:
    """Every row that a search which misses nothing comes across, as often as it does; ascending."""
    rows = None if wanted is None else np.asarray(wanted, dtype=np.int64)
    found: list[int] = []
    for each in selected_views(view.flat, view.covered, rows):
        numbers = each.block.rows[: each.count]
        found.extend((numbers if each.gone is None else numbers[~each.gone]).tolist())
    if view.graph is not None:
        targets = targets_of(view.graph, rows)
        slots = view.graph.extent.slots
        chosen = np.arange(slots) if targets.bits is None else set_places(targets.bits, slots)
        found.extend(targets.rows_of(chosen.astype(np.int64)).tolist())
    return sorted(found)


def vectors_like(seeds: Sequence[int], dimension: int = DIMENSION) -> NDArray[np.float32]:
    """One unit vector for each seed, the same for the same: N x D float32."""
    vectors = [vector_of(seed, dimension) for seed in seeds]
    return np.asarray(vectors, dtype=np.float32).reshape(len(seeds), dimension)
