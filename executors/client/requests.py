"""Request bodies of the HTTP API, made from documents and parameters. No I/O."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import numpy as np
import orjson

from executors.document_values import check_box, check_list, check_text, is_text, plain_bytes, plain_tags
from executors.errors import ErrorCode, VisualSearchError
from executors.parameter_values import plain_parameters


@dataclass(frozen=True, slots=True)
class Body:
    """An encoded request body; every attempt sends the same bytes."""

    content: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class Document:
    """One document to send: a picture (`blob`, encoded bytes) or a vector (`embedding`, D numbers), and its fields.

    A query may have a `text` instead of a picture. Only a document with a vector may have a `thumbnail` (JPEG, at most
    64 KB): the service makes the thumbnails of pictures itself. Tags may hold numpy's numbers, booleans and texts.

    Raises:
        VisualSearchError: `invalid_tags`, `invalid_id`, `invalid_text`, `invalid_embedding` or `invalid_document` if a
            value can't be sent.
    """

    id: str | None = None
    blob: bytes | None = None
    embedding: Sequence[float] | None = None
    uri: str | None = None
    tags: Mapping[str, Any] = field(default_factory=dict)
    collection: str | None = None
    parent: str | None = None
    box: Sequence[float] | None = None
    text: str | None = None
    model_id: str | None = None
    thumbnail: bytes | None = None

    def __post_init__(self) -> None:
        for name in ("id", "uri", "collection", "parent", "text", "model_id"):
            check_text(name, getattr(self, name))
        object.__setattr__(self, "tags", plain_tags(self.tags))
        for name in ("blob", "thumbnail"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, plain_bytes(name, getattr(self, name)))
        if self.embedding is not None:
            check_list(self.embedding)
        if self.box is not None:
            object.__setattr__(self, "box", self.box.tolist() if isinstance(self.box, np.ndarray) else self.box)
            check_box(self.box)


def encode_request(documents: Sequence[Document], parameters: Mapping[str, Any]) -> Body:
    """A request body: multipart (raw bytes) if all documents are pictures, otherwise JSON (base64).

    Raises:
        VisualSearchError: `invalid_document` if a document has a value that JSON can't express, such as text that is not
            Unicode; `invalid_parameter` if a parameter has one.
    """
    if documents and all(_fits_multipart(each) for each in documents):
        return _multipart_body(documents, parameters)
    return json_body({"data": [_to_json(each) for each in documents], "parameters": dict(parameters)})


def json_body(content: Mapping[str, Any]) -> Body:
    """A JSON body.

    Raises:
        VisualSearchError: `invalid_document`, `invalid_parameter`.
    """
    if "parameters" in content:
        content = {**content, "parameters": plain_parameters(content["parameters"])}
    return Body(_dump(content), "application/json")


def quoted(name: str, value: str) -> str:
    """A value, percent-encoded for a URL.

    Raises:
        VisualSearchError: `invalid_id` for an id, `invalid_parameter` for another value, if it is not Unicode text.
    """
    if not isinstance(value, str) or not is_text(value):
        code: ErrorCode = "invalid_id" if name == "id" else "invalid_parameter"
        raise VisualSearchError(code, f"{name}: {value!r} is not valid Unicode text")
    return quote(value, safe="")


def document_path(document_id: str, *, collection: str | None, tags: Mapping[str, Any] | None, uri: str | None) -> str:
    """The path of a document for `PUT`, with its fields in the query.

    Raises:
        VisualSearchError: `invalid_id`, `invalid_tags`, `invalid_parameter`.
    """
    encoded = _dump(plain_tags(tags)).decode() if tags else None
    fields = given_parameters(collection=collection, tags=encoded, uri=uri)
    query = "&".join(f"{name}={quoted(name, value)}" for name, value in fields.items())
    return f"/documents/{quoted('id', document_id)}" + (f"?{query}" if query else "")


def given_parameters(**parameters: Any) -> dict[str, Any]:
    """The parameters that are not None."""
    return {name: value for name, value in parameters.items() if value is not None}


def wanted_parts(**parts: bool) -> dict[str, Any]:
    """The parameter `with`, which names the additional fields to return; empty if none is wanted."""
    wanted = [name for name, given in parts.items() if given]
    return {"with": wanted} if wanted else {}


def _fits_multipart(document: Document) -> bool:
    """Whether a form can carry the document: it has a picture, an id, a label and tags, and nothing else.

    The label is a header's parameter in a form. If it would need quoting there, or looks like a quoted one (`%22`,
    `=?utf-8?…`), the document goes as JSON.
    """
    other = (
        document.embedding,
        document.collection,
        document.parent,
        document.box,
        document.text,
        document.model_id,
        document.thumbnail,
    )
    label = document.uri or ""
    plain = label.isprintable() and not set(label) & {'"', "\\", "%"} and not label.startswith("=?")
    return document.blob is not None and document.id is not None and plain and all(each is None for each in other)


def _multipart_body(documents: Sequence[Document], parameters: Mapping[str, Any]) -> Body:
    """A form (RFC 7578): ids and tags by position, the label as the name of the file."""
    boundary = f"visual-search-{uuid.uuid4().hex}"
    fields: dict[str, Any] = {"ids": [each.id for each in documents], "parameters": plain_parameters(parameters)}
    if any(each.tags for each in documents):
        fields["tags"] = [plain_tags(each.tags) for each in documents]
    pieces: list[bytes] = []
    for name, value in fields.items():
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
        pieces += [head.encode(), _dump(value), b"\r\n"]
    for each in documents:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{each.uri or ""}"\r\n\r\n'
        pieces += [head.encode(), each.blob or b"", b"\r\n"]
    pieces.append(f"--{boundary}--\r\n".encode())
    return Body(b"".join(pieces), f"multipart/form-data; boundary={boundary}")


def _to_json(document: Document) -> dict[str, Any]:
    """One document of a JSON request, without the fields that are not set."""
    values: dict[str, Any] = {
        "id": document.id,
        "collection": document.collection,
        "uri": document.uri,
        "parent": document.parent,
        "text": document.text,
        "model_id": document.model_id,
    }
    if document.blob is not None:
        values["blob"] = base64.b64encode(document.blob).decode()
    if document.thumbnail is not None:
        values["thumbnail"] = base64.b64encode(document.thumbnail).decode()
    if document.embedding is not None:
        values["embedding"] = np.asarray(document.embedding, dtype=np.float64).tolist()
    if document.box is not None:
        values["box"] = [float(each) for each in document.box]
    if document.tags:
        # Checked again: they may have been changed since the document was made, and NaN would arrive as null.
        values["tags"] = plain_tags(document.tags)
    return {name: value for name, value in values.items() if value is not None}


def _dump(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        raise VisualSearchError("invalid_document", f"can't be written as JSON: {error}") from None
