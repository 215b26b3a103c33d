"""The answers of the API as models. They serve its description and tests; the gateway doesn't validate its answers by them.

A field whose default is null is missing if the caller did not ask for it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Result = Literal["created", "replaced", "unchanged", "updated", "deleted", "not_found"]
Vector = Annotated[list[float], Field(description="unit length")]
_EXTENDED = ConfigDict(extra="allow")


class Answer(BaseModel):
    """Any part of an answer; it has no fields beside the described ones."""

    model_config = ConfigDict(extra="forbid")


class Error(Answer):
    """The error of a document or a request."""

    code: str
    message: str
    details: dict[str, Any]


class Shards(Answer):
    """How many shards there are, and how many of them answered."""

    total: int
    answered: int


class Account(Answer):
    """Facts about a request as a whole."""

    shards: Shards
    partial: bool = Field(description="whether the answer lacks a shard")
    failed: int = Field(description="how many documents failed")
    took_ms: dict[str, float] = Field(description="milliseconds that each stage took, and `total`")


class SearchAccount(Account):
    """Facts about a search as a whole. `explain` tells for each query how each shard searched, if the caller asked for it."""

    explain: list[dict[str, Any]] | None = None


class DeleteAccount(Account):
    """Facts about a delete as a whole; `deleted` also counts the documents whose `parent` was removed."""

    deleted: int


class ScrollAccount(Account):
    """`next` is the id to send as `after` for the next page; it is null on the last page."""

    next: str | None


class CountAccount(Account):
    """Facts about a count as a whole; `count` is the number of documents."""

    count: int


class FacetValue(Answer):
    """A value of a tag, and how many documents have it."""

    value: str | float | bool | None
    count: int = Field(ge=1)


class Facet(Answer):
    """The most frequent values of a tag; `more` says how many further values there are."""

    path: str
    values: list[FacetValue]
    more: int


class FacetAccount(CountAccount):
    """Facts about a count as a whole; `count` is the number of documents that match the whole filter."""

    facets: list[Facet] = Field(description="one for each path, each without the filter's conditions on its own path")


class Match(Answer):
    """One hit, with the fields that the caller chose."""

    id: str
    score: float = Field(description="the cosine, from -1 to 1")
    uri: str | None = None
    tags: dict[str, Any] | None = None
    parent: str | None = None
    box: list[float] | None = Field(None, description="x, y, width, height")
    thumbnail_url: str | None = None
    group: Any = None
    embedding: Vector | None = None


class SearchResult(Answer):
    """The hits of one query, best first."""

    id: str
    tags: dict[str, Any]
    matches: list[Match]
    error: Error | None


class WriteResult(Answer):
    """The result for one document."""

    id: str
    result: Result | None
    version: str | None
    error: Error | None


class DeleteResult(WriteResult):
    """The result for one document, and how many documents were removed with it because they came from it."""

    descendants: int


class FoundDocument(Answer):
    """A document as it is stored."""

    id: str
    collection: str | None
    uri: str | None
    tags: dict[str, Any]
    parent: str | None
    box: list[float] | None = Field(description="x, y, width, height")
    thumbnail_url: str | None
    text: str | None
    model_id: str | None
    version: str | None
    error: Error | None
    embedding: Vector | None = None
    thumbnail: str | None = Field(None, description="a JPEG as base64")


class EmbeddedDocument(Answer):
    """The vector of a picture or text."""

    id: str
    embedding: Vector | None
    model_id: str | None
    error: Error | None


class WriteAnswer(Answer):
    """One result for each document, in the order of the request."""

    data: list[WriteResult]
    parameters: Account


class DeleteAnswer(Answer):
    """One result for each document, in the order of the request; no results if a filter was given."""

    data: list[DeleteResult]
    parameters: DeleteAccount


class SearchAnswer(Answer):
    """One result for each query, in the order of the request."""

    data: list[SearchResult]
    parameters: SearchAccount


class GetAnswer(Answer):
    """One document for each id, in the order of the request."""

    data: list[FoundDocument]
    parameters: Account


class ScrollAnswer(Answer):
    """A page of documents, in the order of their ids."""

    data: list[FoundDocument]
    parameters: ScrollAccount


class CountAnswer(Answer):
    """The number of documents; `data` is empty."""

    data: list[WriteResult] = Field(max_length=0)
    parameters: CountAccount


class FacetAnswer(Answer):
    """The counts of the values of tags; `data` is empty."""

    data: list[WriteResult] = Field(max_length=0)
    parameters: FacetAccount


class EmbedAnswer(Answer):
    """One vector for each document, in the order of the request."""

    data: list[EmbeddedDocument]
    parameters: Account


class CollectionReport(Answer):
    """A collection, and the model to which it is bound."""

    name: str
    model_id: str
    dimension: int
    documents: int | None = Field(description="null if a shard could not count")
    documents_counted: int | None = None
    error: Any = Field(None, description="why the collection can't be read")


class CollectionsAnswer(Answer):
    """All collections."""

    collections: list[CollectionReport]


class CollectionAnswer(Answer):
    """One collection."""

    collection: CollectionReport


class CreateAnswer(CollectionAnswer):
    """One collection, and whether the request created it or it existed before."""

    result: Literal["created", "unchanged"]


class DropAnswer(Answer):
    """The collection was dropped; `documents` says how many it had."""

    result: Literal["deleted"]
    documents: int


class VerifyAnswer(Answer):
    """The faults that were found, and the repairs that were made."""

    ok: bool
    documents: int
    faults: list[str]
    double_ids: list[str]
    repaired: int = Field(description="how many ids had an older copy, which was removed")
    repairs: list[str]


class Precision(Answer):
    """Which part of the true best hits was found, from 0 to 1."""

    mean: float
    lowest: float
    all_found: float = Field(description="the part of the queries that found all of them")


class QualityTimes(Answer):
    """The median time of a query both ways, in milliseconds; null without queries."""

    graph: float | None
    exact: float | None


class Quality(Answer):
    """The quality of the searches in one collection."""

    collection: str
    documents: int
    sampled: int = Field(description="how many stored vectors were drawn")
    queries: int = Field(description="how many of them were measured in the time that a request has")
    walked: int = Field(description="how many of the queries walked through a graph")
    k: int
    precision: Precision | None
    took_ms: QualityTimes


class QualityAnswer(Answer):
    """The quality of the searches in each collection, by name."""

    collections: list[Quality]


class ReindexAnswer(Answer):
    """The rebuild has begun; `/status` shows its progress."""

    ok: Literal[True]


class ShardStatus(Answer):
    """The report of one shard; further fields depend on the store."""

    model_config = _EXTENDED

    shard: int
    documents: int
    bytes_on_disk: int
    format_version: int
    last_version: str
    populated: bool


class IndexStatus(Answer):
    """The index. A field is null if not all shards could report it."""

    uuid: str | None
    documents: int | None
    documents_counted: int
    collections: list[CollectionReport]
    shards: list[ShardStatus]
    missing: list[int] = Field(description="the numbers of the shards that do not answer")
    error: Error | None = None


class ModelStatus(Answer):
    """The model that the flow runs. All fields are null until the embedding stage has answered."""

    model_id: str | None
    name: str | None
    dimension: int | None
    text: str | None = Field(description="the text tower of the model")


class StageStatus(Answer):
    """The report of a stage's first replica, with `replicas` for all of them, or the error if there is no report."""

    model_config = _EXTENDED

    replicas: list[dict[str, Any]] | None = None
    silent: list[str] = Field(description="the replicas that do not answer")
    error: Any = None


class GatewayStatus(Answer):
    """The gateway that answered: its requests in flight, and how many it takes at once."""

    in_flight: int
    max_concurrency: int
    requests: int = Field(description="requests since the start, but for those of /status, /metrics and /watch")
    request_seconds: float = Field(description="the time that these took, all together")
    chunks_in_flow: int = Field(description="messages that are in the stages")
    chunks_waiting: int = Field(description="messages that wait for a place in the flow")
    process: dict[str, Any] = Field(description="processor time, memory, open files and threads of this process")


class KeyStatus(Answer):
    """A key: its rights, and when this gateway last saw it."""

    name: str
    role: Literal["search", "write", "admin"]
    collections: list[str] | None = Field(description="the only collections that it may use; null for all")
    created: str | None
    last_used: str | None


class AccessStatus(Answer):
    """Whether callers need a key; the keys are shown to those who may do everything."""

    required: bool
    problem: str | None = Field(None, description="why the present file of keys is not used")
    keys: list[KeyStatus] | None = None


class StatusAnswer(Answer):
    """The state of the index, the model, the stages and this gateway."""

    api: Literal[1]
    version: str
    ready: bool
    reason: Error | None
    silent: list[str] = Field(description="the processes that do not answer")
    index: IndexStatus
    model: ModelStatus
    stages: dict[str, StageStatus]
    gateway: GatewayStatus
    access: AccessStatus


class HealthAnswer(Answer):
    """The health check passed; `ok` is always true here."""

    ok: Literal[True]


class StageHealth(Answer):
    """Whether a stage is healthy; further fields are its report."""

    model_config = _EXTENDED

    ok: bool
    error: Any = None


class FullHealthAnswer(Answer):
    """Whether everything is healthy, and the health of each stage by name."""

    ok: bool
    ready: bool
    stages: dict[str, StageHealth]
    keys_problem: str | None = Field(description="why the present file of keys is not used, and the last good one is")


class Failure(Answer):
    """A request that failed as a whole."""

    error: Error
