"""One collection in memory: vectors that are compared one by one, and a graph that covers most of the others.

New rows first go to `flat`, so they are found at once; the maintenance thread moves them into the graph. A search takes
its view of `flat` first and of the graph afterwards, so a row that leaves `flat` in between is in the graph by then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from executors.index.embedded.graph.fair_lock import FairLock
from executors.index.embedded.graph.hnsw import HnswGraph
from executors.index.embedded.memory.live_graph import Alive, Extent, LiveGraph, room_for, set_places
from executors.index.embedded.memory.vectors import VectorCache, View


@dataclass(frozen=True, slots=True)
class GraphOptions:
    """How collections are searched.

    Attributes:
        graph_from: the number of documents from which on a graph is built.
        precision: of the vectors in the graph: half or single.
        rerank: where vectors for exact scores are read: the disk, or memory.
        m: links of a document in the graph.
        ef_construction: candidates that are examined when a document is linked.
        save_every: after how many changed rows the graph is saved (0: a tenth of what it holds, at least 10,000).
        threads: for building a graph.
    """

    graph_from: int = 10_000
    precision: Literal["half", "single"] = "half"
    rerank: Literal["disk", "memory"] = "disk"
    m: int = 16
    ef_construction: int = 200
    save_every: int = 0
    threads: int = 1

    @property
    def keeps_vectors(self) -> bool:
        """Whether vectors stay in `flat` once the graph covers them; a graph of single precision has them itself."""
        return self.rerank == "memory" and self.precision == "half"


@dataclass(frozen=True, slots=True)
class GraphView:
    """A graph as of one transaction: the part of it that existed, and what is alive in it."""

    graph: LiveGraph
    extent: Extent
    alive: Alive

    def live_slots(self) -> NDArray[np.intp]:
        """The slots that are alive."""
        return set_places(self.alive.slots, self.extent.slots)

    def live_copies(self) -> NDArray[np.intp]:
        """The copies that are alive."""
        return set_places(self.alive.copies, self.extent.copies)


@dataclass(frozen=True, slots=True)
class CollectionView:
    """A collection as of one transaction.

    Attributes:
        flat: views of the vectors that may not be in the graph, and of some rows that are.
        graph: None without one.
    """

    flat: list[View]
    graph: GraphView | None

    @property
    def covered(self) -> int:
        """The row number up to which the graph answers."""
        return 0 if self.graph is None else self.graph.extent.covered


class CollectionMemory:
    """The writer's thread changes which rows there are, the maintenance thread where they are; many threads read.

    Attributes:
        documents: how many there are; those whose vector is damaged count.
    """

    def __init__(self, dimension: int, options: GraphOptions) -> None:
        self.dimension = dimension
        self.options = options
        self.flat = VectorCache(dimension)
        self.graph: LiveGraph | None = None
        self.documents = 0
        # The last transaction that removed a row.
        self.last_removed = 0
        # Held while rows are removed, or change their place; a search never holds it. Adding rows does not need it: a
        # write must not wait while the graph takes some older rows.
        self.changing = FairLock()
        # While a graph is rebuilt: the rows removed since the rebuild began.
        self.removed_meanwhile: list[int] | None = None

    def view(self, sequence: int, next_row: int) -> CollectionView | None:
        """The collection as of a transaction that has been applied; None if that state is no longer kept.

        Args:
            next_row: the first row number that the transaction has not used.
        """
        flat = self.flat.view(sequence)
        if flat is None:
            return None
        graph = self.graph
        if graph is None:
            return CollectionView(flat, None)
        extent = graph.extent_before(next_row)
        alive = graph.alive(sequence)
        # Removed rows that a compaction took out of `flat` never reach the graph, so the graph then answers for them,
        # too.
        if alive is None or self.flat.floor > sequence:
            return None
        return CollectionView(flat, GraphView(graph, extent, alive))

    def reserve(self, rows: int) -> None:
        """Make room for as many more rows, so that adding them can't run out of memory.

        Raises:
            MemoryError: nothing was changed.
        """
        self.flat.reserve(rows)

    def add(self, sequence: int, rows: list[int], ids: list[str], vectors: NDArray[np.float32]) -> None:
        """Add the rows that a committed transaction stored."""
        self.flat.add(sequence, rows, ids, vectors)

    def remove(self, sequence: int, rows: list[int]) -> None:
        """Mark rows as gone from that sequence number on."""
        with self.changing:
            self.last_removed = sequence
            self.flat.remove(sequence, rows)
            if self.graph is not None:
                self.graph.remove(sequence, np.unique(np.asarray(rows, dtype=np.int64)))
            if self.removed_meanwhile is not None:
                self.removed_meanwhile.extend(rows)

    def compact(self, sequence: int) -> None:
        """Release the memory of removed rows in `flat`."""
        with self.changing:
            self.flat.compact(sequence)

    def new_graph(self, documents: int, sequence: int = 0) -> LiveGraph:
        """An empty graph with room for that many documents and some more, valid from a transaction on."""
        options = self.options
        graph = HnswGraph(
            self.dimension,
            precision=options.precision,
            capacity=room_for(documents),
            m=options.m,
            ef_construction=options.ef_construction,
        )
        return LiveGraph(graph, np.empty(0, dtype=np.int64), sequence)

    def start_graph(self, applied: int) -> None:
        """Begin a graph; `applied` is the last transaction that memory shows."""
        graph = self.new_graph(self.documents, applied)
        with self.changing:
            graph.take_over(max(applied, self.last_removed), np.empty(0, dtype=np.int64), 0)
            self.graph = graph

    def move_some(self, most: int) -> int:
        """Add the next few rows to the graph; returns how many. Only the maintenance thread calls this."""
        assert self.graph is not None
        with self.changing:
            rows, vectors, died = self.flat.pending(self.graph.extent.covered, most)
            if rows.size:
                self.graph.append(rows, vectors, died)
        return len(rows)

    def drop_covered(self) -> None:
        """Release vectors that the graph covers, if they are read from the disk (or from the graph) instead."""
        if self.graph is not None and not self.options.keeps_vectors:
            with self.changing:
                self.flat.drop_through(self.graph.extent.covered)

    def vectors_in_memory(self, rows: NDArray[np.int64], view: GraphView) -> NDArray[np.float32] | None:
        """The vectors of ascending row numbers that the graph covers, if memory has them in full precision."""
        if self.options.rerank == "disk":
            return None
        if self.options.precision == "single":
            return view.graph.vectors(rows, view.extent)
        try:
            return self.flat.fetch(rows)
        except KeyError:
            # The row was removed since this search began; the disk still has it for this transaction.
            return None

    @property
    def bytes_held(self) -> int:
        """Bytes of the vectors and of the graph."""
        return self.flat.bytes_held + (self.graph.graph.memory_bytes if self.graph is not None else 0)

    @property
    def uncovered(self) -> int:
        """How many rows are compared one by one."""
        return self.flat.rows_after(self.graph.extent.covered if self.graph is not None else 0)
