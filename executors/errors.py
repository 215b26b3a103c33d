"""Typed errors with stable codes: the only ones that a user ever sees.

A code never changes its meaning and is never reused. `ERRORS` is the one list of them; the table in the README is made
from it and a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """What a code stands for: the HTTP status it maps to, and one line for the README."""

    status: int
    meaning: str


ERRORS: Final[dict[str, ErrorKind]] = {
    # one document is at fault; its neighbours are not touched
    "invalid_document": ErrorKind(400, "a field of the document has the wrong type or is unknown"),
    "invalid_id": ErrorKind(400, "an id must be 1 to 512 bytes of UTF-8; an empty one is not a missing one"),
    "no_content": ErrorKind(
        400,
        "the document has neither picture, embedding nor text (a `uri` is a label and is not opened), or its picture is empty",
    ),
    "invalid_base64": ErrorKind(400, "`blob` is neither base64 nor a base64 data URI"),
    "invalid_tensor": ErrorKind(400, "`tensor` must be H×W×3 uint8"),
    "invalid_embedding": ErrorKind(400, "`embedding` must be a vector of finite numbers that is not zero"),
    "invalid_tags": ErrorKind(
        400, "`tags` must be a JSON object (integers within ±2^53, finite numbers, at most 64 KB and 32 deep)"
    ),
    "text_not_supported": ErrorKind(
        400, "a text, but the model has no text tower (`models list` shows those that have)"
    ),
    "invalid_text": ErrorKind(400, "`text` is empty, or has more tokens than the model takes"),
    "dimension_mismatch": ErrorKind(400, "the vector does not have the dimension of the model or collection"),
    "image_too_large": ErrorKind(413, "the encoded picture has more bytes than VS_MAX_IMAGE_BYTES"),
    "image_too_many_pixels": ErrorKind(
        413, "the header declares more pixels than VS_MAX_IMAGE_PIXELS, or a longer side than VS_MAX_IMAGE_SIDE"
    ),
    "unsupported_format": ErrorKind(415, "no picture of a format that is read (the README lists them)"),
    "undecodable_image": ErrorKind(422, "the picture is damaged: its header is readable, its pixels are not"),
    "model_mismatch": ErrorKind(409, "the vector was made by another model than the collection is bound to"),
    "stale_version": ErrorKind(
        409, "a newer write, a delete of this id or a drop of its collection was accepted before"
    ),
    "not_found": ErrorKind(404, "no document with this id"),
    "collection_not_found": ErrorKind(404, "no collection with this name"),
    "embedding_failed": ErrorKind(500, "the model returned a vector that is not finite, empty, or of the wrong shape"),
    # the request as a whole is at fault
    "malformed_request": ErrorKind(400, "the bytes are not an HTTP/1.1 request, or break off"),
    "headers_too_large": ErrorKind(431, "the request line and headers have more than 64 KiB"),
    "malformed_body": ErrorKind(
        400, "the body is not the JSON or multipart form that the endpoint takes, or names a key twice"
    ),
    "empty_request": ErrorKind(400, "the request holds no document"),
    "duplicate_id": ErrorKind(400, "the same id stands twice in one request"),
    "invalid_parameter": ErrorKind(400, "a parameter is unknown, of the wrong type, or out of range"),
    "invalid_filter": ErrorKind(
        400, "`filter` is not one that can be evaluated; the message says what is wrong and where"
    ),
    "forbidden_host": ErrorKind(403, "the Host header names neither this machine nor one of VS_ALLOWED_HOSTS"),
    "forbidden_origin": ErrorKind(403, "a page of another origin; VS_ALLOWED_ORIGINS lists those that may"),
    "unknown_endpoint": ErrorKind(404, "no such endpoint"),
    "method_not_allowed": ErrorKind(405, "the endpoint takes another HTTP method"),
    "request_too_large": ErrorKind(413, "the body has more bytes than VS_MAX_REQUEST_BYTES"),
    "too_many_documents": ErrorKind(413, "more documents in one request than VS_MAX_DOCUMENTS"),
    "unsupported_media_type": ErrorKind(
        415,
        "the Content-Type is neither application/json, multipart/form-data nor a picture's, or the Content-Encoding not gzip",
    ),
    "body_timeout": ErrorKind(
        408,
        "the body came too slowly: VS_BODY_TIMEOUT_MS, VS_BODY_MIN_RATE, or others needed its place (VS_MAX_BODIES)",
    ),
    "overloaded": ErrorKind(
        429,
        "more requests in flight than VS_MAX_CONCURRENCY, or no memory for the body within VS_BODY_TIMEOUT_MS"
        " (VS_MAX_BODIES_BYTES); try again after Retry-After",
    ),
    # the service is at fault
    "internal": ErrorKind(500, "a defect of this software; the log has the details"),
    "unavailable": ErrorKind(
        503, "a stage does not answer; `details.stage` names it; a write may still have been applied"
    ),
    "not_ready": ErrorKind(503, "the flow has not heard from every stage since its start"),
    "draining": ErrorKind(503, "this gateway is stopping"),
    "shard_missing": ErrorKind(
        503,
        "not every shard answered; `allow_partial` accepts what the others have; a write may be applied in part: repeat it",
    ),
    "shard_identity": ErrorKind(503, "a shard came up empty, foreign, or with another number of shards"),
    "storage_unavailable": ErrorKind(
        503, "the disk is full, read-only, or failing, or OpenSearch does not answer; nothing was acknowledged"
    ),
    "storage_denied": ErrorKind(
        503, "OpenSearch refuses: wrong user, key or certificate, a right is missing, or a limit or setting of its own"
    ),
    "deadline_exceeded": ErrorKind(504, "no answer within VS_TIMEOUT_MS; a write may still have been applied"),
    # a command or a start fails
    "invalid_setting": ErrorKind(500, "an environment variable has a value that it can't have"),
    "unreadable_file": ErrorKind(500, "a local file or folder can't be read"),
    "id_taken": ErrorKind(
        409, "`index` would put a file in the place of another picture with its id; nothing was sent"
    ),
    "invalid_flow": ErrorKind(500, "the flow file has a key or a value that Jina would ignore or refuse"),
    "model_missing": ErrorKind(500, "the model is not in VS_MODELS_DIR; `visual-search models build` makes it"),
    "package_missing": ErrorKind(
        500, "a package that only some models need is not installed; the message names its extra"
    ),
    "download_failed": ErrorKind(
        500, "a model's file can't be fetched; the next `visual-search models pull` goes on from there"
    ),
    "checksum_mismatch": ErrorKind(500, "a fetched file is not the published one; it was thrown away"),
    "triton_failed": ErrorKind(500, "the managed Triton can't be set up or started; its log has the reason"),
    "model_invalid": ErrorKind(500, "a file of the model repository is damaged or does not fit its configuration"),
    "store_locked": ErrorKind(500, "another process holds this shard's folder"),
    "store_invalid": ErrorKind(500, "the shard's files are damaged or of a newer format"),
}


class VisualSearchError(Exception):
    """An error with a stable code; everything a caller is told about a failure.

    Args:
        code: a key of `ERRORS`.
        message: one line that says what is wrong and what to do; never a stack trace, never a path of the server.
        **details: JSON values that a program may act on (limits, sizes, names).
    """

    def __init__(self, code: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details
        self.status = ERRORS[code].status

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.code, self.message, self.details)

    def to_json(self) -> dict[str, Any]:
        """The error as it stands in every answer: `{code, message, details}`."""
        return {"code": self.code, "message": self.message, "details": self.details}


def _rebuild(code: str, message: str, details: dict[str, Any]) -> VisualSearchError:
    return VisualSearchError(code, message, **details)
