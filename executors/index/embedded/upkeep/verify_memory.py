"""Whether memory shows what the disk holds: asked row by row, in ascending order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from executors.index.embedded.graph.cosine import exact_squares
from executors.index.embedded.memory.collection_memory import CollectionView, GraphView
from executors.index.encoding import decode_embedding

_DECODED_AT_ONCE: Final = 1024
# Half precision keeps 11 bits of each number, and nothing below about 6e-8.
_RELATIVE: Final = 2.0**-10
_ABSOLUTE: Final = 1e-6


class RowsInMemory:
    """The rows of one collection as of one transaction."""

    def __init__(self, view: CollectionView) -> None:
        self._rows = _rows_of(view)
        self._next = next(self._rows, None)
        self._unasked: list[int] = []

    def faults(self, row: int, document_id: str, embedding: bytes | None) -> list[str]:
        """What is wrong with a row that the disk has; rows have to be asked for in ascending order."""
        while self._next is not None and self._next[0] < row:
            self._unasked.append(self._next[0])
            self._next = next(self._rows, None)
        if self._next is None or self._next[0] != row:
            return ["it is not in memory"]
        _, name, vector = self._next
        self._next = next(self._rows, None)
        if name is not None and name != document_id:
            return [f"memory has it as {name!r}"]
        if embedding is None or _same(decode_embedding(embedding), vector, exact=name is not None):
            return []
        return ["memory has another vector" if name is not None else "the graph has another vector"]

    def rest(self) -> Iterator[int]:
        """Every row that was never asked for."""
        yield from self._unasked
        if self._next is not None:
            yield self._next[0]
        yield from (row for row, _, _ in self._rows)


def _same(stored: NDArray[np.float32], held: NDArray[np.float32], *, exact: bool) -> bool:
    if exact or stored.shape != held.shape:
        return np.array_equal(stored, held)
    unit = stored / np.sqrt(exact_squares(stored[np.newaxis])[0])
    return bool(np.allclose(held, unit, rtol=_RELATIVE, atol=_ABSOLUTE))


def _rows_of(view: CollectionView) -> Iterator[tuple[int, str | None, NDArray[np.float32]]]:
    """Row, id and vector of everything alive, by row; without the id for what only the graph has."""
    if view.graph is not None:
        yield from _rows_in_graph(view.graph)
    for each in view.flat:
        for slot in range(each.count):
            row = int(each.block.rows[slot])
            if row > view.covered and (each.gone is None or not each.gone[slot]):
                yield row, each.block.ids[slot], each.block.vectors[slot]


def _rows_in_graph(view: GraphView) -> Iterator[tuple[int, str | None, NDArray[np.float32]]]:
    graph, extent = view.graph, view.extent
    of_slots = graph.rows(extent)[view.live_slots()]
    of_copies = graph.copies.rows(extent.copies)[view.live_copies()]
    rows = np.sort(np.concatenate([of_slots, of_copies]))
    for start in range(0, len(rows), _DECODED_AT_ONCE):
        some = rows[start : start + _DECODED_AT_ONCE]
        for row, vector in zip(some.tolist(), graph.vectors(some, extent), strict=True):
            yield row, None, vector
