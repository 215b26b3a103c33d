"""Renders answers: as the JSON of the HTTP API, and as documents for gRPC callers."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from docarray import DocList

from executors.documents import DEFAULT_COLLECTION, ImageDoc, Match
from executors.errors import ERRORS
from executors.gateway.access import AddressOf, thumbnail_url
from executors.gateway.flow.chunks import Answer
from executors.index.wire.columns import unpack
from executors.index.wire.hits import decode_vector

_MATCH_FIELDS: Final = (
    ("id", "ids"),
    ("score", "scores"),
    ("uri", "uris"),
    ("tags", "tags"),
    ("parent", "parents"),
    ("box", "boxes"),
    ("thumbnail_url", "thumbnail_urls"),
    ("group", "groups"),
    ("embedding", "embeddings"),
)


@dataclass(frozen=True, slots=True)
class Rendering:
    """How the documents of an answer become JSON or documents for gRPC.

    Attributes:
        to_json: makes the JSON of one document; None if the answer is the operation's report and has no documents.
        matches: whether gRPC callers get the hits as `matches`.
        content: whether gRPC callers get the embedding and the thumbnail.
    """

    to_json: Callable[[ImageDoc, Answer], dict[str, Any]] | None
    matches: bool = False
    content: bool = False


def answer_to_json(rendering: Rendering, answer: Answer) -> dict[str, Any]:
    """Return the body of an HTTP answer."""
    if rendering.to_json is None:
        return answer.extra
    data = [rendering.to_json(document, answer) for document in answer.documents]
    return {"data": data, "parameters": answer.info()}


def status_of(answer: Answer) -> int:
    """Return the HTTP status of an answer; see `outcome_of`."""
    return outcome_of(answer)[0]


def outcome_of(answer: Answer) -> tuple[int, str]:
    """Return 200 and no code if a document succeeded or the request had none, else status and code of the first error."""
    errors = [document.error for document in answer.documents]
    first = errors[0] if errors else None
    if first is None or None in errors:
        return 200, ""
    return ERRORS[first.code].status, first.code


def matches_of(
    document: ImageDoc, thumbnails_in: str | None = None, address_of: AddressOf = thumbnail_url
) -> list[dict[str, Any]]:
    """Return the hits of one query as rows, with the fields that the caller chose; embeddings are D float32.

    Args:
        thumbnails_in: the collection of the hits, if the rows should have the URLs of thumbnails; else None.
        address_of: makes such a URL from the collection and the id.
    """
    columns = unpack(document)
    if "ids" not in columns:
        return []
    if "embeddings" in columns:
        columns["embeddings"] = [decode_vector(each) for each in columns["embeddings"]]
    if thumbnails_in is not None:
        columns["thumbnail_urls"] = [address_of(thumbnails_in, each) for each in columns["ids"]]
    chosen = [(name, column) for name, column in _MATCH_FIELDS if column in columns]
    rows = zip(*(columns[column] for _, column in chosen), strict=True)
    names = [name for name, _ in chosen]
    return [dict(zip(names, row, strict=True)) for row in rows]


def documents_for_grpc(rendering: Rendering, answer: Answer) -> DocList[ImageDoc]:
    """Return an answer as documents for gRPC: `matches` are made here, and the columns between stages are left out."""
    for document in answer.documents:
        if rendering.matches:
            matches = matches_of(document, answer.thumbnails_in, answer.address_of or thumbnail_url)
            document.matches = DocList[Match]([_match_of(match) for match in matches])
        document.hits = document.blob = document.tensor = None
        if not rendering.content:
            document.embedding = document.thumbnail = None
    return DocList[ImageDoc](answer.documents)


def _match_of(match: dict[str, Any]) -> Match:
    if "embedding" in match:
        match["embedding"] = match["embedding"].tolist()
    return Match(**match)


def _error_to_json(document: ImageDoc) -> dict[str, Any] | None:
    return document.error.model_dump(include={"code", "message", "details"}) if document.error else None


def _write_to_json(document: ImageDoc, _: Answer) -> dict[str, Any]:
    return {
        "id": document.id,
        "result": document.result,
        "version": document.version if document.result else None,
        "error": _error_to_json(document),
    }


def _delete_to_json(document: ImageDoc, answer: Answer) -> dict[str, Any]:
    return _write_to_json(document, answer) | {"descendants": len(unpack(document).get("descendants", ()))}


def _search_to_json(document: ImageDoc, answer: Answer) -> dict[str, Any]:
    matches = [] if document.error else matches_of(document, answer.thumbnails_in, answer.address_of or thumbnail_url)
    return {"id": document.id, "tags": _tags(document), "matches": matches, "error": _error_to_json(document)}


def _tags(document: ImageDoc) -> dict[str, Any]:
    """Return the tags of a document; none if it failed, because invalid tags may be the reason and may not fit into JSON."""
    return {} if document.error else document.tags


def _get_to_json(document: ImageDoc, answer: Answer) -> dict[str, Any]:
    rendered: dict[str, Any] = {
        "id": document.id,
        "collection": document.collection,
        "uri": document.uri,
        "tags": _tags(document),
        "parent": document.parent,
        "box": document.box,
        "thumbnail_url": None,
        "text": document.text,
        "model_id": document.model_id,
        "version": document.version if document.error is None else None,
        "error": _error_to_json(document),
    }
    if document.error is not None:
        return rendered
    collection = document.collection or DEFAULT_COLLECTION
    rendered["thumbnail_url"] = (answer.address_of or thumbnail_url)(collection, str(document.id))
    if document.embedding is not None:
        rendered["embedding"] = np.asarray(document.embedding)
    if document.thumbnail is not None:
        rendered["thumbnail"] = base64.b64encode(document.thumbnail).decode()
    return rendered


def _embed_to_json(document: ImageDoc, _: Answer) -> dict[str, Any]:
    embedding = None if document.embedding is None or document.error else np.asarray(document.embedding)
    return {
        "id": document.id,
        "embedding": embedding,
        "model_id": document.model_id if embedding is not None else None,
        "error": _error_to_json(document),
    }


SEARCHED: Final = Rendering(_search_to_json, matches=True)
WRITTEN: Final = Rendering(_write_to_json)
DELETED: Final = Rendering(_delete_to_json)
FOUND: Final = Rendering(_get_to_json, content=True)
EMBEDDED: Final = Rendering(_embed_to_json, content=True)
REPORTED: Final = Rendering(None)
