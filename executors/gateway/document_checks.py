"""Checks the documents of a request before any work is done for them, in the same way for HTTP and gRPC."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from enum import Enum
from typing import Any

from docarray.typing import ID

from executors.document_values import (
    MAX_ID_BYTES,
    check_array,
    check_box,
    check_text,
    check_vector,
    is_collection_name,
    plain_tags,
)
from executors.documents import DEFAULT_COLLECTION, Failure, ImageDoc
from executors.errors import VisualSearchError

MAX_MODEL_ID = 256
MAX_THUMBNAIL_BYTES = 65_536
JPEG_START = b"\xff\xd8\xff"
STAGE = "gateway"
# No text tower takes more than a few hundred tokens, so a longer text is refused before the tokenizer sees it.
MAX_CHARACTERS = 8_000


class Takes(Enum):
    """The purpose of a request's documents, which decides what they may hold."""

    CONTENT = "content"
    """Pictures or vectors that are to be stored."""
    QUERIES = "queries"
    """Pictures, vectors or texts that are to be compared or embedded."""
    TAGS = "tags"
    """Ids with tags."""
    IDS = "ids"
    """Ids; all other fields are ignored."""
    NOTHING = "nothing"
    """The request has no documents."""

    @property
    def pictures(self) -> bool:
        """Whether a document may be a picture."""
        return self in (Takes.CONTENT, Takes.QUERIES)


def check_request(documents: Sequence[ImageDoc], max_documents: int, collection: str | None = None) -> None:
    """Refuse a request that is invalid as a whole.

    Args:
        documents: the documents of the request.
        max_documents: the most documents of a request.
        collection: the collection of documents that name none.

    Raises:
        VisualSearchError: `empty_request`, `too_many_documents`, `duplicate_id`.
    """
    if not documents:
        raise VisualSearchError("empty_request", "the request has no documents")
    if len(documents) > max_documents:
        raise VisualSearchError(
            "too_many_documents",
            f"{len(documents)} documents in one request; at most {max_documents}",
            limit=max_documents,
            documents=len(documents),
        )
    seen: set[tuple[str, str]] = set()
    for document in documents:
        if not document.id:
            continue
        named = collection or DEFAULT_COLLECTION if document.collection is None else document.collection
        key = (named, document.id)
        if key in seen:
            raise VisualSearchError("duplicate_id", f"the id {document.id!r} is twice in the request", id=document.id)
        seen.add(key)


def refuse_documents(documents: Sequence[ImageDoc]) -> None:
    """Refuse documents in a request that takes none.

    Raises:
        VisualSearchError: `invalid_parameter`.
    """
    if documents:
        raise VisualSearchError("invalid_parameter", "data: this endpoint takes no documents")


def admit_documents(documents: Sequence[ImageDoc], takes: Takes, *, collection: str | None) -> set[str]:
    """Give every document an id and a collection, and put an error into the invalid ones.

    Args:
        documents: the documents of the request; changed in place.
        takes: their purpose. If only ids count, a `thumbnail` is ignored.
        collection: the collection of documents that name none.

    Returns:
        The ids that were made here; no other copy of these documents can exist.
    """
    made = set()
    for document in documents:
        if document.id is None and takes.pictures and document.error is None:
            document.put(id=ID(uuid.uuid4().hex))
            made.add(str(document.id))
        if document.collection is None:
            document.put(collection=collection)
        if document.error is None:
            try:
                _check_document(document)
                if takes is Takes.TAGS:
                    _check_no_more_than_tags(document)
                elif takes is Takes.CONTENT:
                    check_thumbnail(document)
                elif takes is Takes.QUERIES:
                    _check_query(document)
            except VisualSearchError as error:
                document.error = Failure.of(error, STAGE)
        document.put(id=document.id or ID(""))
        if takes is not Takes.CONTENT:
            document.put(thumbnail=None)
    return made


def _check_document(document: ImageDoc) -> None:
    """Check the fields that every document may have.

    Raises:
        VisualSearchError: `invalid_id`, `invalid_document`, `invalid_tags`, `invalid_tensor`, `invalid_embedding`, `no_content`.
    """
    check_id(document.id)
    check_collection(document.collection)
    plain_tags(document.tags)
    check_model_id(document.model_id)
    if document.blob is not None and not document.blob:
        raise VisualSearchError("no_content", "the picture is empty: it has 0 bytes")
    if document.tensor is not None:
        check_array("tensor", document.tensor)
    if document.embedding is not None:
        check_vector(document.embedding)
    if document.box is not None:
        check_box(document.box)


def _check_query(document: ImageDoc) -> None:
    """Check the fields of a query.

    Raises:
        VisualSearchError: `invalid_document`, `invalid_text`.
    """
    if document.thumbnail is not None:
        raise VisualSearchError("invalid_document", "a query takes no `thumbnail`: only /index does")
    check_query_text(document)


_NOT_UPDATED = ("blob", "tensor", "embedding", "thumbnail", "uri", "parent", "text", "box")


def _check_no_more_than_tags(document: ImageDoc) -> None:
    """Refuse fields that `/update` does not change; if it ignored them, the caller would think that they were stored."""
    more = [name for name in _NOT_UPDATED if getattr(document, name) is not None]
    if more:
        message = f"/update changes only tags, not `{more[0]}`; /index replaces a document"
        raise VisualSearchError("invalid_document", message, fields=more)


def check_id(value: Any) -> None:
    """Check an id.

    Raises:
        VisualSearchError: `invalid_id`.
    """
    if not isinstance(value, str):
        raise VisualSearchError("invalid_id", "the document has no id")
    if not value:
        raise VisualSearchError("invalid_id", "the id is empty; leave it out if the service is to make one")
    check_text("id", value)
    size = len(value.encode())
    if size > MAX_ID_BYTES:
        raise VisualSearchError(
            "invalid_id", f"the id has {size} bytes; at most {MAX_ID_BYTES}", bytes=size, limit=MAX_ID_BYTES
        )


def check_collection(name: str | None) -> None:
    """Check a collection's name.

    Raises:
        VisualSearchError: `invalid_document`.
    """
    if name is None:
        return
    if not name:
        message = "`collection` is empty; leave it out to use that of the request, or the default one"
        raise VisualSearchError("invalid_document", message)
    if not name.strip("."):
        raise VisualSearchError("invalid_document", "`collection` must not be dots alone, because a path would lose it")
    if not is_collection_name(name):
        raise VisualSearchError(
            "invalid_document", "`collection` must be 1 to 128 letters, digits, dots, dashes or underscores"
        )


def check_model_id(name: str | None) -> None:
    """Check the name of a model.

    Raises:
        VisualSearchError: `invalid_document`.
    """
    if name is not None and not 1 <= len(name) <= MAX_MODEL_ID:
        raise VisualSearchError("invalid_document", f"`model_id` must have 1 to {MAX_MODEL_ID} characters")


def check_thumbnail(document: ImageDoc) -> None:
    """Check a thumbnail of the caller. Only a document with an `embedding` may have one; of pictures, the service makes it.

    Raises:
        VisualSearchError: `invalid_document`.
    """
    if document.thumbnail is None:
        return
    fault = None
    if document.blob is not None or document.tensor is not None or document.embedding is None:
        fault = "needs a ready `embedding` and no picture; the service makes the thumbnails of pictures itself"
    elif len(document.thumbnail) > MAX_THUMBNAIL_BYTES:
        fault = f"has {len(document.thumbnail)} bytes; at most {MAX_THUMBNAIL_BYTES}"
    elif not document.thumbnail.startswith(JPEG_START):
        fault = "is not a JPEG"
    if fault is not None:
        raise VisualSearchError("invalid_document", f"`thumbnail` {fault}")


def check_query_text(document: ImageDoc) -> None:
    """Check the `text` of a document of `/search` or `/embed`.

    If the document has an embedding, that is the query, and a text or a picture is only its label. A blank text next to a
    picture counts as no text.

    Raises:
        VisualSearchError: `invalid_document` if the document has both a picture and a text; `invalid_text` for a text that
            is blank, too long, or not Unicode.
    """
    text = document.text
    if text is None or document.embedding is not None:
        return
    blank = not text.strip()
    if document.blob or document.tensor is not None:
        if blank:
            return
        message = "a query is a picture or a `text`, not both; send two documents"
        raise VisualSearchError("invalid_document", message, fields=["blob" if document.blob else "tensor", "text"])
    if blank:
        raise VisualSearchError("invalid_text", "`text` is empty")
    if len(text) > MAX_CHARACTERS:
        message = f"`text` has {len(text)} characters; at most {MAX_CHARACTERS}"
        raise VisualSearchError("invalid_text", message, characters=len(text), limit=MAX_CHARACTERS)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise VisualSearchError("invalid_text", "`text` is not valid Unicode") from None
