"""A search: ranks rows by a plan, then reads the fields of hits from disk, both as of one transaction."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from executors.errors import VisualSearchError, collection_not_found
from executors.index.embedded.disk.meta import KnownCollection
from executors.index.embedded.disk.reads import HitFields, damaged, ids_of, moment_of, vectors_of
from executors.index.embedded.memory.live_graph import Rows
from executors.index.embedded.memory.shard_memory import Memory
from executors.index.embedded.search.exact import Best, check_queries
from executors.index.embedded.search.grouping import GroupRows, best_of_groups
from executors.index.embedded.search.ranking import (
    DamagedRowsError,
    Plan,
    Scope,
    Wanted,
    in_all,
    make_plan,
    rank,
    scope_of,
)
from executors.index.outcomes import check_binding
from executors.index.records import Hits, SearchRequest


def search_once(connection: sqlite3.Connection, memory: Memory, request: SearchRequest) -> list[Hits] | None:
    """The hits of every query, inside the reading transaction that the connection is in.

    Returns:
        None if memory has already dropped rows that this transaction still sees: try again with a new one.

    Raises:
        VisualSearchError: `collection_not_found`, `model_mismatch`, `dimension_mismatch`, `invalid_embedding`, or
            `store_invalid` as long as vectors of the collection are damaged, since the best hit may be one of them.
    """
    sequence, next_row = moment_of(connection)
    memory.wait_for(sequence)
    known = memory.collections.get(request.collection)
    held = None if known is None else memory.held.get(known.number)
    if known is None or held is None:
        raise collection_not_found(request.collection)
    queries = _as_matrix(request.queries)
    check_binding(known.collection, request.model_id, queries.shape[1])
    check_queries(queries)
    _refuse_damaged(memory, known)
    view = held.view(sequence, next_row)
    if view is None:
        return None
    started = time.perf_counter()
    rows: Rows | None = None
    if request.where is not None:
        rows = memory.filters.rows(connection, sequence, known.number, request.where)
    filter_ms = (time.perf_counter() - started) * 1000
    scope = scope_of(connection, held, view, rows)
    group_rows = None
    if request.group_by is not None:
        group_rows = GroupRows(connection, memory.filters, sequence, known.number, request.group_by)
    try:
        return [_search_one(scope, query, request, filter_ms, group_rows) for query in queries]
    except DamagedRowsError as found:
        memory.damaged[known.number].update(ids_of(connection, found.rows))
        _refuse_damaged(memory, known)
        raise


def _search_one(
    scope: Scope, query: NDArray[np.float32], request: SearchRequest, filter_ms: float, group_rows: GroupRows | None
) -> Hits:
    plans: list[Plan] = []

    def best(rows: Rows | None, limit: int) -> Best:
        among = scope if rows is None else replace(scope, rows=rows, size=len(rows))
        wanted = Wanted(limit + len(request.without), request.threshold, request.ceiling)
        plans.append(make_plan(among, wanted.limit, exact=request.exact, ef=request.ef))
        if limit <= 0:
            return Best([], [], [])
        return _without(request.without, rank(among, query, wanted, plans[-1]), limit)

    def left(rows: Rows | None, seen: Sequence[int], found: Sequence[Any]) -> Rows:
        started = time.perf_counter()
        assert group_rows is not None
        others = group_rows.remaining(scope.rows if rows is None else rows, seen, found)
        plans[-1].add_time("groups", started)
        return others

    groups: list[Any] | None = None
    if group_rows is None:
        found = best(None, request.limit)
    else:
        found, groups = best_of_groups(group_rows.path, request.limit, scope.size, best, scope.hits.fields, left)
    started = time.perf_counter()
    fields = scope.hits.fields(found.rows)
    embeddings = _embeddings(scope, found.rows, len(query)) if request.embedding else None
    plan = in_all(plans)
    plan.add_time("fields", started)
    if request.where is not None:
        plan.took_ms["filter"] = round(filter_ms, 3)
    return _hits(found, fields, groups, embeddings, plan.to_json())


def _without(left_out: Sequence[str], best: Best, limit: int) -> Best:
    """At most `limit` of the best hits, without those documents."""
    kept = [n for n, each in enumerate(best.ids) if each not in left_out][:limit]
    return Best([best.rows[n] for n in kept], [best.ids[n] for n in kept], [best.scores[n] for n in kept])


def _embeddings(scope: Scope, rows: Sequence[int], dimension: int) -> list[NDArray[np.float32]]:
    order = sorted(rows)
    vectors, bad = vectors_of(scope.connection, order, dimension)
    if bad:
        raise DamagedRowsError(bad)
    return [vectors[order.index(row)] for row in rows]


def _refuse_damaged(memory: Memory, known: KnownCollection) -> None:
    bad = memory.damaged.get(known.number)
    if bad:
        raise damaged(known.collection.name, sorted(bad.values()))


def _as_matrix(queries: NDArray[np.float32]) -> NDArray[np.float32]:
    matrix = np.ascontiguousarray(queries, dtype=np.float32)
    if matrix.ndim != 2:
        raise VisualSearchError("invalid_embedding", "queries must be a matrix with one vector per row")
    return matrix


def _hits(
    best: Best,
    fields: Mapping[int, HitFields],
    groups: list[Any] | None,
    embeddings: list[NDArray[np.float32]] | None,
    plan: dict[str, Any],
) -> Hits:
    shown = [fields[row] for row in best.rows]
    return Hits(
        ids=best.ids,
        scores=best.scores,
        versions=[each.version for each in shown],
        uris=[each.uri for each in shown],
        tags=[each.tags for each in shown],
        parents=[each.parent for each in shown],
        boxes=[each.box for each in shown],
        groups=groups,
        embeddings=embeddings,
        plan=plan,
    )
