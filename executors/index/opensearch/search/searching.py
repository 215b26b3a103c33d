"""Vector searches: in OpenSearch's graph or over every document, with filters applied inside, and true cosines as
scores.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from executors.errors import VisualSearchError
from executors.index.opensearch.cluster.connection import TOO_MANY_CLAUSES, IndexGoneError, cause_of, too_many_clauses
from executors.index.opensearch.cluster.layout import VECTOR, IndexOptions
from executors.index.opensearch.documents.document_sources import HIT_FIELDS, box_of, tags_of, vector_of
from executors.index.opensearch.search.bounds import below, cosine_of
from executors.index.opensearch.search.queries import BY_PARENT, LIVE, Query, in_groups, in_some_group, live_query
from executors.index.opensearch.search.reading import Hit, Reader, shards_of
from executors.index.records import Hits, SearchRequest
from executors.index.tag_values import value_at, value_key

# The maximum of the k-NN query.
_MOST_CANDIDATES: Final = 10_000
# Hits to start with for each group that is wanted.
_FIRST: Final = 4
# Candidates for each hit if the graph holds rounded numbers, so that exact scores can decide.
_OVERSAMPLED: Final = 3
# The nearest candidates to begin with for each hit below an upper bound, and how many times more to go on with.
_BELOW: Final = 4
_WIDER: Final = 4
_COUNT_HOLDS_S: Final = 5.0
_ORDER: Final = [{"_score": "desc"}, {"id": "asc"}]


@dataclass(frozen=True, slots=True)
class Scope:
    """The documents to search: an alias, and whether every document is compared."""

    alias: str
    exact: bool


@dataclass(slots=True)
class _Found:
    """Hits with their cosines, best first, and which shards of OpenSearch gave them."""

    hits: list[tuple[float, Hit]]
    shards: tuple[int, int]
    took_ms: int


class Search:
    """Answers the queries of a request."""

    def __init__(self, reader: Reader, options: IndexOptions, graph_from: int, timeout_s: float) -> None:
        self._reader = reader
        self._graph_from = graph_from
        self._counts: dict[str, tuple[float, int]] = {}
        # Shards that need longer are missing from the answer, which says so, and the answer is still in time.
        self._timeout_ms = max(1, round(800 * timeout_s))
        self._options = options

    async def run(self, request: SearchRequest, alias: str) -> list[Hits]:
        """See `Store.search`.

        Raises:
            IndexGoneError: the collection was dropped in the meantime.
            VisualSearchError: `invalid_embedding`, `storage_unavailable`.
        """
        _check_queries(request.queries)
        scope = Scope(alias, request.exact or await self._is_small(alias))
        if not len(request.queries):
            return []
        if request.limit <= 0:
            return [self._hits(request, scope, _Found([], (1, 1), 0), [] if request.group_by else None)] * len(
                request.queries
            )
        if request.group_by is not None:
            return [await self._groups(request, scope, query, request.group_by) for query in request.queries]
        found = await self._rank(request, scope, request.queries, request.limit)
        return [self._hits(request, scope, each, None) for each in found]

    async def _rank(
        self, request: SearchRequest, scope: Scope, queries: NDArray[np.float32], limit: int, more: Sequence[Query] = ()
    ) -> list[_Found]:
        """The `limit` best documents for each query within the bounds.

        With an upper bound, OpenSearch begins its list below it. A graph may return too few of those: then the search
        compares every document.
        """
        exact = scope.exact or limit > _MOST_CANDIDATES
        if request.ceiling is not None and not exact:
            found = await self._rank_below(request, scope, queries, limit, more)
            if found is not None:
                return found
            exact = True
        rounded = self._options.precision != "single" and not exact
        if request.without:
            more = [*more, _without(request.without)]
        where = live_query(request.where, *more)
        filtered = request.where is not None or bool(more)
        fields = [*HIT_FIELDS, *([VECTOR] if request.embedding else [])]
        bodies = []
        for query in queries:
            if exact:
                ranking = _exact(query, where)
            else:
                wanted = min(_MOST_CANDIDATES, limit * _OVERSAMPLED if rounded else limit)
                ranking = self._in_graph(query, wanted, request.ef, where if filtered else None)
            size = wanted if rounded else limit
            bodies.append(
                _body(ranking, size, ["id"] if rounded else fields, self._timeout_ms) | below(request.ceiling)
            )
        answers = await self._search(scope, bodies)
        if rounded:
            ids = [[hit["_source"]["id"] for hit in answer["hits"]["hits"]] for answer in answers]
            again = [_exact(query, {"terms": {"id": names}}) for query, names in zip(queries, ids, strict=True)]
            firsts = answers
            answers = await self._search(scope, [_body(each, limit, fields, self._timeout_ms) for each in again])
            for first, answer in zip(firsts, answers, strict=True):
                answer["took"] += first["took"]
                answer["_shards"] = min((first["_shards"], answer["_shards"]), key=lambda each: each["successful"])
        return [_found(answer, request.threshold) for answer in answers]

    async def _rank_below(
        self, request: SearchRequest, scope: Scope, queries: NDArray[np.float32], limit: int, more: Sequence[Query]
    ) -> list[_Found] | None:
        """The best documents below the upper bound among the nearest that the graph finds, more and more of them.

        Returns:
            None if only a comparison with every document can tell: for rounded vectors, and for hits that lie far out.
        """
        if self._options.precision != "single":
            return None
        if request.without:
            more = [*more, _without(request.without)]
        where = live_query(request.where, *more) if request.where is not None or more else None
        fields = [*HIT_FIELDS, *([VECTOR] if request.embedding else [])]
        candidates = _BELOW * limit
        while candidates <= _MOST_CANDIDATES:
            # A walk finds less near its edge, where these hits may lie, so it keeps more candidates than it returns.
            effort = max(request.ef or self._options.ef_search, min(_MOST_CANDIDATES, 2 * candidates))
            walks = [self._in_graph(query, candidates, effort, where) for query in queries]
            answers = await self._search(
                scope, [_body(walk, limit, fields, self._timeout_ms) | below(request.ceiling) for walk in walks]
            )
            enough = all(len(answer["hits"]["hits"]) >= limit for answer in answers)
            if enough and await self._all_passed(scope, walks, answers, candidates):
                return [_found(answer, request.threshold) for answer in answers]
            candidates *= _WIDER
        return None

    async def _all_passed(
        self, scope: Scope, walks: Sequence[Query], answers: Sequence[dict[str, Any]], candidates: int
    ) -> bool:
        """Whether every shard of OpenSearch has looked past the last hit of each answer.

        Each shard finds that many candidates of its own. If fewer than that score as high as the last hit in all shards
        together, none of them can have stopped before it.
        """
        several = [n for n, answer in enumerate(answers) if answer["_shards"]["total"] > 1]
        bodies = [
            {
                "size": 0,
                "query": walks[n],
                "min_score": answers[n]["hits"]["hits"][-1]["sort"][0],
                "track_total_hits": True,
                "timeout": f"{self._timeout_ms}ms",
            }
            for n in several
        ]
        counted = await self._search(scope, bodies) if bodies else []
        return all(answer["hits"]["total"]["value"] < candidates for answer in counted)

    async def _groups(self, request: SearchRequest, scope: Scope, query: NDArray[np.float32], path: str) -> Hits:
        """The best hit of each of the best groups. The search continues among the other documents until there are
        enough groups, or no documents are left.
        """
        groups: dict[str, tuple[float, Hit, Any]] = {}
        wanted = min(_MOST_CANDIDATES, request.limit * _FIRST)
        shards, took = (1, 1), 0
        more: list[Query] = [in_some_group(path)]
        while True:
            (found,) = await self._rank(request, scope, query[np.newaxis], wanted, more)
            shards, took = min(shards, found.shards) if took else found.shards, took + max(1, found.took_ms)
            before = len(groups)
            for score, hit in found.hits:
                there, value = _group_of(path, hit)
                if there:
                    groups.setdefault(value_key(value), (score, hit, value))
            # There were fewer hits than asked for, so no other document is within the bounds.
            if len(groups) >= request.limit or len(found.hits) < wanted or len(groups) == before:
                break
            seen = [value for _, _, value in groups.values()]
            more = [in_some_group(path), {"bool": {"must_not": [in_groups(path, seen)]}}]
        best = list(groups.values())[: request.limit]
        answer = _Found([(score, hit) for score, hit, _ in best], shards, took)
        return self._hits(request, scope, answer, [value for *_, value in best])

    async def _is_small(self, alias: str) -> bool:
        """Whether comparing with every document takes no longer than the graph; checked again every few seconds."""
        counted = self._counts.get(alias)
        if counted is None or time.monotonic() - counted[0] > _COUNT_HOLDS_S:
            counted = time.monotonic(), await self._reader.count(alias, LIVE, whole=False)
            self._counts[alias] = counted
        return counted[1] < self._graph_from

    def _in_graph(self, query: NDArray[np.float32], candidates: int, effort: int | None, where: Query | None) -> Query:
        knn: dict[str, Any] = {
            "vector": query,
            "k": candidates,
            "method_parameters": {"ef_search": max(candidates, effort or self._options.ef_search)},
        }
        if where is not None:
            knn["filter"] = where
        return {"knn": {VECTOR: knn}}

    async def _search(self, scope: Scope, bodies: Sequence[Query]) -> list[dict[str, Any]]:
        answers = await self._reader.search_each([(scope.alias, body) for body in bodies])
        for answer in answers:
            error = answer.get("error")
            if error is not None:
                raise _failed(error)
        return answers

    def _hits(self, request: SearchRequest, scope: Scope, found: _Found, groups: list[Any] | None) -> Hits:
        sources = [hit["_source"] for _, hit in found.hits]
        plan = {
            "plan": "exact" if scope.exact else f"graph ({self._options.engine})",
            "took_ms": {"opensearch": found.took_ms},
        }
        return Hits(
            ids=[each["id"] for each in sources],
            scores=[score for score, _ in found.hits],
            versions=[each["version"] for each in sources],
            uris=[each.get("uri") for each in sources],
            tags=[tags_of(each) for each in sources],
            parents=[each.get("parent") for each in sources],
            boxes=[box_of(each) for each in sources],
            groups=groups,
            embeddings=[vector_of(each) for each in sources] if request.embedding else None,
            partial=None if found.shards[0] == found.shards[1] else found.shards,
            plan=plan,
        )


def _check_queries(vectors: NDArray[np.float32]) -> None:
    squares = np.square(vectors.astype(np.float64)).sum(axis=1)
    if not np.all(np.isfinite(squares) & (squares > 0.0)):
        raise VisualSearchError("invalid_embedding", "a query must be a finite vector that is not zero")


def _exact(query: NDArray[np.float32], where: Query) -> Query:
    parameters = {"field": VECTOR, "query_value": query, "space_type": "cosinesimil"}
    script = {"lang": "knn", "source": "knn_score", "params": parameters}
    return {"script_score": {"query": where, "script": script}}


def _body(ranking: Query, size: int, fields: Sequence[str], timeout_ms: int) -> Query:
    return {
        "size": size,
        "query": ranking,
        "sort": _ORDER,
        "track_total_hits": False,
        "timeout": f"{timeout_ms}ms",
        "_source": list(fields),
    }


def _without(ids: Sequence[str]) -> Query:
    return {"bool": {"must_not": [{"terms": {"id": list(ids)}}]}}


def _found(answer: dict[str, Any], threshold: float | None) -> _Found:
    # OpenSearch's score is (1 + cosine) / 2. If hits are sorted by another key, `_score` would be computed a second
    # time (4 ms of 14).
    scored = [(cosine_of(hit["sort"][0]), hit) for hit in answer["hits"]["hits"]]
    kept = [each for each in scored if threshold is None or each[0] >= threshold]
    return _Found(kept, shards_of(answer), int(answer["took"]))


def _group_of(path: str, hit: Hit) -> tuple[bool, Any]:
    source = hit["_source"]
    if path == BY_PARENT:
        # A picture is in one group with the documents derived from it.
        return True, source["id"] if source.get("parent") is None else source["parent"]
    return value_at(tags_of(source), path)


def _failed(error: dict[str, Any]) -> Exception:
    kind = cause_of(error)
    if kind in TOO_MANY_CLAUSES:
        return too_many_clauses()
    if kind == "index_not_found_exception":
        return IndexGoneError(str(error.get("reason")))
    return VisualSearchError("storage_unavailable", f"OpenSearch can't search: {kind}", reason=str(error.get("reason")))
