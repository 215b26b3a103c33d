"""Graphs of random vectors."""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from executors.index.embedded.graph.hnsw import HnswGraph, Precision

DIMENSION: Final = 24

Vectors: TypeAlias = NDArray[np.float32]


def some(count: int, dimension: int = DIMENSION, seed: int = 1) -> Vectors:
    """Random vectors, the same ones for a seed."""
    return np.random.default_rng(seed).standard_normal((count, dimension), dtype=np.float32)


def cosines(vectors: Vectors, query: Vectors) -> NDArray[np.float64]:
    """The true cosines of N vectors with a query: N float64."""
    rows, one = vectors.astype(np.float64), query.astype(np.float64)
    product: NDArray[np.float64] = rows @ one / (np.linalg.norm(rows, axis=1) * np.linalg.norm(one))
    return product


def filled(vectors: Vectors, precision: Precision = "half", capacity: int | None = None) -> HnswGraph:
    """A graph of these vectors."""
    graph = HnswGraph(vectors.shape[1], precision=precision, capacity=capacity or len(vectors))
    graph.add_many(vectors, threads=1)
    return graph
