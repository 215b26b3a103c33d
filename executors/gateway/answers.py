"""The answers of the API as models, for its description and for tests; no answer is validated while it is given.

A field that is null by default may be missing, where the caller did not ask for it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Result = Literal["created", "replaced", "unchanged", "updated", "deleted", "not_found"]
Vector = Annotated[list[float], Field(description="unit length")]
_EXTENDED = ConfigDict(extra="allow")


class Answer(BaseModel):
    """Any part of an answer; nothing else stands in it."""

    model_config = ConfigDict(extra="forbid")


class Error(Answer):
    """Why a document or a request failed."""

    code: str
    message: str
    details: dict[str, Any]


class Shards(Answer):
    """How many shards there are, and how many took part."""

    total: int
    answered: int


class Account(Answer):
    """What holds for a request as a whole."""

    shards: Shards
    partial: bool = Field(description="whether a shard is missing in the answer")
    failed: int = Field(description="how many documents carry an error")
    took_ms: dict[str, float] = Field(description="milliseconds by stage, and in `total`")


class SearchAccount(Account):
    """With `explain`: how each shard searched, by query."""

    explain: list[dict[str, Any]] | None = None


class DeleteAccount(Account):
    """How many documents were removed, those that came from the named ones included."""

    deleted: int


class ScrollAccount(Account):
    """The id to go on `after`; null at the end."""

    next: str | None


class CountAccount(Account):
    """How many documents there are."""

    count: int


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
    """What became of one document."""

    id: str
    result: Result | None
    version: str | None
    error: Error | None


class DeleteResult(WriteResult):
    """What became of one document, and how many were removed with it that came from it."""

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
    """One result a document, in request order."""

    data: list[WriteResult]
    parameters: Account


class DeleteAnswer(Answer):
    """One result a document, in request order; none where a filter was given."""

    data: list[DeleteResult]
    parameters: DeleteAccount


class SearchAnswer(Answer):
    """One result a query, in request order."""

    data: list[SearchResult]
    parameters: SearchAccount


class GetAnswer(Answer):
    """One document an id, in request order."""

    data: list[FoundDocument]
    parameters: Account


class ScrollAnswer(Answer):
    """A page of documents, by id."""

    data: list[FoundDocument]
    parameters: ScrollAccount


class CountAnswer(Answer):
    """A number, and no documents."""

    data: list[WriteResult] = Field(max_length=0)
    parameters: CountAccount


class EmbedAnswer(Answer):
    """One vector a document, in request order."""

    data: list[EmbeddedDocument]
    parameters: Account


class CollectionReport(Answer):
    """A collection, and what it is bound to."""

    name: str
    model_id: str
    dimension: int
    documents: int | None = Field(description="null where not every shard could count")
    documents_counted: int | None = None
    error: Any = Field(None, description="why it can't be read")


class CollectionsAnswer(Answer):
    """All collections."""

    collections: list[CollectionReport]


class CollectionAnswer(Answer):
    """One collection."""

    collection: CollectionReport


class CreateAnswer(CollectionAnswer):
    """One collection, and whether it was there already."""

    result: Literal["created", "unchanged"]


class DropAnswer(Answer):
    """How many documents went with the collection."""

    result: Literal["deleted"]
    documents: int


class VerifyAnswer(Answer):
    """What was found, and what was repaired."""

    ok: bool
    documents: int
    faults: list[str]
    double_ids: list[str]
    repaired: int = Field(description="ids of which an older copy was removed")
    repairs: list[str]


class ReindexAnswer(Answer):
    """It has begun."""

    ok: Literal[True]


class ShardStatus(Answer):
    """What one shard says of itself; further fields depend on the store."""

    model_config = _EXTENDED

    shard: int
    documents: int
    bytes_on_disk: int
    format_version: int
    last_version: str
    populated: bool


class IndexStatus(Answer):
    """The index; null is what not all of its shards could tell."""

    uuid: str | None
    documents: int | None
    documents_counted: int
    collections: list[CollectionReport]
    shards: list[ShardStatus]
    missing: list[int] = Field(description="the numbers of the shards that do not answer")
    error: Error | None = None


class ModelStatus(Answer):
    """The model that the flow runs; null before the embedding stage has answered."""

    model_id: str | None
    name: str | None
    dimension: int | None
    text: str | None = Field(description="its text tower")


class StageStatus(Answer):
    """What the first replica of a stage says of itself, all of them, or the error that there is instead."""

    model_config = _EXTENDED

    replicas: list[dict[str, Any]] | None = None
    silent: list[str] = Field(description="the replicas that do not answer")
    error: Any = None


class GatewayStatus(Answer):
    """This gateway."""

    in_flight: int
    max_concurrency: int


class StatusAnswer(Answer):
    """The index, the model, the stages and this gateway."""

    api: Literal[1]
    version: str
    ready: bool
    reason: Error | None
    silent: list[str] = Field(description="the processes that do not answer")
    index: IndexStatus
    model: ModelStatus
    stages: dict[str, StageStatus]
    gateway: GatewayStatus


class HealthAnswer(Answer):
    """It is so."""

    ok: Literal[True]


class StageHealth(Answer):
    """Whether a stage answers; further fields are its report."""

    model_config = _EXTENDED

    ok: bool
    error: Any = None


class FullHealthAnswer(Answer):
    """Whether everything answers, and each stage by name."""

    ok: bool
    ready: bool
    stages: dict[str, StageHealth]


class Failure(Answer):
    """A request that failed as a whole."""

    error: Error
