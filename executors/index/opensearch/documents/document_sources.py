"""Sources of documents in OpenSearch: written from records, and read back. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from executors.errors import VisualSearchError
from executors.index.encoding import (
    EncodedRecord,
    content_digest,
    decode_box,
    decode_embedding,
    decode_tags,
    encode_embedding,
    encode_tags,
    sound_tags,
)
from executors.index.opensearch.cluster.layout import TYPED, VECTOR
from executors.index.opensearch.documents.tag_fields import index_tags, short_text
from executors.index.records import Box, StoredDocument, Tags
from executors.index.write_rules import Held

Source = dict[str, Any]
# The fields that decide about a write to an id; a tombstone has no digests.
TOMBSTONE_FIELDS: Final = ("live", "version", "operation", "result")
STATE_FIELDS: Final = (*TOMBSTONE_FIELDS, "digest", "content")
# A fault that can be repaired from the tags.
WRONG_FIELDS: Final = "its filter fields do not match its tags"
HIT_FIELDS: Final = ("id", "version", "uri", "tags", "parent", "box", "digest", "content")


@dataclass(frozen=True, slots=True, kw_only=True)
class State(Held):
    """The record held under an id, and its place.

    Attributes:
        place: sequence number and primary term, for a write that must find it unchanged.
        source: the fields that were read.
    """

    place: tuple[int, int]
    source: Source


def state_of(found: Mapping[str, Any]) -> State | None:
    """The state in an item of an `_mget` or `_search` answer."""
    if not found.get("found", True):
        return None
    source = found["_source"]
    return State(
        bool(source["live"]),
        source["version"],
        source["operation"],
        source["result"],
        source.get("digest", ""),
        source.get("content", ""),
        place=(found["_seq_no"], found["_primary_term"]),
        source=dict(source),
    )


def document_source(record: EncodedRecord, held: Held, known: frozenset[str]) -> Source:
    """The source of a document that was put."""
    source: Source = {
        "id": record.id,
        **_state_part(held),
        VECTOR: decode_embedding(record.embedding),
        **_tag_part(decode_tags(record.tags), record.tags, known),
    }
    for name in ("uri", "parent", "box", "text"):
        if (value := getattr(record, name)) is not None:
            source[name] = value
    if record.parent is not None:
        source["of"] = short_text(record.parent)
    if record.thumbnail is not None:
        source["thumbnail"] = base64.b64encode(record.thumbnail).decode()
    return source


def updated_source(source: Source, held: Held, tags: Tags | None, known: frozenset[str]) -> Source:
    """The source of a document after an update, with these tags in place of its own (None: with its own)."""
    updated = {**source, **_state_part(held)}
    return with_fields(updated if tags is None else {**updated, "tags": encode_tags(tags)}, known)


def with_fields(source: Source, known: frozenset[str]) -> Source:
    """The source for an index that has these typed fields."""
    if not source["live"]:
        return source
    kept = {name: value for name, value in source.items() if name not in (*TYPED, "t")}
    return {**kept, **_tag_part(decode_tags(source["tags"]), source["tags"], known)}


def tombstone_source(document_id: str, held: Held, now_ms: int, collection: str | None = None) -> Source:
    """A tombstone of an id without a document; `collection` if the index does not imply it."""
    source: Source = {"id": document_id, **_state_part(held), "removed_at": now_ms}
    return source if collection is None else {**source, "collection": collection}


def stored_document(
    source: Source, collection: str, model_id: str, *, embedding: bool, thumbnail: bool
) -> StoredDocument:
    """A document as it is read."""
    picture = source.get("thumbnail")
    return StoredDocument(
        collection=collection,
        id=source["id"],
        version=source["version"],
        model_id=model_id,
        tags=tags_of(source),
        uri=source.get("uri"),
        parent=source.get("parent"),
        box=box_of(source),
        text=source.get("text"),
        embedding=vector_of(source) if embedding else None,
        thumbnail=base64.b64decode(picture) if thumbnail and picture is not None else None,
    )


def fields_read(*, embedding: bool, thumbnail: bool) -> list[str]:
    """The fields of the source that `stored_document` needs."""
    fields = [*HIT_FIELDS, "text"]
    return fields + ([VECTOR] if embedding else []) + (["thumbnail"] if thumbnail else [])


def tags_of(source: Source) -> Tags:
    """The tags, checked against the digest.

    Raises:
        VisualSearchError: `store_invalid`.
    """
    tags = sound_tags(source["tags"], bytes.fromhex(source["content"]), bytes.fromhex(source["digest"]))
    if tags is None:
        message = f"the tags of {source['id']!r} do not match their digest; index the document again"
        raise VisualSearchError("store_invalid", message, id=source["id"])
    return tags


def box_of(source: Source) -> Box | None:
    """The box, if there is one."""
    return decode_box(source.get("box"))


def vector_of(source: Source) -> NDArray[np.float32]:
    """D float32, exactly as it was written: the shortest decimal form of a float32 reads back as the same number."""
    return np.asarray(source[VECTOR], dtype=np.float32)


def faults_of(source: Source, dimension: int, known: frozenset[str]) -> list[str]:
    """The faults of a document that was read whole: its content against its digests, its index fields against its tags."""
    vector: Sequence[float] = source.get(VECTOR) or ()
    if len(vector) != dimension:
        return ["its vector is missing, or has another dimension than the collection"]
    faults = []
    picture = source.get("thumbnail")
    try:
        content = content_digest(
            encode_embedding(vector_of(source)),
            source.get("uri"),
            source.get("parent"),
            source.get("box"),
            source.get("text"),
            None if picture is None else base64.b64decode(picture),
        )
        if content.hex() != source["content"]:
            faults.append("its content does not match its digest")
    except (VisualSearchError, ValueError, KeyError):
        faults.append("its content can't be read")
    tags = sound_tags(source["tags"], bytes.fromhex(source["content"]), bytes.fromhex(source["digest"]))
    if tags is None:
        return [*faults, "its tags do not match its digest"]
    if not _same_filters(source, tags, known):
        faults.append(WRONG_FIELDS)
    return faults


def _state_part(held: Held) -> Source:
    return {name: getattr(held, name) for name in (STATE_FIELDS if held.live else TOMBSTONE_FIELDS)}


def _tag_part(tags: Tags, encoded: str, known: frozenset[str]) -> Source:
    indexed = index_tags(tags, known)
    return {"tags": encoded, "t": indexed.terms, **indexed.typed}


def _same_filters(source: Source, tags: Tags, known: frozenset[str]) -> bool:
    """Whether the indexed fields match these tags: each value in its typed field or among the terms, as when it was
    written.
    """
    typed = {f"{kind}.{name}" for kind in TYPED for name in source.get(kind, {})}
    expected = index_tags(tags, frozenset(typed & known))
    held = {kind: source[kind] for kind in TYPED if source.get(kind)}
    return expected.terms == source.get("t") and expected.typed == cast(object, held)
