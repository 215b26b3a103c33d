"""Conversion between documents of a request and values of the store. It imports no jina and makes no decisions."""

from __future__ import annotations

import numpy as np

from executors.documents import DEFAULT_COLLECTION, Failure, ImageDoc
from executors.errors import VisualSearchError
from executors.index.records import (
    Box,
    DocumentKey,
    Record,
    ShardIdentity,
    StoredDocument,
    TagUpdate,
    WriteOutcome,
)
from executors.index.wire.columns import Columns, pack
from executors.index.wire.facets import PackedFacets
from executors.index.wire.pages import PackedPage


def collection_of(document: ImageDoc) -> str:
    """The collection that a document names, or the default one."""
    return document.collection or DEFAULT_COLLECTION


def unknown(document: ImageDoc) -> Failure:
    """The error for a document that does not exist, nor perhaps its collection."""
    message = f"no document {document.id!r} in {collection_of(document)!r}"
    return Failure.of(VisualSearchError("not_found", message), "index")


def record_of(document: ImageDoc) -> Record:
    """The record to store for an embedded document."""
    return Record(
        collection=collection_of(document),
        id=str(document.id),
        version=str(document.version),
        model_id=str(document.model_id),
        embedding=np.asarray(document.embedding, dtype=np.float32),
        tags=document.tags,
        uri=document.uri,
        parent=document.parent,
        box=_box_of(document.box),
        text=document.text,
        thumbnail=document.thumbnail,
    )


def key_of(document: ImageDoc) -> DocumentKey:
    """The key of the document to delete."""
    return DocumentKey(collection_of(document), str(document.id), str(document.version))


def _box_of(box: list[float] | None) -> Box | None:
    return (box[0], box[1], box[2], box[3]) if box else None


def update_of(document: ImageDoc, mode: str) -> TagUpdate:
    """The update of a document's tags."""
    return TagUpdate(
        collection_of(document),
        str(document.id),
        str(document.version),
        document.tags,
        "replace" if mode == "replace" else "merge",
    )


def write_answer(document: ImageDoc, outcome: WriteOutcome, identity: ShardIdentity | None) -> ImageDoc:
    """The answer to one write: its result or its error, without the content."""
    columns: Columns = {"digest": outcome.digest}
    if outcome.descendants:
        columns["descendants"] = list(outcome.descendants)
    return ImageDoc.from_values(
        id=document.id,
        collection=document.collection,
        result=outcome.result,
        version=outcome.version or None,
        error=Failure.of(outcome.error, "index") if outcome.error else None,
        hits=pack(identity, columns),
    )


def stored_answer(document: ImageDoc, stored: StoredDocument | None, identity: ShardIdentity | None) -> ImageDoc:
    """The answer to one read."""
    hits = pack(identity, {})
    if stored is None:
        return ImageDoc.from_values(id=document.id, collection=document.collection, error=unknown(document), hits=hits)
    return ImageDoc.from_values(
        id=stored.id,
        collection=stored.collection,
        version=stored.version,
        model_id=stored.model_id,
        tags=stored.tags,
        uri=stored.uri,
        parent=stored.parent,
        box=list(stored.box) if stored.box else None,
        text=stored.text,
        embedding=stored.embedding,
        thumbnail=stored.thumbnail,
        hits=hits,
    )


def report_answer(
    document: ImageDoc, made: Columns | PackedPage | PackedFacets, identity: ShardIdentity | None
) -> ImageDoc:
    """The answer to a request that is not about single documents."""
    if isinstance(made, PackedPage):
        hits = pack(identity, made.columns)
        return ImageDoc.from_values(id=document.id, hits=hits, embedding=made.embeddings, blob=made.thumbnails)
    if isinstance(made, PackedFacets):
        return ImageDoc.from_values(id=document.id, hits=pack(identity, made.columns), blob=made.content)
    return ImageDoc.from_values(id=document.id, hits=pack(identity, made))
