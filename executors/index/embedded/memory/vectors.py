"""The vectors of one collection in memory: a cache that searches can read while it is written.

Rows are in blocks that never move, so growth copies nothing. Every row has the sequence number of the transaction that
added it and of the one that removed it; a search reads the rows as of one sequence number, without a lock and without a
copy. The writer's thread changes the rows; only `drop_through` is for the maintenance thread. The caller keeps `remove`
and `compact` apart from it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from executors.index.embedded.graph.cosine import exact_squares

FIRST_BLOCK_ROWS: Final = 256
_MOST_BLOCK_BYTES: Final = 1 << 25
_WORTH_COMPACTING: Final = 64
NEVER: Final = np.iinfo(np.int64).max
_NO_ROWS: Final[NDArray[np.int64]] = np.empty(0, dtype=np.int64)


class Block:
    """Up to `capacity` rows in the order in which they were added, which is that of their row numbers.

    Attributes:
        vectors: capacity x D float32; rows from `count` on are not filled yet.
        squares: float64, the squared length of each vector; `scales`: float32, one divided by the length.
        rows: int64 row numbers; `born` and `died`: int64 sequence numbers.
        ids: the documents' ids.
        dead: how many rows were removed.
    """

    def __init__(self, capacity: int, dimension: int) -> None:
        self.capacity = capacity
        self.count = 0
        self.dead = 0
        # Pages of an empty array cost nothing until they are written.
        self.vectors: NDArray[np.float32] = np.empty((capacity, dimension), dtype=np.float32)
        self.squares: NDArray[np.float64] = np.empty(capacity, dtype=np.float64)
        self.scales: NDArray[np.float32] = np.empty(capacity, dtype=np.float32)
        self.rows: NDArray[np.int64] = np.empty(capacity, dtype=np.int64)
        self.born: NDArray[np.int64] = np.empty(capacity, dtype=np.int64)
        self.died: NDArray[np.int64] = np.full(capacity, NEVER, dtype=np.int64)
        self.ids: list[str] = []

    @property
    def live(self) -> int:
        """How many rows are alive now."""
        return self.count - self.dead

    def extend(self, sequence: int, rows: Sequence[int], ids: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Add rows at the end; readers see them once `count` has grown."""
        start, end = self.count, self.count + len(rows)
        self.vectors[start:end] = vectors
        squares = exact_squares(vectors)
        self.squares[start:end] = squares
        self.scales[start:end] = 1.0 / np.sqrt(squares)
        self.rows[start:end] = rows
        self.born[start:end] = sequence
        self.ids.extend(ids)
        self.count = end

    def take(self, other: Block) -> None:
        """Copy the live rows of another block to the end of this one."""
        kept = np.flatnonzero(other.died[: other.count] == NEVER)
        start, end = self.count, self.count + kept.size
        for name in ("vectors", "squares", "scales", "rows", "born"):
            getattr(self, name)[start:end] = getattr(other, name)[kept]
        self.ids.extend(other.ids[slot] for slot in kept.tolist())
        self.count = end


@dataclass(frozen=True, slots=True)
class Layout:
    """The blocks in the order of their rows, complete for every sequence number from `floor` on."""

    blocks: tuple[Block, ...]
    floor: int


@dataclass(frozen=True, slots=True)
class View:
    """The rows of one block as of a sequence number: the first `count`, less those that `gone` marks (None: none)."""

    block: Block
    count: int
    gone: NDArray[np.bool_] | None


class VectorCache:
    """All vectors of one collection.

    Args:
        dimension: D.
        first_block_rows: rows of the first block; later blocks double up to 32 MiB of vectors.
    """

    def __init__(self, dimension: int, first_block_rows: int = FIRST_BLOCK_ROWS) -> None:
        self.dimension = dimension
        self._first = first_block_rows
        self._most = max(first_block_rows, _MOST_BLOCK_BYTES // (4 * dimension))
        self._layout = Layout((), 0)
        # Keeps `drop_through`, which another thread calls, apart from new rows; held briefly.
        self._changing = threading.Lock()
        # The first block with room; those before it are full, those after it empty.
        self._filling = 0
        self.live = 0

    @property
    def floor(self) -> int:
        """The sequence number from which on nothing is missing."""
        return self._layout.floor

    @property
    def rows_held(self) -> int:
        """How many rows take memory, removed ones included."""
        return sum(block.count for block in self._layout.blocks)

    @property
    def bytes_held(self) -> int:
        """Bytes of the vectors that are filled."""
        return self.rows_held * self.dimension * 4

    def reserve(self, rows: int) -> None:
        """Make room for as many more rows, so that adding them can't run out of memory.

        Raises:
            MemoryError: there is none; nothing was changed.
        """
        with self._changing:
            blocks = self._layout.blocks
            free = sum(block.capacity - block.count for block in blocks[self._filling :])
            total = sum(block.capacity for block in blocks)
            new = []
            while free < rows:
                capacity = min(self._most, max(self._first, total))
                new.append(Block(capacity, self.dimension))
                free, total = free + capacity, total + capacity
            if new:
                self._layout = Layout((*blocks, *new), self._layout.floor)

    def add(self, sequence: int, rows: Sequence[int], ids: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Add the rows that a committed transaction stored: N ascending row numbers (they only ever grow), N ids, N x D
        float32.
        """
        self.reserve(len(rows))
        done = 0
        with self._changing:
            while done < len(rows):
                block = self._layout.blocks[self._filling]
                until = min(len(rows), done + block.capacity - block.count)
                block.extend(sequence, rows[done:until], ids[done:until], vectors[done:until])
                if block.count == block.capacity:
                    self._filling += 1
                done = until
            self.live += len(rows)

    def remove(self, sequence: int, rows: Sequence[int]) -> None:
        """Mark rows as gone from that sequence number on; unknown rows are ignored."""
        wanted = np.unique(np.asarray(rows, dtype=np.int64))
        for block in self._layout.blocks:
            slots = np.searchsorted(block.rows[: block.count], wanted)
            inside = slots < block.count
            slots = slots[inside]
            found = slots[(block.rows[slots] == wanted[inside]) & (block.died[slots] == NEVER)]
            block.died[found] = sequence
            block.dead += found.size
            self.live -= found.size

    def compact(self, sequence: int) -> None:
        """Release the memory of blocks that are at least half gone; views of the old blocks stay valid.

        Two neighbours that are small afterwards are merged, so that the number of blocks stays within twice what is
        needed.
        """
        blocks = [block for block in self._layout.blocks if block.count]
        if not any(_is_wasteful(block) for block in blocks):
            return
        merged: list[Block] = []
        for block in blocks:
            previous = merged[-1] if merged else None
            if previous is not None and _fit_together(previous, block):
                merged[-1] = _merge((previous, block), self.dimension)
            elif _is_wasteful(block):
                if block.live:
                    merged.append(_merge((block,), self.dimension))
            else:
                merged.append(block)
        # Two blocks with no rows left are merged into one without a row: the next rows would go into it, before older
        # rows.
        merged = [block for block in merged if block.count]
        self._layout = Layout(tuple(merged), sequence)
        self._filling = sum(block.count == block.capacity for block in merged)

    def drop_through(self, row: int) -> None:
        """Release the full blocks that hold no row after that one, because the graph covers them now."""
        with self._changing:
            layout = self._layout
            gone = 0
            for block in layout.blocks[: self._filling]:
                if block.count and block.rows[block.count - 1] > row:
                    break
                gone += 1
            if gone:
                self.live -= sum(block.live for block in layout.blocks[:gone])
                self._layout = Layout(layout.blocks[gone:], layout.floor)
                self._filling -= gone

    def pending(self, after: int, most: int) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
        """The next rows after a row number, removed ones included: row numbers, vectors, and the transaction that
        removed each.
        """
        for block in self._layout.blocks:
            start = int(np.searchsorted(block.rows[: block.count], after, side="right"))
            if start < block.count:
                end = min(block.count, start + most)
                return block.rows[start:end].copy(), block.vectors[start:end], block.died[start:end].copy()
        return _NO_ROWS, np.empty((0, self.dimension), dtype=np.float32), _NO_ROWS

    def rows_after(self, row: int) -> int:
        """How many rows are held after that row number, removed ones included."""
        return sum(
            block.count - int(np.searchsorted(block.rows[: block.count], row, side="right"))
            for block in self._layout.blocks
        )

    def fetch(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors of ascending row numbers, N x D.

        Raises:
            KeyError: one of them is not held.
        """
        found = np.empty((len(rows), self.dimension), dtype=np.float32)
        blocks = [block for block in self._layout.blocks if block.count]
        # Only the blocks that may hold one of the rows are examined.
        ends = [*np.searchsorted(rows, [block.rows[0] for block in blocks[1:]]).tolist(), len(rows)] if blocks else []
        start = 0
        for block, end in zip(blocks, ends, strict=True):
            if start < end:
                numbers = block.rows[: block.count]
                wanted = rows[start:end]
                slots = np.minimum(np.searchsorted(numbers, wanted), len(numbers) - 1)
                if not np.array_equal(numbers[slots], wanted):
                    raise KeyError("a row that memory does not hold")
                found[start:end] = block.vectors[slots]
                start = end
        if start < len(rows):
            raise KeyError("a row that memory does not hold")
        return found

    def view(self, sequence: int) -> list[View] | None:
        """The rows as of a sequence number that has been applied; None if a compaction has already dropped some of
        them.
        """
        layout = self._layout
        if layout.floor > sequence:
            return None
        views = []
        for block in layout.blocks:
            count = block.count
            if count and block.born[count - 1] > sequence:
                count = int(np.searchsorted(block.born[:count], sequence, side="right"))
            if count:
                gone = block.died[:count] <= sequence if block.dead else None
                views.append(View(block, count, gone if gone is not None and gone.any() else None))
        return views


def _is_wasteful(block: Block) -> bool:
    return block.dead >= _WORTH_COMPACTING and 2 * block.dead >= block.count


def _fit_together(first: Block, second: Block) -> bool:
    """Whether two neighbours should be merged: both have shrunk, and together they are no larger than one was."""
    return (first.dead > 0 or second.dead > 0) and first.live + second.live <= max(first.capacity, second.capacity) // 2


def _merge(blocks: Sequence[Block], dimension: int) -> Block:
    merged = Block(max(1, sum(block.live for block in blocks)), dimension)
    for block in blocks:
        merged.take(block)
    return merged
