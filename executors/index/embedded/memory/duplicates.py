"""Duplicates of one vector: a graph takes a few of them, the others are recorded beside it.

Duplicates fill each other's links, so that a walk does not get in or out and whole parts of a graph are lost (seen from
about twice as many as a vector has links). Real libraries have them: placeholder pictures, black frames.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from executors.index.embedded.graph.hnsw import HnswGraph

_KEPT_IN_GRAPH: Final = 8
_COLUMNS: Final = 32
_PRIME: Final = np.uint64(0x9E3779B97F4A7C15)
_SHIFT: Final = np.uint64(32)
_EFFORT: Final = 64
_READ_AT_ONCE: Final = 512


class CopyCounter:
    """Estimates how often a vector was added, in little memory: a count-min sketch of two rows (Cormode, 2005).

    It over-counts and never under-counts, so verify a positive answer against the vectors.

    Args:
        capacity: how many vectors are expected.
    """

    def __init__(self, capacity: int) -> None:
        self._cells = 1 << max(12, (2 * capacity - 1).bit_length())
        self._counts = np.zeros((2, self._cells), dtype=np.uint8)

    def add(self, vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Count N x D float32 vectors (as they are stored); returns which of them were frequent before, or earlier
        among these.
        """
        cells = self._cells_of(vectors)
        often = np.empty(len(vectors), dtype=np.bool_)
        for n, (first, second) in enumerate(cells.T.tolist()):
            low = min(self._counts[0, first], self._counts[1, second])
            often[n] = low >= _KEPT_IN_GRAPH
            if not often[n]:
                self._counts[0, first] += self._counts[0, first] < 255
                self._counts[1, second] += self._counts[1, second] < 255
        return often

    def add_all(self, graph: HnswGraph) -> None:
        """Count all vectors of a graph."""
        for start in range(0, graph.count, _READ_AT_ONCE):
            slots = np.arange(start, min(graph.count, start + _READ_AT_ONCE), dtype=np.int64)
            for counts, cells in zip(self._counts, self._cells_of(graph.stored(slots)), strict=True):
                found, times = np.unique(cells, return_counts=True)
                counts[found] = np.minimum(255, counts[found] + np.minimum(times, 255).astype(np.uint16)).astype(
                    np.uint8
                )

    def _cells_of(self, vectors: NDArray[np.float32]) -> NDArray[np.intp]:
        dimension = vectors.shape[1]
        columns = np.unique(np.linspace(0, dimension - 1, min(dimension, _COLUMNS)).astype(np.intp))
        words = np.ascontiguousarray(vectors[:, columns]).view(np.uint32).astype(np.uint64)
        mixed = np.zeros(len(vectors), dtype=np.uint64)
        for column in words.T:
            mixed = (mixed ^ column) * _PRIME
            mixed ^= mixed >> _SHIFT
        mask = np.uint64(self._cells - 1)
        return np.stack([mixed & mask, (mixed >> _SHIFT) & mask]).astype(np.intp)


class Copies:
    """The rows, ascending, that duplicate the vector of a slot. One thread adds; many threads read."""

    def __init__(self) -> None:
        self._rows: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._slots: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._of_slot: dict[int, list[int]] = {}
        self._count = 0

    def add(self, row: int, slot: int) -> None:
        """Remember a row that is newer than all others."""
        if self._count == len(self._rows):
            room = max(64, 2 * self._count)
            self._rows = np.concatenate([self._rows, np.zeros(room - self._count, dtype=np.int64)])
            self._slots = np.concatenate([self._slots, np.zeros(room - self._count, dtype=np.int64)])
        self._rows[self._count] = row
        self._slots[self._count] = slot
        self._of_slot.setdefault(slot, []).append(self._count)
        self._count += 1

    def rows(self, count: int) -> NDArray[np.int64]:
        """The first `count` rows."""
        return self._rows[:count]

    def slots(self, count: int) -> NDArray[np.int64]:
        """The slots that the first `count` rows duplicate."""
        return self._slots[:count]

    def of_slots(self, slots: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """The positions, among the first `count`, of the copies of these slots."""
        if not count:
            return np.empty(0, dtype=np.int64)
        found = [place for slot in slots.tolist() for place in list(self._of_slot.get(slot, ())) if place < count]
        return np.asarray(found, dtype=np.int64)


def find_copy(graph: HnswGraph, stored: NDArray[np.float32]) -> int | None:
    """A slot that holds exactly this vector (D float32, as it is stored); None if a walk does not find one."""
    slots, _ = graph.search(stored, 1, _EFFORT, None)
    if slots.size and np.array_equal(graph.stored(slots)[0], stored):
        return int(slots[0])
    return None
