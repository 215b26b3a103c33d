"""The values that go into a store and come out of it: plain data, independent of Jina and of the wire format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from executors.errors import VisualSearchError
from executors.index.filters import Filter

# No search model makes longer vectors; the limit keeps a wrong number from reserving memory.
MAX_DIMENSION: Final = 65_536

Tags: TypeAlias = dict[str, Any]
Box: TypeAlias = tuple[float, float, float, float]
WriteResult: TypeAlias = Literal["created", "replaced", "unchanged", "updated", "deleted", "not_found"]


@dataclass(frozen=True, slots=True)
class ShardIdentity:
    """The shard of the index that a folder holds; compared in every answer.

    Attributes:
        index_uuid: made once, when the index is; the same in all its shards.
        shard: this shard's number, from 0.
        shards: how many shards the index had when this one last took part.
        populated: whether this index ever acknowledged a write on any shard that this one knows of.
    """

    index_uuid: str
    shard: int
    shards: int
    populated: bool = False


@dataclass(frozen=True, slots=True)
class Collection:
    """A named set of documents, bound to one model and dimension when it is created."""

    name: str
    model_id: str
    dimension: int


@dataclass(frozen=True, slots=True)
class Record:
    """One document to write. `embedding` is D float32 of unit length, checked by the caller."""

    collection: str
    id: str
    version: str
    model_id: str
    embedding: NDArray[np.float32]
    tags: Tags = field(default_factory=dict)
    uri: str | None = None
    parent: str | None = None
    box: Box | None = None
    text: str | None = None
    thumbnail: bytes | None = None


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """One document as it was read; `embedding` and `thumbnail` only if they were asked for."""

    collection: str
    id: str
    version: str
    model_id: str
    tags: Tags
    uri: str | None
    parent: str | None
    box: Box | None
    text: str | None
    embedding: NDArray[np.float32] | None = None
    thumbnail: bytes | None = None


@dataclass(frozen=True, slots=True)
class DocumentKey:
    """One document of one collection, and the version of the write that names it."""

    collection: str
    id: str
    version: str


@dataclass(frozen=True, slots=True)
class TagUpdate:
    """New tags for one document: `merge` keeps the keys that are not named (null removes one), `replace` does not."""

    collection: str
    id: str
    version: str
    tags: Tags
    mode: Literal["merge", "replace"] = "merge"


@dataclass(frozen=True, slots=True)
class Superseded:
    """A write that another shard stored; copies of the same id that are not newer must be removed.

    `digest` is the `WriteOutcome.digest` of that write: an older copy with the same digest was the same document.
    """

    collection: str
    id: str
    version: str
    digest: str


@dataclass(frozen=True, slots=True)
class WriteOutcome:
    """The result of one write, or the error that refused it (then nothing of it was stored).

    `digest` identifies the content (vector, tags, uri, parent, box, text, thumbnail) without the version. `descendants`
    are the ids of the documents that a delete removed because they were derived from its document.
    """

    result: WriteResult | None = None
    version: str = ""
    digest: str = ""
    error: VisualSearchError | None = None
    descendants: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """Queries against one collection.

    Attributes:
        queries: N x D float32, unit length.
        model_id: the model that made the queries; compared with the collection's.
        limit: the maximum number of hits (with `group_by`: groups) for a query; the caller adds its offset.
        threshold: only hits with a cosine of at least this.
        where: only documents whose tags match; the best of those, not those of the best.
        group_by: the best hit of each group: a tag's path, or `parent` (a document without one is the group of its id).
        exact: compare with every document instead of walking the graph.
        ef: how many candidates the walk through the graph keeps; None: the default for the size.
        embedding: return the hits' vectors, too.
        without: the ids of documents to leave out: with `group_by`, others may represent their groups.
        ceiling: only hits with a cosine of at most this; the best of those, not those of the best.
    """

    collection: str
    queries: NDArray[np.float32]
    model_id: str
    limit: int
    threshold: float | None = None
    where: Filter | None = None
    group_by: str | None = None
    exact: bool = False
    ef: int | None = None
    embedding: bool = False
    without: Sequence[str] = ()
    ceiling: float | None = None


@dataclass(frozen=True, slots=True)
class Hits:
    """The hits of one query as columns of equal length, best first, ties by id (by code points).

    `groups` (JSON values; a tag's value, or the parent's id) and `embeddings` (D float32 each) only if they were asked
    for. `plan` says how the answer was found (`explain`), as JSON values; it is not part of the answer. `partial`: how
    many parts of this shard answered, and of how many, if some did not.
    """

    ids: Sequence[str]
    scores: Sequence[float]
    versions: Sequence[str]
    uris: Sequence[str | None]
    tags: Sequence[Tags]
    parents: Sequence[str | None]
    boxes: Sequence[Box | None]
    groups: Sequence[Any] | None = None
    embeddings: Sequence[NDArray[np.float32]] | None = None
    plan: dict[str, Any] = field(default_factory=dict, compare=False)
    partial: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class FacetCounts:
    """The counts of one shard: how many documents match, and for each path its values with their numbers of documents.

    A whole number is an integer; no value stands twice, and none has the count 0.
    """

    total: int
    counts: Sequence[Sequence[tuple[Any, int]]]


# The start of the pages of recent writes.
NEWEST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class RecentWrites:
    """A page of the most recent writes, and the start of the next page; None: there is none.

    `digests` are the `WriteOutcome.digest` of each; `drops` names and versions of collections that were dropped.
    """

    keys: Sequence[DocumentKey]
    digests: Sequence[str]
    next: int | None
    drops: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """The report of one shard in `/status`; `unreadable`: collections that can't be read, and why."""

    identity: ShardIdentity | None
    format_version: int
    last_version: str
    collections: Sequence[tuple[Collection, int]]
    bytes_on_disk: int
    details: dict[str, Any] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The result of a full check of one shard; if `faults` is empty, nothing is wrong."""

    documents: int
    faults: Sequence[str]
    keys: Sequence[DocumentKey] = ()
    repaired: Sequence[str] = ()
