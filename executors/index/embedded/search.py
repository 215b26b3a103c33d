"""A search: the best rows from memory, what they show from disk, both as of one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from executors.errors import VisualSearchError
from executors.index.embedded.memory import Memory
from executors.index.embedded.reads import HitFields, damaged, hit_fields, sequence_of
from executors.index.embedded.rules import check_binding, collection_not_found
from executors.index.embedded.scoring import Best, best_rows
from executors.index.records import Hits, SearchRequest


def search_once(connection: sqlite3.Connection, memory: Memory, request: SearchRequest) -> list[Hits] | None:
    """The hits of every query, inside the reading transaction that the connection is in.

    Returns:
        None if memory has already dropped rows that this transaction still sees: try again with a new one.

    Raises:
        VisualSearchError: `collection_not_found`, `model_mismatch`, `dimension_mismatch`, `invalid_embedding`, or
            `store_invalid` as long as vectors of the collection are damaged, since the best hit may be one of them.
    """
    sequence = sequence_of(connection)
    memory.wait_for(sequence)
    known = memory.collections.get(request.collection)
    if known is None:
        raise collection_not_found(request.collection)
    queries = _as_matrix(request.queries)
    check_binding(known.collection, request.model_id, queries.shape[1])
    bad = memory.damaged.get(known.number)
    if bad:
        raise damaged(request.collection, sorted(bad.values()))
    views = memory.caches[known.number].view(sequence)
    if views is None:
        return None
    found = best_rows(views, queries, request.limit, request.threshold)
    fields = hit_fields(connection, sorted({row for best in found for row in best.rows}))
    return [_hits(best, fields) for best in found]


def _as_matrix(queries: NDArray[np.float32]) -> NDArray[np.float32]:
    matrix = np.ascontiguousarray(queries, dtype=np.float32)
    if matrix.ndim != 2:
        raise VisualSearchError("invalid_embedding", "queries must be a matrix, one vector a row")
    return matrix


def _hits(best: Best, fields: Mapping[int, HitFields]) -> Hits:
    shown = [fields[row] for row in best.rows]
    return Hits(
        ids=best.ids,
        scores=best.scores,
        versions=[each.version for each in shown],
        uris=[each.uri for each in shown],
        tags=[each.tags for each in shown],
        parents=[each.parent for each in shown],
        boxes=[each.box for each in shown],
    )
