"""The answers of the HTTP API as dataclasses, and the functions that read them from JSON. No I/O."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from executors.errors import VisualSearchError, error_from_json


@dataclass(frozen=True, slots=True)
class WriteResult:
    """The outcome of writing one document: a result (created, replaced, …), or the error that refused it.

    `descendants`: how many documents a delete removed together with this one, because they came from it.
    """

    id: str
    result: str | None
    version: str | None
    error: VisualSearchError | None = None
    descendants: int = 0


@dataclass(frozen=True, slots=True)
class Hit:
    """One match: an indexed document and its cosine to the query, -1 to 1.

    `thumbnail_url` is the path of its thumbnail on the server, which answers 404 if there is none. `group` (the tag's
    value, or the parent's id) and `embedding` (D numbers) are set only if the request asked for them.
    """

    id: str
    score: float
    uri: str | None = None
    tags: Mapping[str, Any] = field(default_factory=dict)
    parent: str | None = None
    box: Sequence[float] | None = None
    group: Any = None
    embedding: Sequence[float] | None = None
    thumbnail_url: str | None = None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The matches of one query, best first, or the error that refused it."""

    id: str
    matches: Sequence[Hit] = ()
    error: VisualSearchError | None = None


@dataclass(frozen=True, slots=True)
class FoundDocument:
    """One document as the index holds it, or the error (`not_found`) in its place.

    `embedding` (D numbers, float32 values to the bit) and `thumbnail` (JPEG) are set only if the request asked for them.
    `thumbnail_url` is the path of the thumbnail on the server, which answers 404 if there is none.
    """

    id: str
    collection: str | None = None
    uri: str | None = None
    tags: Mapping[str, Any] = field(default_factory=dict)
    parent: str | None = None
    box: Sequence[float] | None = None
    text: str | None = None
    model_id: str | None = None
    version: str | None = None
    embedding: Sequence[float] | None = None
    error: VisualSearchError | None = None
    thumbnail: bytes | None = None
    thumbnail_url: str | None = None


@dataclass(frozen=True, slots=True)
class ScrollPage:
    """Some documents in the order of their ids. `next` is the value of `after` for the next page, None on the last one."""

    documents: Sequence[FoundDocument]
    next: str | None


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection: its model, its dimension, and the number of its documents; `result` is set when it was created.

    `error` says why the collection can't be read, if it can't; its documents are not counted then.
    """

    name: str
    model_id: str
    dimension: int
    documents: int
    result: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class EmbeddingResult:
    """The vector of one picture or text (D numbers, unit length), or the error in its place."""

    id: str
    embedding: Sequence[float] | None
    model_id: str | None
    error: VisualSearchError | None = None


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """The result of a full check of the index; `ok` if it found no fault.

    `repaired` counts the ids whose older copy was removed; `repairs` has a line for each thing that a shard rebuilt.
    """

    ok: bool
    documents: int
    faults: Sequence[str]
    double_ids: Sequence[str]
    repaired: int
    repairs: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class FacetValue:
    """A value of a tag (text, number, boolean or None), and how many documents have it."""

    value: str | float | bool | None
    count: int


@dataclass(frozen=True, slots=True)
class Facet:
    """The most frequent values of a tag, the most frequent first; `more` is the number of further values."""

    path: str
    values: Sequence[FacetValue]
    more: int = 0


@dataclass(frozen=True, slots=True)
class FacetResult:
    """The facets in the order of the request, and how many documents match the whole filter.

    `partial`: the counts of a shard are missing (only with `allow_partial`).
    """

    count: int
    facets: Sequence[Facet]
    partial: bool = False


@dataclass(frozen=True, slots=True)
class CollectionQuality:
    """The quality of the searches in one collection.

    Attributes:
        collection: its name.
        documents: how many it has.
        queries: how many stored vectors were searched with.
        walked: for how many of them a graph was used.
        mean: the mean precision, from 0 to 1; None without queries.
        lowest: the lowest precision of a query.
        all_found: the part of the queries that found all of the true best.
        graph_ms: the median time of a usual search, in milliseconds.
        exact_ms: the median time of a comparison with every document, in milliseconds.
    """

    collection: str
    documents: int
    queries: int
    walked: int
    mean: float | None
    lowest: float | None
    all_found: float | None
    graph_ms: float | None
    exact_ms: float | None


Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Answer(Generic[Result]):
    """One answer: a result per document in request order, and facts about the request as a whole.

    Attributes:
        results: one per document.
        failed: how many of them have an error.
        partial: the results of a shard are missing (only with `allow_partial`).
        shards: `{"total": n, "answered": m}`.
        took_ms: how long the service took, in milliseconds, by stage.
        deleted: how many documents `delete` removed in all, including those that came from the named ones.
        explain: for each query, how each shard searched (only with `explain`).
    """

    results: Sequence[Result]
    failed: int = 0
    partial: bool = False
    shards: Mapping[str, int] = field(default_factory=dict)
    took_ms: Mapping[str, float] = field(default_factory=dict)
    deleted: int = 0
    explain: Sequence[Mapping[str, Any]] = ()

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, position: int) -> Result:
        return self.results[position]


def optional_error(given: Mapping[str, Any] | None) -> VisualSearchError | None:
    """An error of an answer; None where there is none."""
    return None if given is None else error_from_json(given)


def answer_from_json(
    body: Mapping[str, Any], expected: int, result_from_json: Callable[[Mapping[str, Any]], Result]
) -> Answer[Result]:
    """The answer to a request of `expected` documents.

    Raises:
        VisualSearchError: `internal` if the answer does not have one result per document.
    """
    data, parameters = body.get("data"), body.get("parameters") or {}
    if not isinstance(data, list) or len(data) != expected:
        count = len(data) if isinstance(data, list) else "no"
        raise VisualSearchError("internal", f"the service sent {count} results for {expected} documents")
    return Answer(
        results=[result_from_json(each) for each in data],
        failed=int(parameters.get("failed") or 0),
        partial=bool(parameters.get("partial")),
        shards=parameters.get("shards") or {},
        took_ms=parameters.get("took_ms") or {},
        deleted=int(parameters.get("deleted") or 0),
        explain=parameters.get("explain") or (),
    )


def write_from_json(given: Mapping[str, Any]) -> WriteResult:
    """One result of `/index`, `/update` or `/delete`."""
    return WriteResult(
        id=given["id"],
        result=given.get("result"),
        version=given.get("version"),
        error=optional_error(given.get("error")),
        descendants=int(given.get("descendants") or 0),
    )


def search_from_json(given: Mapping[str, Any]) -> SearchResult:
    """One result of `/search`."""
    matches = [
        Hit(
            id=match["id"],
            score=float(match["score"]),
            uri=match.get("uri"),
            tags=match.get("tags") or {},
            parent=match.get("parent"),
            box=match.get("box"),
            group=match.get("group"),
            embedding=match.get("embedding"),
            thumbnail_url=match.get("thumbnail_url"),
        )
        for match in given.get("matches") or []
    ]
    return SearchResult(given["id"], matches, optional_error(given.get("error")))


def found_from_json(given: Mapping[str, Any]) -> FoundDocument:
    """One result of `/get`."""
    return FoundDocument(
        id=given["id"],
        collection=given.get("collection"),
        uri=given.get("uri"),
        tags=given.get("tags") or {},
        parent=given.get("parent"),
        box=given.get("box"),
        text=given.get("text"),
        model_id=given.get("model_id"),
        version=given.get("version"),
        embedding=given.get("embedding"),
        error=optional_error(given.get("error")),
        thumbnail=base64.b64decode(given["thumbnail"]) if given.get("thumbnail") else None,
        thumbnail_url=given.get("thumbnail_url"),
    )


def page_from_json(content: Mapping[str, Any]) -> ScrollPage:
    """The answer of `/scroll`.

    Raises:
        VisualSearchError: `internal` if the answer has no documents.
    """
    data, parameters = content.get("data"), content.get("parameters") or {}
    if not isinstance(data, list):
        raise VisualSearchError("internal", "the service sent no documents")
    return ScrollPage([found_from_json(each) for each in data], parameters.get("next"))


def collection_from_json(given: Mapping[str, Any], result: str | None = None) -> CollectionInfo:
    """One collection of `/collections`.

    Raises:
        VisualSearchError: `internal` if it is not a collection.
    """
    try:
        return CollectionInfo(
            given["name"],
            given["model_id"],
            int(given["dimension"]),
            int(given["documents"]),
            result,
            given.get("error"),
        )
    except (KeyError, TypeError):
        raise VisualSearchError("internal", "the service sent something that is not a collection") from None


def embedding_from_json(given: Mapping[str, Any]) -> EmbeddingResult:
    """One result of `/embed`."""
    return EmbeddingResult(
        given["id"], given.get("embedding"), given.get("model_id"), optional_error(given.get("error"))
    )


def verify_from_json(given: Mapping[str, Any]) -> VerifyResult:
    """The answer of `/verify`."""
    return VerifyResult(
        ok=bool(given["ok"]),
        documents=int(given["documents"]),
        faults=list(given.get("faults") or []),
        double_ids=list(given.get("double_ids") or []),
        repaired=int(given.get("repaired") or 0),
        repairs=list(given.get("repairs") or []),
    )


def facets_from_json(content: Mapping[str, Any]) -> FacetResult:
    """The answer of `/facets`."""
    parameters = content.get("parameters") or {}
    facets = [
        Facet(
            each["path"],
            [FacetValue(value["value"], int(value["count"])) for value in each["values"]],
            int(each["more"]),
        )
        for each in parameters.get("facets") or ()
    ]
    return FacetResult(int(parameters.get("count") or 0), facets, bool(parameters.get("partial")))


def quality_from_json(given: Mapping[str, Any]) -> CollectionQuality:
    """One collection of the answer of `/quality`."""
    precision, took_ms = given.get("precision") or {}, given.get("took_ms") or {}
    return CollectionQuality(
        collection=given["collection"],
        documents=int(given["documents"]),
        queries=int(given["queries"]),
        walked=int(given["walked"]),
        mean=precision.get("mean"),
        lowest=precision.get("lowest"),
        all_found=precision.get("all_found"),
        graph_ms=took_ms.get("graph"),
        exact_ms=took_ms.get("exact"),
    )
