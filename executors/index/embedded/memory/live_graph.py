"""A graph that is searched while it grows: the rows it holds, and since which transaction each removed one is gone.

Rows are added in ascending order. Each gets a slot of the graph, or is recorded as a copy of a slot's vector. So the
graph has every row up to some number (`Extent`); later rows are compared one by one until they are added. One thread
adds, the writer's thread removes, many search:

- adding takes the lock of the graph for one or two rows at a time, and lets waiting searches go first;
- removing makes a new set of bits and leaves those that running searches use unchanged;
- a search asks for the bits as of its transaction, and for no more than existed when it asked.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from executors.index.embedded.graph.hnsw import ADDED_AT_ONCE, HnswGraph
from executors.index.embedded.graph.rwlock import RwLock
from executors.index.embedded.memory.duplicates import Copies, CopyCounter, find_copy
from executors.index.embedded.memory.slot_cache import Selections

ROWS_A_MOVE: Final = 8
"""How many rows `append` takes at most."""

_BITS_KEPT: Final = 16
_ROOM: Final = 1.25

Bits = NDArray[np.uint8]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Extent:
    """The number of slots and copies, and the row number up to which they answer."""

    slots: int
    copies: int
    covered: int


@dataclass(frozen=True, slots=True)
class Alive:
    """The rows that are alive from a sequence number on: little-endian bits of slots and of copies, and how many of
    both are dead.

    Bits beyond the slots and copies in use are set.
    """

    sequence: int
    slots: Bits
    copies: Bits
    dead: int


class LiveGraph:
    """A graph with its rows and their deletions; see the module.

    Args:
        graph: a graph that was built or loaded.
        rows: int64, ascending: the row number of each slot.
        sequence: the transaction from which on this is valid.
    """

    def __init__(self, graph: HnswGraph, rows: Rows, sequence: int) -> None:
        self.graph = graph
        self.lock = RwLock()
        self.copies = Copies()
        self.selections = Selections()
        self._rows = np.zeros(graph.capacity, dtype=np.int64)
        self._rows[: len(rows)] = rows
        self._extent = Extent(len(rows), 0, int(rows[-1]) if len(rows) else 0)
        self._alive: tuple[Alive, ...] = (Alive(sequence, _all(graph.capacity), _all(0), 0),)
        self._counter = CopyCounter(graph.capacity)
        self._counter.add_all(graph)

    @property
    def extent(self) -> Extent:
        """The current extent."""
        return self._extent

    @property
    def count(self) -> int:
        """How many rows it holds, removed ones included."""
        return self._extent.slots + self._extent.copies

    @property
    def dead(self) -> int:
        """How many of its rows are removed."""
        return self._alive[-1].dead

    @property
    def has_room(self) -> bool:
        """Whether there is room for a few more slots."""
        return self._extent.slots + ROWS_A_MOVE <= self.graph.capacity

    def rows(self, extent: Extent) -> Rows:
        """The row number of each slot, ascending."""
        return self._rows[: extent.slots]

    def alive(self, sequence: int) -> Alive | None:
        """The live slots and copies as of a transaction; None if that is no longer kept."""
        return next((each for each in reversed(self._alive) if each.sequence <= sequence), None)

    def extent_before(self, row: int) -> Extent:
        """The extent of the rows before that row number."""
        extent = self._extent
        if extent.covered < row:
            return extent
        slots = int(np.searchsorted(self.rows(extent), row))
        copies = int(np.searchsorted(self.copies.rows(extent.copies), row))
        return Extent(slots, copies, row - 1)

    def vectors(self, rows: Rows, extent: Extent) -> NDArray[np.float32]:
        """The vectors of ascending row numbers that it holds, as they are stored: N x D float32."""
        slots = np.zeros(len(rows), dtype=np.int64)
        for among, meant in (
            (self.rows(extent), None),
            (self.copies.rows(extent.copies), self.copies.slots(extent.copies)),
        ):
            places = np.minimum(np.searchsorted(among, rows), max(0, len(among) - 1))
            found = among[places] == rows if len(among) else np.zeros(len(rows), dtype=np.bool_)
            slots[found] = places[found] if meant is None else meant[places[found]]
        return self.graph.stored(slots)

    def append(self, rows: Rows, vectors: NDArray[np.float32], died: NDArray[np.int64]) -> None:
        """Add a few rows at the end. The caller, who looked up `died`, must keep removals out meanwhile.

        Args:
            died: the transaction from which on each is gone.
        """
        extent = self._extent
        stored = self.graph.rounded(vectors)
        often = self._counter.add(stored)
        of = [find_copy(self.graph, each) if seen else None for each, seen in zip(stored, often, strict=True)]
        is_new = np.asarray([slot is None for slot in of], dtype=np.bool_)
        copies = [(int(row), slot) for row, slot in zip(rows, of, strict=True) if slot is not None]
        if copies:
            self._make_room_for_copies(extent.copies + len(copies))
        alive = []
        for each in self._alive:
            gone = died <= each.sequence
            _clear(each.slots, extent.slots + np.flatnonzero(gone[is_new]))
            _clear(each.copies, extent.copies + np.flatnonzero(gone[~is_new]))
            alive.append(Alive(each.sequence, each.slots, each.copies, each.dead + int(np.count_nonzero(gone))))
        # This comes before the extent: a thread that sees the rows must also see which of them are dead.
        self._alive = tuple(alive)
        for row, slot in copies:
            self.copies.add(row, slot)
        new = stored[is_new]
        # A walk may already meet slots beyond the extent; the search then leaves them out.
        for start in range(0, len(new), ADDED_AT_ONCE):
            with self.lock.writing():
                self.graph.add(new[start : start + ADDED_AT_ONCE])
        self._rows[extent.slots : extent.slots + len(new)] = rows[is_new]
        self._extent = Extent(extent.slots + len(new), extent.copies + len(copies), int(rows[-1]))

    def build(self, rows: Rows, vectors: NDArray[np.float32], threads: int) -> None:
        """Add rows to a graph that has room for them and is not searched yet."""
        stored = self.graph.rounded(vectors)
        often = self._counter.add(stored)
        start = 0
        for place in [*np.flatnonzero(often).tolist(), len(rows)]:
            if start < place:
                self._build_slots(rows[start:place], vectors[start:place], threads)
            if place < len(rows):
                slot = find_copy(self.graph, stored[place])
                if slot is None:
                    self._build_slots(rows[place : place + 1], vectors[place : place + 1], 1)
                else:
                    self.add_copy(int(rows[place]), slot)
            start = place + 1

    def _build_slots(self, rows: Rows, vectors: NDArray[np.float32], threads: int) -> None:
        extent = self._extent
        self.graph.add_many(vectors, threads)
        self._rows[extent.slots : extent.slots + len(rows)] = rows
        self._extent = Extent(extent.slots + len(rows), extent.copies, max(extent.covered, int(rows[-1])))

    def add_copy(self, row: int, slot: int) -> None:
        """Record a copy in a graph that is not searched yet."""
        extent = self._extent
        self._make_room_for_copies(extent.copies + 1)
        self.copies.add(row, slot)
        self._extent = Extent(extent.slots, extent.copies + 1, max(extent.covered, row))

    def remove(self, sequence: int, rows: Rows) -> None:
        """Mark rows (ascending) as gone from that transaction on; rows that it does not hold are ignored."""
        extent, newest = self._extent, self._alive[-1]
        slots = places_of(rows, self.rows(extent))
        copies = places_of(rows, self.copies.rows(extent.copies))
        # This happens even without any rows: rows that are added later are gone from this transaction on, not from an
        # earlier one.
        slots, copies = slots[is_set(newest.slots, slots)], copies[is_set(newest.copies, copies)]
        alive = Alive(
            sequence, newest.slots.copy(), newest.copies.copy(), newest.dead + len(slots) + len(copies)
        )  # fmt: skip
        _clear(alive.slots, slots)
        _clear(alive.copies, copies)
        self._alive = (*self._alive, alive)[-_BITS_KEPT:]

    def take_over(self, sequence: int, removed: Rows, covered: int) -> None:
        """Become valid from that transaction on for all rows up to `covered`, without these rows (ascending)."""
        extent = self._extent
        self._extent = Extent(extent.slots, extent.copies, max(extent.covered, covered))
        self.remove(sequence, removed)
        self._alive = self._alive[-1:]

    def keep_only(self, live: Rows) -> None:
        """Mark every row as gone that is not among these (ascending), before the first search."""
        extent, newest = self._extent, self._alive[-1]
        slots = np.flatnonzero(~np.isin(self.rows(extent), live, assume_unique=True))
        copies = np.flatnonzero(~np.isin(self.copies.rows(extent.copies), live, assume_unique=True))
        _clear(newest.slots, slots)
        _clear(newest.copies, copies)
        self._alive = (Alive(newest.sequence, newest.slots, newest.copies, len(slots) + len(copies)),)

    def grow(self, capacity: int, changing: AbstractContextManager[object]) -> None:
        """Make more room; searches continue with the old graph. The adding thread calls this; `changing` keeps removals
        out.
        """
        graph = self.graph.grown(capacity)
        rows = np.zeros(capacity, dtype=np.int64)
        counter = CopyCounter(capacity)
        counter.add_all(graph)
        with changing:
            rows[: self._extent.slots] = self.rows(self._extent)
            self._alive = tuple(
                Alive(each.sequence, _padded(each.slots, capacity), each.copies, each.dead) for each in self._alive
            )
            with self.lock.writing():
                self.graph, self._rows, self._counter = graph, rows, counter

    def _make_room_for_copies(self, count: int) -> None:
        if count > 8 * len(self._alive[-1].copies):
            self._alive = tuple(
                Alive(each.sequence, each.slots, _padded(each.copies, 2 * count), each.dead) for each in self._alive
            )


def room_for(count: int) -> int:
    """The number of slots that a graph of that size should have, to be able to grow for a while."""
    return max(1024, int(count * _ROOM))


def places_of(rows: Rows, among: Rows) -> NDArray[np.intp]:
    """The positions of ascending row numbers among others, ascending; rows that are not among them are left out."""
    places = np.searchsorted(among, rows)
    inside = places < len(among)
    places, rows = places[inside], rows[inside]
    found: NDArray[np.intp] = places[among[places] == rows]
    return found


def is_set(bits: Bits, places: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which of these little-endian bits are set."""
    chosen: NDArray[np.bool_] = (bits[places >> 3] >> (places & 7).astype(np.uint8)) & 1 == 1
    return chosen


def bits_of(slots: NDArray[np.intp], count: int) -> Bits:
    """Little-endian bits of `count` slots with those of `slots` set."""
    chosen = np.zeros(count, dtype=np.bool_)
    chosen[slots] = True
    return np.packbits(chosen, bitorder="little")


def set_places(bits: Bits, count: int) -> NDArray[np.intp]:
    """The positions of the set bits among the first `count` little-endian bits."""
    return np.flatnonzero(np.unpackbits(bits, count=count, bitorder="little"))


def first_bits(bits: Bits, count: int) -> Bits:
    """A copy of the first `count` bits, and none after them."""
    cut = bits[: _bytes_for(count)].copy()
    if count % 8:
        cut[-1] &= (1 << count % 8) - 1
    return cut


def _bytes_for(count: int) -> int:
    return (count + 7) // 8


def _all(count: int) -> Bits:
    return np.full(_bytes_for(count), 0xFF, dtype=np.uint8)


def _clear(bits: Bits, places: NDArray[np.intp]) -> None:
    np.bitwise_and.at(bits, places >> 3, ~(np.uint8(1) << (places & 7).astype(np.uint8)))


def _padded(bits: Bits, count: int) -> Bits:
    padded = _all(count)
    padded[: len(bits)] = bits
    return padded
