"""The one door of the flow: what HTTP and gRPC requests must be before anything is done with them."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
from docarray.typing import ID

from executors.documents import Failure, ImageDoc
from executors.errors import VisualSearchError
from executors.index.records import MAX_TAGS_BYTES
from executors.texts import check_query_text

MAX_ID_BYTES = 512
MAX_MODEL_ID = 256
MAX_SAFE_INTEGER = 2**53
MAX_THUMBNAIL_BYTES = 65_536
JPEG_START = b"\xff\xd8\xff"
STAGE = "gateway"


class Gate:
    """Counts the requests in flight and refuses more than the limit at once, instead of queueing without end."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_flight = 0
        self.draining = False

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Hold a place for one request.

        Raises:
            VisualSearchError: `overloaded` or `draining`.
        """
        if self.draining:
            raise VisualSearchError("draining", "this gateway is stopping; send the request again")
        if self.in_flight >= self.limit:
            raise VisualSearchError("overloaded", "too many requests in flight; try again", retry_after_s=1)
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1


def check_request(documents: Sequence[ImageDoc], max_documents: int) -> None:
    """Refuse a request that is at fault as a whole.

    Raises:
        VisualSearchError: `empty_request`, `too_many_documents`, `duplicate_id`.
    """
    if not documents:
        raise VisualSearchError("empty_request", "the request holds no document")
    if len(documents) > max_documents:
        raise VisualSearchError(
            "too_many_documents",
            f"{len(documents)} documents in one request; at most {max_documents}",
            limit=max_documents,
            documents=len(documents),
        )
    seen: set[tuple[str | None, str]] = set()
    for document in documents:
        if not document.id:
            continue
        key = (document.collection, document.id)
        if key in seen:
            raise VisualSearchError("duplicate_id", f"the id {document.id!r} stands twice", id=document.id)
        seen.add(key)


def admit_documents(
    documents: Sequence[ImageDoc],
    *,
    collection: str | None,
    make_ids: bool,
    queries: bool = False,
    thumbnails: bool = False,
) -> set[int]:
    """Give every document an id and a collection; put an error into those that can't be taken.

    Args:
        queries: a `text` is a query in words, not what was read in a picture.
        thumbnails: whether a `thumbnail` is taken.

    Returns:
        The positions of the documents whose id was made here: nobody else can have used it.
    """
    made = set()
    for position, document in enumerate(documents):
        if not document.id and make_ids and document.error is None:
            document.id = ID(uuid.uuid4().hex)
            made.add(position)
        document.collection = document.collection or collection
        if document.error is None:
            try:
                check_id(document.id)
                check_collection(document.collection)
                check_tags(document.tags)
                check_model_id(document.model_id)
                check_thumbnail(document, taken=thumbnails)
                if queries:
                    check_query_text(document)
            except VisualSearchError as error:
                document.error = Failure(**error.to_json(), stage=STAGE)
        document.id = document.id or ID("")
    return made


_NOT_UPDATED = ("blob", "tensor", "embedding", "thumbnail", "uri", "parent", "text", "box")


def refuse_more_than_tags(documents: Sequence[ImageDoc]) -> None:
    """Put an error into documents that bring what an update would leave as it is: nobody should think that it was stored."""
    for document in documents:
        more = [name for name in _NOT_UPDATED if getattr(document, name) is not None]
        if more and document.error is None:
            error = VisualSearchError(
                "invalid_document",
                f"/update changes tags only, not `{more[0]}`: /index replaces a document",
                fields=more,
            )
            document.error = Failure(**error.to_json(), stage=STAGE)


def check_id(value: Any) -> None:
    """Check an id.

    Raises:
        VisualSearchError: `invalid_id`.
    """
    if not isinstance(value, str) or not value:
        raise VisualSearchError("invalid_id", "the document has no id")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise VisualSearchError("invalid_id", "the id is not valid UTF-8") from None
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
    if not name.strip("."):
        raise VisualSearchError("invalid_document", "`collection` must be more than dots: paths would lose it")
    allowed = name.replace("_", "").replace(".", "").replace("-", "")
    if not 1 <= len(name) <= 128 or not name.isascii() or (allowed and not allowed.isalnum()):
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


def check_thumbnail(document: ImageDoc, *, taken: bool) -> None:
    """Check a thumbnail that comes ready-made; it goes with a ready embedding only: of a picture, the service makes its own.

    Raises:
        VisualSearchError: `invalid_document`.
    """
    if document.thumbnail is None:
        return
    fault = None
    if not taken:
        fault = "only /index takes one"
    elif document.blob is not None or document.tensor is not None or document.embedding is None:
        fault = "goes with a ready `embedding` and without a picture, of which the service makes its own"
    elif len(document.thumbnail) > MAX_THUMBNAIL_BYTES:
        fault = f"has {len(document.thumbnail)} bytes; at most {MAX_THUMBNAIL_BYTES}"
    elif not document.thumbnail.startswith(JPEG_START):
        fault = "is not a JPEG"
    if fault is not None:
        raise VisualSearchError("invalid_document", f"`thumbnail` {fault}")


def check_tags(tags: Any) -> None:
    """Check that tags are a JSON object which every store can keep exactly.

    Raises:
        VisualSearchError: `invalid_tags`.
    """
    if not tags and isinstance(tags, dict):
        return
    if not isinstance(tags, dict):
        raise VisualSearchError("invalid_tags", "`tags` must be a JSON object")
    _check_value(tags, "tags", depth=0)
    try:
        size = len(orjson.dumps(tags))
    except TypeError as error:
        raise VisualSearchError("invalid_tags", f"`tags` can't be written as JSON: {error}") from None
    if size > MAX_TAGS_BYTES:
        raise VisualSearchError(
            "invalid_tags", f"`tags` has {size} bytes; at most {MAX_TAGS_BYTES}", bytes=size, limit=MAX_TAGS_BYTES
        )


def _check_value(value: Any, path: str, depth: int) -> None:
    if depth > 32:
        raise VisualSearchError("invalid_tags", f"{path[:80]}: nested more than 32 deep")
    if value is None or isinstance(value, bool | str):
        return
    if isinstance(value, int):
        if abs(value) > MAX_SAFE_INTEGER:
            raise VisualSearchError("invalid_tags", f"{path}: {value} is beyond ±2^53; send it as a string")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise VisualSearchError("invalid_tags", f"{path}: {value} is not a finite number")
    elif isinstance(value, dict):
        for key, each in value.items():
            if not isinstance(key, str):
                raise VisualSearchError("invalid_tags", f"{path}: the key {key!r} is not a string")
            _check_value(each, f"{path}.{key}", depth + 1)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            _check_value(each, f"{path}[{index}]", depth + 1)
    else:
        raise VisualSearchError("invalid_tags", f"{path}: {type(value).__name__} is not a JSON value")
