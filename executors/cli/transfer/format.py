"""The format of an export: one JSON object per line. Pure functions.

The first line is a header that lists the collections with their models. The last line says that the export is complete:

    {"format": "visual-search-export/1", "index": "…", "filter": null, "collections": [{"name": "images", …}]}
    {"id": "cat.jpg", "collection": "images", "model_id": "…", "tags": {…}, "embedding_f32": "…", "thumbnail": "…"}
    {"format": "visual-search-export/1", "end": true, "documents": 1}

`embedding_f32` is base64 (RFC 4648) of the vector's little-endian float32: exactly what the store holds, in 5.3 characters
per number where JSON needs 10 to 20. Files from other programs may have a list of numbers, `embedding`, instead, and need
neither the header nor the end.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import orjson

from executors.client import Document, FoundDocument
from executors.errors import VisualSearchError
from executors.exact_json import InvalidJsonError, read_json

FORMAT: Final = "visual-search-export/1"
_FORMAT_NAME: Final = FORMAT.partition("/")[0]
_FLOAT32: Final = np.dtype("<f4")
_TEXTS: Final = ("id", "collection", "model_id", "uri", "parent", "text")
_KNOWN: Final = (*_TEXTS, "tags", "box", "embedding", "embedding_f32", "thumbnail")
# `get --json` and `/scroll` return these; they are no part of a document, and another index has its own.
_IGNORED: Final = frozenset({"version", "error"})


@dataclass(frozen=True, slots=True)
class CollectionLine:
    """A collection in a header; `documents` is how many it had when the export began."""

    name: str
    model_id: str
    dimension: int
    documents: int = 0


@dataclass(frozen=True, slots=True)
class Header:
    """The first line: the index that the documents come from, and its collections."""

    collections: Sequence[CollectionLine]
    index: str = ""
    filter: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class End:
    """The last line: how many documents come before it."""

    documents: int


Line: TypeAlias = Header | Document | End


def header_line(header: Header) -> bytes:
    """Format the first line, with its newline."""
    collections = [
        {"name": each.name, "model_id": each.model_id, "dimension": each.dimension, "documents": each.documents}
        for each in header.collections
    ]
    values = {"format": FORMAT, "index": header.index, "filter": header.filter, "collections": collections}
    return orjson.dumps(values) + b"\n"


def end_line(documents: int) -> bytes:
    """Format the last line, with its newline."""
    return orjson.dumps({"format": FORMAT, "end": True, "documents": documents}) + b"\n"


def document_line(document: FoundDocument) -> bytes:
    """Format one document, without its version and without fields that have no value.

    Raises:
        VisualSearchError: `internal` if the service sent it without its vector.
    """
    if document.embedding is None:
        raise VisualSearchError("internal", f"the service sent {document.id!r} without its vector")
    values: dict[str, Any] = {name: getattr(document, name) for name in _TEXTS}
    values["tags"] = dict(document.tags) or None
    values["box"] = list(document.box) if document.box is not None else None
    values["embedding_f32"] = base64.b64encode(np.asarray(document.embedding, _FLOAT32).tobytes()).decode()
    if document.thumbnail is not None:
        values["thumbnail"] = base64.b64encode(document.thumbnail).decode()
    return orjson.dumps({name: value for name, value in values.items() if value is not None}) + b"\n"


def parse_line(line: bytes) -> Line:
    """Parse a line.

    Raises:
        VisualSearchError: `invalid_document`, `invalid_id`, `no_content`, `invalid_embedding`, `invalid_base64`,
            `invalid_tags`; `malformed_body` for a header that this version can't read.
    """
    try:
        values = read_json(line)
    except InvalidJsonError as error:
        raise VisualSearchError("invalid_document", f"the line {error}") from None
    if not isinstance(values, dict):
        raise VisualSearchError("invalid_document", "not a JSON object")
    if "format" in values:
        return _parse_frame(values)
    return _parse_document(values)


def _parse_frame(values: dict[str, Any]) -> Header | End:
    """Parse a header or an end."""
    try:
        if values["format"] != FORMAT:
            raise VisualSearchError(
                "malformed_body", f"the file's format is {values['format']!r}; this version reads {FORMAT!r}"
            )
        if values.get("end"):
            return End(int(values["documents"]))
        collections = [
            CollectionLine(
                str(each["name"]), str(each["model_id"]), int(each["dimension"]), int(each.get("documents") or 0)
            )
            for each in values["collections"]
        ]
        return Header(collections, str(values.get("index") or ""), values.get("filter"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VisualSearchError("malformed_body", f"the header or end can't be read: {error!r}") from None


def _parse_document(values: dict[str, Any]) -> Document:
    unknown = sorted(set(values) - set(_KNOWN) - _IGNORED)
    if unknown:
        known = ", ".join(_KNOWN)
        raise VisualSearchError("invalid_document", f"unknown field {unknown[0]!r} (known: {known})")
    texts = {name: _text(values, name) for name in _TEXTS}
    if not texts["id"]:
        raise VisualSearchError("invalid_id", "the document has no id")
    tags = values.get("tags")
    if tags is not None and not isinstance(tags, dict):
        raise VisualSearchError("invalid_tags", "`tags` must be a JSON object")
    thumbnail = values.get("thumbnail")
    return Document(
        id=texts["id"],
        collection=texts["collection"],
        model_id=texts["model_id"],
        uri=texts["uri"],
        parent=texts["parent"],
        text=texts["text"],
        tags=tags or {},
        box=_box(values.get("box")),
        embedding=_embedding(values),
        thumbnail=None if thumbnail is None else _from_base64(thumbnail, "thumbnail"),
    )


def _text(values: dict[str, Any], name: str) -> str | None:
    value = values.get(name)
    if value is not None and not isinstance(value, str):
        raise VisualSearchError("invalid_id" if name == "id" else "invalid_document", f"`{name}` must be a string")
    return value


def _box(value: Any) -> list[float] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 4 or not all(_is_number(each) for each in value):
        raise VisualSearchError("invalid_document", "`box` must be [x, y, width, height]")
    return [float(each) for each in value]


def _embedding(values: dict[str, Any]) -> list[float]:
    """The vector as numbers; those of `embedding_f32` are exact."""
    packed, listed = values.get("embedding_f32"), values.get("embedding")
    if packed is not None and listed is not None:
        raise VisualSearchError("invalid_embedding", "both `embedding` and `embedding_f32`")
    if packed is not None:
        content = _from_base64(packed, "embedding_f32")
        if not content or len(content) % _FLOAT32.itemsize:
            raise VisualSearchError(
                "invalid_embedding", f"`embedding_f32` has {len(content)} bytes; it needs 4 per number"
            )
        vector: list[float] = np.frombuffer(content, _FLOAT32).tolist()
        if not np.isfinite(vector).all():
            raise VisualSearchError("invalid_embedding", "`embedding_f32` holds NaN or infinity")
        return vector
    if listed is None:
        raise VisualSearchError("no_content", "neither `embedding_f32` nor `embedding`; use `index` for pictures")
    if not isinstance(listed, list) or not listed or not all(_is_number(each) for each in listed):
        raise VisualSearchError("invalid_embedding", "`embedding` must be a list of numbers")
    return listed


def _from_base64(value: Any, name: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise VisualSearchError("invalid_base64", f"`{name}` is not base64") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
