"""What of a graph a search may find, and what the slots that it finds stand for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from executors.index.embedded.collection_memory import GraphView
from executors.index.embedded.live_graph import Bits, Rows, bits_of, first_bits, is_set, places_of


@dataclass(frozen=True, slots=True)
class Targets:
    """The rows of a graph that may be found.

    Attributes:
        view: the graph as of the search's transaction.
        wanted: the row numbers that a filter leaves, ascending; None: everything that is alive.
        bits: the slots that stand for one of them; None: all do.
        size: how many rows may be found.
    """

    view: GraphView
    wanted: Rows | None
    bits: Bits | None
    size: int

    def rows_of(self, slots: NDArray[np.int64]) -> Rows:
        """The rows that may be found among those that the slots stand for, in no particular order."""
        graph, extent, alive = self.view.graph, self.view.extent, self.view.alive
        copies = graph.copies.of_slots(slots, extent.copies)
        of_slots, of_copies = graph.rows(extent)[slots], graph.copies.rows(extent.copies)[copies]
        if self.wanted is not None:
            rows = np.concatenate([of_slots, of_copies])
            return rows[np.isin(rows, self.wanted)]
        if self.bits is None:
            return np.concatenate([of_slots, of_copies])
        return np.concatenate([of_slots[is_set(alive.slots, slots)], of_copies[is_set(alive.copies, copies)]])


def targets_of(view: GraphView, wanted: Rows | None) -> Targets:
    """What a search may find: everything alive, or the rows that a filter leaves (all of them alive)."""
    graph, extent = view.graph, view.extent
    if wanted is not None:
        slots = places_of(wanted, graph.rows(extent))
        copies = places_of(wanted, graph.copies.rows(extent.copies))
        return Targets(view, wanted, _bits(view, bits_of(slots, extent.slots), copies), len(slots) + len(copies))
    if not view.alive.dead:
        return Targets(view, None, None, extent.slots + extent.copies)
    copies = view.live_copies()
    bits = _bits(view, first_bits(view.alive.slots, extent.slots), copies)
    return Targets(view, None, bits, extent.slots + extent.copies - view.alive.dead)


def _bits(view: GraphView, slots: Bits, copies: NDArray[np.intp]) -> Bits:
    """The bits of slots, with those set that these copies are of."""
    if copies.size:
        of = view.graph.copies.slots(view.extent.copies)[copies]
        np.bitwise_or.at(slots, of >> 3, np.uint8(1) << (of & 7).astype(np.uint8))
    return slots
