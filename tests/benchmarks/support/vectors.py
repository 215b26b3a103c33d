"""Vectors to measure an index with: clusters, as pictures make them, with a fixed seed, and who is whose true neighbour."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vectors: TypeAlias = NDArray[np.float32]

DIMENSION: Final = 512
CLUSTERS: Final = 1_000
# Of a vector's spread around the centre of its cluster, of that of the centres.
_SPREAD: Final = 0.7
_AT_ONCE: Final = 20_000


def clustered(count: int, seed: int, dimension: int = DIMENSION) -> Iterator[Vectors]:
    """`count` unit vectors around the same 1000 centres for every seed, in blocks of N x D float32."""
    centres = np.random.default_rng(0).standard_normal((CLUSTERS, dimension), dtype=np.float32)
    chosen = np.random.default_rng([1, seed])
    for start in range(0, count, _AT_ONCE):
        some = min(_AT_ONCE, count - start)
        block = centres[chosen.integers(0, CLUSTERS, some)]
        block += np.float32(_SPREAD) * chosen.standard_normal((some, dimension), dtype=np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        yield block


def write_vectors(path: Path, count: int, dimension: int = DIMENSION, seed: int = 1) -> Vectors:
    """Write vectors to a file and map it. Other processes can map it too, and it does not count as a process's own memory."""
    mapped = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(count, dimension))
    start = 0
    for block in clustered(count, seed, dimension):
        mapped[start : start + len(block)] = block
        start += len(block)
    mapped.flush()
    return mapped


def make_queries(count: int, dimension: int = DIMENSION) -> Vectors:
    """Vectors from the same clusters that are in no index."""
    return np.concatenate(list(clustered(count, 999, dimension)))


def true_neighbours(vectors: Vectors, queries: Vectors, k: int = 10) -> NDArray[np.int64]:
    """The k best rows of each query by inner product, best first; fewer columns where there are fewer rows."""
    best = np.empty((len(queries), 0), dtype=np.int64)
    scores = np.empty((len(queries), 0), dtype=np.float32)
    for start in range(0, len(vectors), _AT_ONCE):
        part = queries @ np.asarray(vectors[start : start + _AT_ONCE]).T
        places = np.argpartition(part, -k, axis=1)[:, -k:] if part.shape[1] > k else np.argsort(part, axis=1)
        best = np.concatenate([best, places + start], axis=1)
        scores = np.concatenate([scores, np.take_along_axis(part, places, axis=1)], axis=1)
        order = np.argsort(-scores, axis=1)[:, :k]
        best, scores = np.take_along_axis(best, order, axis=1), np.take_along_axis(scores, order, axis=1)
    return best


def recall(found: list[list[int]], truth: NDArray[np.int64]) -> float:
    """Return the share of the k true neighbours that is among the first k that were found."""
    hits = sum(len(set(mine[: len(true)]) & set(true.tolist())) for mine, true in zip(found, truth, strict=True))
    return hits / truth.size
