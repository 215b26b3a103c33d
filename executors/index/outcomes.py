"""Outcomes shared by all stores: refused writes, checks of bindings, and tags after an update. Pure."""

from __future__ import annotations

from dataclasses import replace

from executors.document_values import MAX_TAGS_BYTES
from executors.errors import VisualSearchError
from executors.index.encoding import encode_tags, is_text
from executors.index.records import (
    MAX_DIMENSION,
    Collection,
    ShardIdentity,
    Tags,
    TagUpdate,
    WriteOutcome,
)


def identity_after(mine: ShardIdentity | None, identity: ShardIdentity, *, proposed: bool = False) -> ShardIdentity:
    """The identity of a shard after `Store.adopt`. A shard of an index that was never written to may adopt another one.

    Raises:
        VisualSearchError: `shard_identity`.
    """
    if mine is None or (not mine.populated and not (proposed and mine.shard == identity.shard)):
        return identity
    if proposed and mine.shard == identity.shard:
        return mine
    if (mine.index_uuid, mine.shard) != (identity.index_uuid, identity.shard):
        raise VisualSearchError(
            "shard_identity",
            f"this is shard {mine.shard} of the index {mine.index_uuid}, not shard {identity.shard} of"
            f" {identity.index_uuid}",
            expected=[mine.index_uuid, mine.shard],
            got=[identity.index_uuid, identity.shard],
        )
    if identity.shards < mine.shards:
        raise VisualSearchError(
            "shard_identity",
            f"the index had {mine.shards} shards, with {identity.shards} shards some documents would be missing",
            expected=mine.shards,
            got=identity.shards,
        )
    return replace(identity, populated=True)


def check_binding(collection: Collection, model_id: str, dimension: int) -> None:
    """Refuse vectors that can't be compared with those of the collection.

    Raises:
        VisualSearchError: `model_mismatch`, `dimension_mismatch`.
    """
    if model_id != collection.model_id:
        raise VisualSearchError(
            "model_mismatch",
            f"the collection {collection.name!r} is bound to the model {collection.model_id}, not {model_id}",
            collection=collection.name,
            expected=collection.model_id,
            got=model_id,
        )
    if dimension != collection.dimension:
        raise VisualSearchError(
            "dimension_mismatch",
            f"the collection {collection.name!r} holds vectors of {collection.dimension} numbers, not {dimension}",
            collection=collection.name,
            expected=collection.dimension,
            got=dimension,
        )


def check_new_collection(collection: Collection, most: int = MAX_DIMENSION) -> None:
    """Refuse a collection that no store can hold.

    Args:
        most: the maximum dimension of a vector in this store.

    Raises:
        VisualSearchError: `invalid_document`, `invalid_embedding`.
    """
    if not is_text(collection.name) or not is_text(collection.model_id):
        raise VisualSearchError("invalid_document", "the name of a collection and its model must be text")
    if not 1 <= collection.dimension <= most:
        raise VisualSearchError(
            "invalid_embedding", f"a vector has 1 to {most} numbers, not {collection.dimension}", limit=most
        )


def require_identity(identity: ShardIdentity | None) -> ShardIdentity:
    """The identity of this shard.

    Raises:
        VisualSearchError: `shard_identity` if it has none yet.
    """
    if identity is None:
        raise VisualSearchError("shard_identity", "this shard does not belong to an index yet")
    return identity


def updated_tags(stored: Tags | None, update: TagUpdate) -> Tags:
    """The tags after an update. For `merge`: the stored tags (None: unknown) with the named keys changed; null removes
    a key.

    Raises:
        VisualSearchError: `invalid_tags`: they would exceed the maximum size of a document's tags.
    """
    if stored is None or update.mode == "replace":
        return update.tags
    changes = update.tags
    tags = {key: value for key, value in (stored | changes).items() if not (key in changes and value is None)}
    size = len(encode_tags(tags).encode())
    if size > MAX_TAGS_BYTES and size > len(encode_tags(stored).encode()):
        message = f"with these changes `tags` would have {size} bytes; at most {MAX_TAGS_BYTES}"
        raise VisualSearchError("invalid_tags", message, bytes=size, limit=MAX_TAGS_BYTES)
    return tags


def refusal(error: VisualSearchError) -> WriteOutcome:
    """The outcome of a write that was refused."""
    return WriteOutcome(error=error)


def stale(document_id: str, stored: str) -> WriteOutcome:
    """The outcome of a write that came too late."""
    error = VisualSearchError(
        "stale_version", "a newer write or a delete of this id was accepted before", id=document_id, stored=stored
    )
    return WriteOutcome(error=error)
