"""Filters as OpenSearch queries, with the meaning of `executors.index.filters`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

from executors.index.filters import And, Exists, Filter, In, Not, Or, Range, Scalar, kind_of
from executors.index.instants import Instant
from executors.index.opensearch.documents.tag_fields import (
    any_whole_prefix,
    exists_term,
    field_of,
    kind_bounds,
    plain_value,
    short_text,
    typed_name,
    value_term,
    whole_term,
)
from executors.index.opensearch.search.instant_query import instant_queries

Query: TypeAlias = dict[str, Any]
LIVE: Final[Query] = {"term": {"live": True}}
GONE: Final[Query] = {"term": {"live": False}}
BY_PARENT: Final = "parent"
_NOTHING: Final[Query] = {"match_none": {}}


def live_query(where: Filter | None, *more: Query) -> Query:
    """A query for live documents that match the filter and the further conditions."""
    conditions = [LIVE, *more]
    if where is not None:
        conditions.append(filter_query(where))
    return {"bool": {"filter": conditions}}


def filter_query(where: Filter) -> Query:
    """The query of a filter. Fields that do not exist match nothing, so the caller need not know which exist."""
    match where:
        case And(parts):
            return _all_of(parts)
        case Or(parts):
            return _any_of([filter_query(part) for part in parts])
        case Not():
            return _all_of([where])
        case Exists(path):
            return {"term": {"t": exists_term(path)}}
        case In():
            return _in(where)
        case Range():
            return _range(where)


def newer_than(version: str) -> Query:
    """Documents of a newer version."""
    return {"range": {"version": {"gt": version}}}


def older_than(version: str) -> Query:
    """Documents of an older version."""
    return {"range": {"version": {"lt": version}}}


def children_of(parents: Iterable[str]) -> Query:
    """Documents derived from one of these."""
    return {"terms": {"of": sorted({short_text(parent) for parent in parents})}}


def in_some_group(path: str) -> Query:
    """Documents that are in a group of the path (`parent`: all are)."""
    return {"match_all": {}} if path == BY_PARENT else {"prefix": {"t": any_whole_prefix(path)}}


def in_groups(path: str, values: Sequence[Any]) -> Query:
    """Documents of these groups."""
    if path != BY_PARENT:
        return {"terms": {"t": sorted({whole_term(path, value) for value in values})}}
    own = {"bool": {"filter": [{"terms": {"id": list(values)}}], "must_not": [{"exists": {"field": "of"}}]}}
    return _any_of([children_of(values), own])


def _in(where: In) -> Query:
    path, values = where.path, [value for value in where.values if not isinstance(value, Instant)]
    typed: dict[str, list[Scalar]] = {}
    for value in values:
        name = typed_name(path, value)
        if name:
            typed.setdefault(name, []).append(plain_value(value))
    # A document that was written before the field existed has the value as a term.
    alternatives: list[Query] = [{"terms": {name: wanted}} for name, wanted in typed.items()]
    if values:
        alternatives.append({"terms": {"t": sorted({value_term(path, value) for value in values})}})
    return _any_of(alternatives + instant_queries(where))


def _range(where: Range) -> Query:
    low, high = where.low, where.high
    if low is not None and high is not None and kind_of(low) != kind_of(high):
        return _NOTHING
    if isinstance(low, Instant) or isinstance(high, Instant):
        return _any_of(instant_queries(where))
    kind = kind_of(low if low is not None else high)
    first, last = kind_bounds(where.path, kind)
    terms: dict[str, Any] = {"gte": first, "lt": last}
    values: dict[str, Any] = {}
    if low is not None:
        side = "gte" if where.low_inclusive else "gt"
        values[side] = plain_value(low)
        terms.pop("gte")
        terms[side] = value_term(where.path, low)
    if high is not None:
        side = "lte" if where.high_inclusive else "lt"
        values[side] = plain_value(high)
        terms.pop("lt")
        terms[side] = value_term(where.path, high)
    alternatives: list[Query] = [{"range": {"t": terms}}]
    name = field_of(where.path, kind)
    if name:
        alternatives.append({"range": {name: values}})
    return _any_of(alternatives)


def _all_of(parts: Sequence[Filter]) -> Query:
    # Clauses are flat rather than nested, because OpenSearch allows 1,024 clauses.
    clauses: dict[str, list[Query]] = {}
    for part in parts:
        if isinstance(part, Not):
            clauses.setdefault("must_not", []).append(filter_query(part.part))
        else:
            clauses.setdefault("filter", []).append(filter_query(part))
    return {"bool": clauses} if clauses else {"match_all": {}}


def _any_of(alternatives: Sequence[Query]) -> Query:
    if not alternatives:
        return _NOTHING
    return alternatives[0] if len(alternatives) == 1 else {"bool": {"should": alternatives, "minimum_should_match": 1}}
