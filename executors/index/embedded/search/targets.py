"""The slots of a graph that a search may find, and the rows that they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from executors.index.embedded.memory.collection_memory import GraphView
from executors.index.embedded.memory.live_graph import Bits, Rows, bits_of, first_bits, is_set, places_of
from executors.index.embedded.memory.slot_cache import Selection
from executors.index.embedded.tags.rowsets import is_in


@dataclass(frozen=True, slots=True)
class Targets:
    """The rows of a graph that may be found.

    Attributes:
        view: the graph as of the search's transaction.
        wanted: the row numbers that a filter selects, ascending; None: everything that is alive.
        selection: the slots that stand for one of them; None: all do.
    """

    view: GraphView
    wanted: Rows | None
    selection: Selection | None

    @property
    def bits(self) -> Bits | None:
        """The bits of the slots that may be found; None: all."""
        return None if self.selection is None else self.selection.bits

    @property
    def slots(self) -> int:
        """How many slots may be found."""
        return self.view.extent.slots if self.selection is None else self.selection.slots

    @property
    def size(self) -> int:
        """How many rows may be found."""
        extent = self.view.extent
        return extent.slots + extent.copies if self.selection is None else self.selection.size

    def rows_of(self, slots: NDArray[np.int64]) -> Rows:
        """The rows that may be found among those that the slots stand for, ascending."""
        graph, extent, alive = self.view.graph, self.view.extent, self.view.alive
        copies = graph.copies.of_slots(slots, extent.copies)
        of_slots, of_copies = graph.rows(extent)[slots], graph.copies.rows(extent.copies)[copies]
        if self.wanted is None and self.selection is not None:
            of_slots, of_copies = of_slots[is_set(alive.slots, slots)], of_copies[is_set(alive.copies, copies)]
        rows = np.sort(np.concatenate([of_slots, of_copies]))
        return rows if self.wanted is None else rows[is_in(rows, self.wanted)]


def targets_of(view: GraphView, wanted: Rows | None) -> Targets:
    """The targets of a search: everything alive, or the rows that a filter selects (all of them alive)."""
    selections = view.graph.selections
    if wanted is not None:
        key = (view.extent, id(wanted))
        return Targets(view, wanted, selections.get(key, wanted, partial(_of_rows, view, wanted)))
    if not view.alive.dead:
        return Targets(view, None, None)
    key = (view.extent, id(view.alive))
    return Targets(view, None, selections.get(key, view.alive, partial(_alive, view)))


def _of_rows(view: GraphView, wanted: Rows) -> Selection:
    graph, extent = view.graph, view.extent
    slots = places_of(wanted, graph.rows(extent))
    copies = places_of(wanted, graph.copies.rows(extent.copies))
    return _selection(view, bits_of(slots, extent.slots), copies, len(slots) + len(copies))


def _alive(view: GraphView) -> Selection:
    extent, alive = view.extent, view.alive
    size = extent.slots + extent.copies - alive.dead
    return _selection(view, first_bits(alive.slots, extent.slots), view.live_copies(), size)


def _selection(view: GraphView, bits: Bits, copies: NDArray[np.intp], size: int) -> Selection:
    """Selected slots, including those whose vectors these copies share."""
    if copies.size:
        of = view.graph.copies.slots(view.extent.copies)[copies]
        np.bitwise_or.at(bits, of >> 3, np.uint8(1) << (of & 7).astype(np.uint8))
    return Selection(bits, int(np.bitwise_count(bits).sum()), size)
