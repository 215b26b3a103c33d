"""Counts of the values of tags, by aggregations over the typed fields, and over the terms of what has no typed field.

An aggregation over all values of a field is exact: no shard of OpenSearch leaves out a value that it has.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from executors.errors import VisualSearchError
from executors.index.facets import Tally, too_many_values, without_path
from executors.index.filters import Filter, Scalar, flatten
from executors.index.opensearch.cluster.connection import TOO_MANY_CLAUSES, IndexGoneError, cause_of, too_many_clauses
from executors.index.opensearch.documents.document_sources import tags_of
from executors.index.opensearch.documents.tag_fields import (
    field_of,
    is_cut,
    value_of_term,
    value_term,
    value_terms_prefix,
)
from executors.index.opensearch.search.queries import Query, live_query
from executors.index.opensearch.search.reading import Reader, check_whole
from executors.index.records import FacetCounts

# OpenSearch allows 65,535 buckets in an answer (search.max_buckets).
MOST_BUCKETS: Final = 50_000
_TERMS: Final = "t"
_RESERVED: Final = re.compile(r'([.?+*|{}\[\]()"\\#@&<>~^$-])')


class Facets:
    """Counts the values of tags behind an alias."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def count(self, alias: str, paths: Sequence[str], where: Filter | None) -> FacetCounts:
        """See `Store.facets`.

        Raises:
            IndexGoneError: the collection was dropped in the meantime.
            VisualSearchError: `too_many_values`, `shard_missing`, `storage_unavailable`.
        """
        asked = [(path, field) for path in paths for field in (*_typed_fields(path), _TERMS)]
        bodies: list[Query] = [{"size": 0, "track_total_hits": True, "query": live_query(where)}]
        bodies += [_body(path, field, live_query(without_path(where, path))) for path, field in asked]
        first, *answers = await self._search(alias, bodies)
        tallies = {path: Tally(path) for path in paths}
        for (path, field), answer in zip(asked, answers, strict=True):
            found = answer["aggregations"]["values"]
            if found["sum_other_doc_count"]:
                raise too_many_values(path, MOST_BUCKETS)
            for bucket in found["buckets"]:
                value = await self._value(alias, path, field, bucket["key"])
                tallies[path].add(value, int(bucket["doc_count"]))
        return FacetCounts(int(first["hits"]["total"]["value"]), [tallies[path].pairs() for path in paths])

    async def _value(self, alias: str, path: str, field: str, key: Any) -> Scalar:
        if field != _TERMS:
            return typed_value(field, key)
        if not is_cut(path, key):
            return value_of_term(path, key)
        body = {
            "size": 1,
            "query": live_query(None, {"term": {_TERMS: key}}),
            "_source": ["id", "tags", "content", "digest"],
        }
        (answer,) = await self._search(alias, [body])
        for hit in answer["hits"]["hits"]:
            for leaf in flatten(tags_of(hit["_source"])).get(path, ()):
                if not leaf.empty and value_term(path, leaf.value) == key:
                    return leaf.value
        raise VisualSearchError("storage_unavailable", "a document was changed while it was counted; try again")

    async def _search(self, alias: str, bodies: Sequence[Query]) -> list[dict[str, Any]]:
        answers = await self._reader.search_each([(alias, body) for body in bodies])
        for answer in answers:
            error = answer.get("error")
            if error is None:
                check_whole(answer)
                continue
            kind = cause_of(error)
            if kind in TOO_MANY_CLAUSES:
                raise too_many_clauses()
            if kind == "index_not_found_exception":
                raise IndexGoneError(str(error.get("reason")))
            raise VisualSearchError(
                "storage_unavailable", f"OpenSearch can't count: {kind}", reason=str(error.get("reason"))
            )
        return answers


def typed_value(field: str, key: Any) -> Scalar:
    """The value of a bucket of a typed field (`k.brand`, `n.price`, `b.sold`)."""
    if field.startswith("b."):
        return key in (1, True, "true")
    return str(key) if field.startswith("k.") else float(key)


def _typed_fields(path: str) -> list[str]:
    return [name for kind in ("string", "number", "boolean") if (name := field_of(path, kind))]


def _body(path: str, field: str, where: Query) -> Query:
    terms: dict[str, Any] = {"field": field, "size": MOST_BUCKETS}
    if field == _TERMS:
        terms["include"] = _pattern(path)
    return {"size": 0, "query": where, "aggs": {"values": {"terms": terms}}}


def _pattern(path: str) -> str:
    """A regular expression of Lucene for the terms of all values at a path."""
    prefix = _RESERVED.sub(r"\\\1", value_terms_prefix(path))
    return f"{prefix}(z|[bkn](.|\n)*)"
