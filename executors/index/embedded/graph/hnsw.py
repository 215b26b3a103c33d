"""Approximate search: an HNSW graph (Y. Malkov, D. Yashunin, 2016, arXiv:1603.09320) over unit vectors in memory.

A slot is the position of a vector in the order in which the graph got them; slots are never reused. Memory for the
whole `capacity` is reserved at once, so that an add never moves memory that searches read. `search` walks the links and
needs the read side of a lock whose write side `add` holds; methods that read only vectors (`scan`, `scan_above`,
`stored`) need no lock.
"""

from __future__ import annotations

from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from executors.index.embedded.graph.native import (
    FAISS_VERSION,
    Arrays,
    NativeIndex,
    Precision,
    scan_parameters,
    use_one_thread,
    using_threads,
    walk_parameters,
)
from executors.index.embedded.graph.rounding import score_error, unit_vectors
from executors.index.embedded.graph.validation import problem_of

__all__ = ["ADDED_AT_ONCE", "FAISS_VERSION", "HnswGraph", "Precision", "score_error", "selected_bits", "use_one_thread"]

ADDED_AT_ONCE: Final = 2
"""How many vectors one `add` takes at most: searches wait for it, 1.5 ms a vector at 100,000 and 2.5 ms at 1,000,000."""

_COPIED_AT_ONCE: Final = 1 << 24
_FILLED_AT_ONCE: Final = 1 << 14
_FEW: Final = 256

Found = tuple[NDArray[np.int64], NDArray[np.float32]]


class HnswGraph:
    """An HNSW graph by cosine.

    Args:
        dimension: D.
        precision: of the stored vectors, `half` (2 D bytes each) or `single` (4 D bytes).
        capacity: the maximum number of vectors.
        m: links of a vector on the upper levels; twice as many on the lowest.
        ef_construction: how many candidates are kept while a vector's neighbours are searched.
        used: the number of vectors that `expand` is about to fill in; saves time.

    Raises:
        ValueError: an argument out of range.
        MemoryError: there is not enough for `capacity`.
    """

    def __init__(
        self,
        dimension: int,
        *,
        precision: Precision,
        capacity: int,
        m: int = 16,
        ef_construction: int = 200,
        used: int = 0,
    ) -> None:
        if (
            not 0 <= used <= capacity
            or dimension < 1
            or capacity < 0
            or m < 2
            or ef_construction < 1
            or precision not in ("half", "single")
        ):
            raise ValueError("dimension, capacity, m, ef_construction or precision out of range")
        self.dimension = dimension
        self.precision: Precision = precision
        self.capacity = capacity
        self.m = m
        self.ef_construction = ef_construction
        # The count grows when an add is complete, so that threads that read vectors without a lock see whole ones only.
        self.count = 0
        self._complete = True
        self._native = NativeIndex(dimension, precision, capacity, m, ef_construction, used)

    @property
    def memory_bytes(self) -> int:
        """Bytes that are filled; the reserved rest takes no memory until it is used."""
        code_size = self.dimension * (2 if self.precision == "half" else 4)
        return int(self.count * (code_size + 12) + 4 * self._native.index.hnsw.neighbors.size())

    @property
    def complete(self) -> bool:
        """False once an add has failed halfway; then the graph has to be rebuilt."""
        return self._complete

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Add N x D float32 vectors as `rounded` returned them, N at most `ADDED_AT_ONCE`. No search may run meanwhile.

        Raises:
            ValueError: too many vectors, or no room for them.
            RuntimeError: an earlier add failed halfway.
        """
        if len(vectors) > ADDED_AT_ONCE:
            raise ValueError(f"at most {ADDED_AT_ONCE} vectors at once")
        with using_threads(1):
            self._add(vectors)

    def add_many(self, vectors: NDArray[np.float32], threads: int) -> None:
        """Add N x D float32 vectors with that many threads, before any search uses the graph.

        Raises:
            ValueError: no room for them, or a vector that has no direction.
            RuntimeError: an earlier add failed halfway.
        """
        with using_threads(threads):
            for start in range(0, len(vectors), _FILLED_AT_ONCE):
                self._add(self.rounded(vectors[start : start + _FILLED_AT_ONCE]))

    def grown(self, capacity: int) -> Self:
        """A copy with more room and the same slots and links. Searches may run meanwhile, adds may not.

        Raises:
            ValueError: `capacity` is less than the number of vectors.
            MemoryError: there is not enough memory.
        """
        if capacity < self.count:
            raise ValueError(f"{self.count} vectors don't fit into {capacity}")
        source = self.arrays()
        copy = type(self)(
            self.dimension,
            precision=self.precision,
            capacity=capacity,
            m=self.m,
            ef_construction=self.ef_construction,
            used=self.count,
        )
        target = copy.expand(self.count, source.neighbors.size)
        for old, new in (
            (source.codes, target.codes),
            (source.levels, target.levels),
            (source.offsets, target.offsets),
            (source.neighbors, target.neighbors),
        ):
            # numpy releases the GIL while it copies. The copy is made in pieces, so that memory fills gradually.
            for start in range(0, old.size, _COPIED_AT_ONCE):
                np.copyto(new[start : start + _COPIED_AT_ONCE], old[start : start + _COPIED_AT_ONCE])
        copy.settle(self.entry_point, self.max_level)
        return copy

    def search(self, query: NDArray[np.float32], k: int, ef: int, selected: NDArray[np.uint8] | None) -> Found:
        """About the k best slots, found by a walk. No add may run meanwhile.

        Args:
            query: D float32.
            ef: how many candidates the walk keeps: more of them find more and take longer; at least k are kept.
            selected: packed bits, the lowest first (`np.packbits(..., bitorder="little")`): the slots that may be
                found. None: all.

        Returns:
            Slots, int64, and their scores, float32, best first; fewer than k if the walk met no more.

        Raises:
            ValueError: the query has no direction.
        """
        wanted = min(k, self.count)
        unit = self._unit(query)
        if wanted < 1:
            return _nothing()
        scores, slots = self._native.index.search(
            unit, wanted, params=walk_parameters(max(ef, wanted), _bits(selected))
        )
        return _found(slots[0], scores[0])

    def scan(
        self, query: NDArray[np.float32], k: int, selected: NDArray[np.uint8] | None, count: int | None = None
    ) -> Found:
        """The k best slots, found by comparing every selected one; needs no lock.

        Args:
            query: D float32.
            selected: as in `search`; no bit for a slot whose add is not complete.
            count: without `selected`, the number of slots to compare; by default those that are complete now.

        Raises:
            ValueError: the query has no direction.
        """
        limit = self._limit(count)
        wanted = min(k, limit)
        unit = self._unit(query)
        if wanted < 1:
            return _nothing()
        scores, slots = self._native.storage.search(unit, wanted, params=scan_parameters(limit, _bits(selected)))
        return _found(slots[0], scores[0])

    def scan_above(
        self, query: NDArray[np.float32], floor: float, selected: NDArray[np.uint8] | None, count: int | None = None
    ) -> Found:
        """All slots with a score above `floor`, in no particular order; needs no lock. Arguments as in `scan`.

        Scores may differ from those of `scan` by float32 rounding, because faiss sums in another order here.

        Raises:
            ValueError: the query has no direction.
        """
        limit = self._limit(count)
        unit = self._unit(query)
        if limit < 1:
            return _nothing()
        parameters = scan_parameters(limit, _bits(selected))
        # faiss finds the best few eight times as fast as all within a range, and mostly both give the same slots.
        few = min(_FEW, limit)
        scores, slots = self._native.storage.search(unit, few, params=parameters)
        scores, slots = scores[0], slots[0]
        if few < limit and slots[-1] >= 0 and scores[-1] > floor:
            # The limit is converted to a float32 that is not above the floor, so that no slot is missed.
            threshold = np.nextafter(np.float32(floor), np.float32(-np.inf))
            _, scores, slots = self._native.storage.range_search(unit, float(threshold), params=parameters)
        kept = (slots >= 0) & (scores.astype(np.float64) > floor)
        return slots[kept], scores[kept]

    def stored(self, slots: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors of complete slots as they are stored, unit length and rounded: N x D float32; needs no lock.

        Raises:
            IndexError: a slot that is not complete.
        """
        wanted = np.ascontiguousarray(slots, dtype=np.int64)
        if not wanted.size:
            return np.empty((0, self.dimension), dtype=np.float32)
        if wanted.min() < 0 or wanted.max() >= self.count:
            raise IndexError(f"slots are 0 to {self.count - 1}")
        vectors: NDArray[np.float32] = self._native.storage.reconstruct_batch(wanted)
        return vectors

    def rounded(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """N x D float32 as `stored` would return them once they are added.

        Raises:
            ValueError: a vector has no direction.
        """
        units = unit_vectors(vectors, self.dimension)
        if self.precision == "half":
            # numpy rounds to nearest, which `score_error` relies on; faiss then has nothing left to round.
            with np.errstate(under="ignore"):
                units = units.astype(np.float16).astype(np.float32)
        return units

    @property
    def entry_point(self) -> int:
        """The slot where a walk begins; -1 in an empty graph."""
        return self._native.entry_point

    @property
    def max_level(self) -> int:
        """The level at which a walk begins; -1 in an empty graph."""
        return self._native.max_level

    def arrays(self) -> Arrays:
        """Views of the arrays of the graph, which may be read while no add runs.

        Raises:
            RuntimeError: an earlier add failed halfway.
        """
        self._check_complete()
        return self._native.arrays()

    def addresses(self) -> tuple[int, int, int, int]:
        """The addresses of the arrays in memory, which stay the same for the life of the graph."""
        return self._native.addresses()

    def expand(self, count: int, links: int) -> Arrays:
        """Make a new graph `count` vectors long: the caller fills the arrays, then calls `settle`.

        Raises:
            ValueError: the graph is not empty, or has less room.
        """
        if self.count or count > self.capacity:
            raise ValueError("only an empty graph with enough room can be filled")
        self._complete = False
        return self._native.expand(count, links)

    def settle(self, entry_point: int, max_level: int) -> None:
        """Check the arrays that were filled in, so that no walk can leave them, and put them to use.

        Raises:
            ValueError: the arrays are no graph.
        """
        arrays = self._native.arrays()
        count = arrays.levels.size
        problem = problem_of(arrays, count, entry_point, max_level, self._native.first_links())
        if problem:
            raise ValueError(problem)
        self._native.settle(count, entry_point, max_level)
        self.count = count
        self._complete = True

    def _add(self, units: NDArray[np.float32]) -> None:
        self._check_complete()
        if len(units) > self.capacity - self.count:
            raise ValueError(f"no room for {len(units)} more: {self.count} of {self.capacity}")
        if not len(units):
            return
        self._complete = False
        self._native.index.add(units)
        self.count += len(units)
        self._complete = True

    def _check_complete(self) -> None:
        if not self._complete:
            raise RuntimeError("an earlier add failed halfway: rebuild the graph")

    def _limit(self, count: int | None) -> int:
        return self.count if count is None else min(count, self.count)

    def _unit(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        return unit_vectors(query.reshape(1, -1), self.dimension)


def _bits(selected: NDArray[np.uint8] | None) -> NDArray[np.uint8] | None:
    if selected is None:
        return None
    if selected.dtype != np.uint8 or selected.ndim != 1:
        raise ValueError("`selected` must be one row of packed bits, uint8")
    return np.ascontiguousarray(selected)


def _found(slots: NDArray[np.int64], scores: NDArray[np.float32]) -> Found:
    there = slots >= 0
    return (slots, scores) if there.all() else (slots[there], scores[there])


def _nothing() -> Found:
    return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)


def selected_bits(mask: NDArray[Any]) -> NDArray[np.uint8]:
    """Packed bits of a mask over the slots, as `HnswGraph.search` takes them."""
    return np.packbits(mask, bitorder="little")
