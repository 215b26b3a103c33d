"""Rows with the structure that embeddings of pictures have, tags that follow it or don't, and how much of the truth is found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from executors.index.filters import Filter
from executors.index.records import Collection, Hits, Record, SearchRequest
from executors.index.store import Store
from tests.support.stores.records import MODEL, version, where

NAME = "clusters"
TOP = 10
# How far a row lies from the middle of its cluster, and of how many directions a cluster is made.
_SPREAD = 0.7
_NOISE = 0.25
_RANK = 12
# Scores are computed in the same way for every plan; only the order of ties may differ.
_SAME_SCORE = 1e-6


@dataclass(frozen=True, slots=True)
class Clusters:
    """`rows` x `dimension` float32 of unit length; `cluster` of each row; `queries` near rows that are not in it.

    Every row has the tags `cluster` and `share`, a number from 0 to 1 that follows from nothing else.
    """

    vectors: NDArray[np.float32]
    cluster: NDArray[np.int64]
    share: NDArray[np.float64]
    queries: NDArray[np.float32]
    query_cluster: NDArray[np.int64]

    def records(self, rows: Sequence[int], number: int) -> list[Record]:
        """Rows as documents in version `number`."""
        return [Record(NAME, f"{row:06d}", version(number), MODEL, self.vectors[row], self.tags(row)) for row in rows]

    def tags(self, row: int) -> dict[str, Any]:
        return {"cluster": int(self.cluster[row]), "share": float(self.share[row])}


def make_clusters(rows: int, dimension: int, clusters: int, queries: int, seed: int, *, even: bool = False) -> Clusters:
    """Clusters of uneven sizes (or about the same), each spread along a few directions of its own."""
    rng = np.random.default_rng(seed)
    middles = rng.standard_normal((clusters, dimension)).astype(np.float32)
    axes = rng.standard_normal((clusters, _RANK, dimension)).astype(np.float32)
    weights = np.ones(clusters) if even else rng.pareto(1.5, clusters) + 0.2
    cluster = rng.choice(clusters, rows + queries, p=weights / weights.sum())
    vectors = np.empty((rows + queries, dimension), dtype=np.float32)
    for number in range(clusters):
        mine = np.flatnonzero(cluster == number)
        along = rng.standard_normal((len(mine), _RANK)).astype(np.float32) * _SPREAD / np.sqrt(_RANK)
        noise = rng.standard_normal((len(mine), dimension)).astype(np.float32) * _NOISE
        vectors[mine] = middles[number] + along @ axes[number] + noise
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Clusters(vectors[:rows], cluster[:rows], rng.random(rows), vectors[rows:], cluster[rows:])


def with_copies(data: Clusters, places: Mapping[int, Sequence[int]]) -> Clusters:
    """The same, but that some rows are the same picture: by row, those that become copies of it."""
    vectors, cluster = data.vectors.copy(), data.cluster.copy()
    for row, copies in places.items():
        vectors[list(copies)] = vectors[row]
        cluster[list(copies)] = cluster[row]
    return replace(data, vectors=vectors, cluster=cluster)


def collection_of(data: Clusters) -> Collection:
    return Collection(NAME, MODEL, data.vectors.shape[1])


async def search(
    store: Store, queries: NDArray[np.float32], *, kept: Filter | None, exact: bool, limit: int = TOP
) -> list[Hits]:
    return await store.search(SearchRequest(NAME, queries, MODEL, limit, where=kept, exact=exact))


async def recall(
    store: Store, queries: NDArray[np.float32], given: Mapping[str, Any] | None = None, limit: int = TOP
) -> tuple[float, set[str]]:
    """The share of the true best that is found, ties counted by score; and the plans of the searches.

    Fails where fewer than `limit` come back although exact search has them, and where a score is not the true one.
    """
    kept = None if given is None else where(dict(given))
    truth = await search(store, queries, kept=kept, exact=True, limit=limit)
    found = await search(store, queries, kept=kept, exact=False, limit=limit)
    assert all(str(hits.plan["plan"]).startswith("exact") for hits in truth)
    right = wanted = 0
    for best, hits in zip(truth, found, strict=True):
        assert len(hits.ids) == len(best.ids) == len(set(hits.ids))
        scores = dict(zip(best.ids, best.scores, strict=True))
        for name, score in zip(hits.ids, hits.scores, strict=True):
            assert abs(score - scores.get(name, score)) < _SAME_SCORE
        if best.scores:
            assert max(hits.scores) <= best.scores[0] + _SAME_SCORE
            right += sum(score >= best.scores[-1] - _SAME_SCORE for score in hits.scores)
            wanted += len(best.scores)
    return right / max(1, wanted), {str(hits.plan["plan"]) for hits in found}
