"""Files of small graphs, for the tests of what is in them and of what happens to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from executors.index.embedded.graph.graph_file import LoadedGraph, Stamp, load, save
from executors.index.embedded.graph.hnsw import HnswGraph, Precision, use_one_thread
from tests.support.stores.graphs import filled, some

DIMENSION: Final = 12
NAME: Final = "7.graph"


def graph_of(count: int, precision: Precision = "half", seed: int = 1) -> HnswGraph:
    """A graph of that many random vectors, the same ones for a seed."""
    use_one_thread()
    return filled(some(count, DIMENSION, seed), precision)


def stamp_of(graph: HnswGraph, sequence: int = 5) -> Stamp:
    """Return the stamp of a graph's file."""
    return Stamp(
        "store", "run-1", sequence, 7, graph.dimension, graph.precision, graph.m, graph.ef_construction, graph.count
    )


def rows_of(graph: HnswGraph) -> NDArray[np.int64]:
    """The rows its slots stand for: int64, ascending."""
    return np.arange(graph.count, dtype=np.int64) * 3 + 10


def write(folder: Path, graph: HnswGraph, sequence: int = 5) -> int:
    """Save it; the file's length in bytes."""
    return save(graph, rows_of(graph), stamp_of(graph, sequence), folder, NAME)


def read(folder: Path, **changes: Any) -> LoadedGraph:
    """Load it, as the store does that saved it unless `changes` say otherwise."""
    expected: dict[str, Any] = {"store_id": "store", "collection": 7, "dimension": DIMENSION, "precision": "half"}
    return load(folder, NAME, **{**expected, **changes})


def same_answers(first: HnswGraph, second: HnswGraph) -> bool:
    """Return whether both graphs find the same slots with exactly the same scores."""
    for query in some(20, DIMENSION, seed=9):
        (slots, scores), (theirs, their_scores) = (each.search(query, 10, 40, None) for each in (first, second))
        if not (np.array_equal(slots, theirs) and np.array_equal(scores, their_scores)):
            return False
    return True
