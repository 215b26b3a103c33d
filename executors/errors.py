"""Typed errors with stable codes; users see no other errors.

A code never changes its meaning and is never reused. `ErrorCode` is the list of them, which mypy checks wherever a code
stands; `ERRORS` says what each one means, and the table in executors/gateway/README.md is made from it. Tests compare
the three.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """The HTTP status of an error code, and its meaning in one line for the table of errors."""

    status: int
    meaning: str


ErrorCode: TypeAlias = Literal[
    # one document is at fault; the others of the request are not affected
    "invalid_document",
    "invalid_id",
    "no_content",
    "invalid_base64",
    "invalid_tensor",
    "invalid_embedding",
    "invalid_tags",
    "text_not_supported",
    "invalid_text",
    "dimension_mismatch",
    "image_too_large",
    "image_too_many_pixels",
    "unsupported_format",
    "undecodable_image",
    "model_mismatch",
    "stale_version",
    "not_found",
    "collection_not_found",
    "embedding_failed",
    # the request as a whole is at fault
    "malformed_request",
    "headers_too_large",
    "malformed_body",
    "empty_request",
    "duplicate_id",
    "invalid_parameter",
    "invalid_filter",
    "unauthenticated",
    "forbidden",
    "forbidden_host",
    "forbidden_origin",
    "unknown_endpoint",
    "method_not_allowed",
    "request_too_large",
    "too_many_documents",
    "unsupported_media_type",
    "body_timeout",
    "overloaded",
    "over_limit",
    "zero_query",
    "too_many_values",
    # the service is at fault
    "internal",
    "unavailable",
    "not_ready",
    "draining",
    "shard_missing",
    "shard_identity",
    "storage_unavailable",
    "storage_denied",
    "deadline_exceeded",
    # a command or a start fails
    "invalid_setting",
    "invalid_keys",
    "unreadable_file",
    "id_taken",
    "invalid_flow",
    "model_missing",
    "package_missing",
    "download_failed",
    "checksum_mismatch",
    "triton_failed",
    "model_invalid",
    "store_locked",
    "store_invalid",
]

ERRORS: Final[dict[ErrorCode, ErrorKind]] = {
    # one document is at fault; the others of the request are not affected
    "invalid_document": ErrorKind(400, "a field of the document is unknown or has the wrong type"),
    "invalid_id": ErrorKind(
        400, "the id does not have 1 to 512 bytes of UTF-8 (an empty id is not the same as a missing one)"
    ),
    "no_content": ErrorKind(
        400,
        "the document has no picture, embedding or text (a `uri` is only a label and is not opened), or its "
        "picture is empty",
    ),
    "invalid_base64": ErrorKind(400, "`blob` is neither base64 nor a base64 data URI"),
    "invalid_tensor": ErrorKind(400, "`tensor` is not an H×W×3 uint8 array"),
    "invalid_embedding": ErrorKind(400, "`embedding` is not a vector of finite numbers, or it is zero"),
    "invalid_tags": ErrorKind(
        400,
        "`tags` is not a JSON object within the limits (integers within ±2^53, finite numbers, at most 64 KB and "
        "32 levels)",
    ),
    "text_not_supported": ErrorKind(
        400, "the query is a text, but the model has no text tower (`models list` shows the models that have one)"
    ),
    "invalid_text": ErrorKind(400, "`text` is empty, or has more tokens than the model takes"),
    "dimension_mismatch": ErrorKind(400, "the vector does not have the dimension of the model or the collection"),
    "image_too_large": ErrorKind(413, "the encoded picture is larger than VS_MAX_IMAGE_BYTES"),
    "image_too_many_pixels": ErrorKind(
        413,
        "the picture's header declares more pixels than VS_MAX_IMAGE_PIXELS, or a side longer than VS_MAX_IMAGE_SIDE",
    ),
    "unsupported_format": ErrorKind(
        415, "the file is not a picture in a supported format (executors/preprocess/README.md lists the formats)"
    ),
    "undecodable_image": ErrorKind(422, "the picture is damaged: its header can be read, but its pixels can't"),
    "model_mismatch": ErrorKind(
        409, "the vector was made by another model than the one that the collection is bound to"
    ),
    "stale_version": ErrorKind(
        409, "a newer write or delete of this id, or a drop of its collection, was accepted before"
    ),
    "not_found": ErrorKind(404, "there is no document with this id"),
    "collection_not_found": ErrorKind(404, "there is no collection with this name"),
    "embedding_failed": ErrorKind(
        500, "the model returned a vector that is not finite, is zero, or has the wrong shape"
    ),
    # the request as a whole is at fault
    "malformed_request": ErrorKind(400, "the bytes are not an HTTP/1.1 request, or the request is incomplete"),
    "headers_too_large": ErrorKind(431, "the request line and headers are larger than 64 KiB"),
    "malformed_body": ErrorKind(
        400,
        "the body is not the JSON or multipart form that the endpoint takes, or a JSON object in it names a key twice",
    ),
    "empty_request": ErrorKind(400, "the request has no documents"),
    "duplicate_id": ErrorKind(400, "the same id occurs twice in one request"),
    "invalid_parameter": ErrorKind(400, "a parameter is unknown, has the wrong type, or is out of range"),
    "invalid_filter": ErrorKind(400, "`filter` can't be evaluated; the message says what is wrong and where"),
    "unauthenticated": ErrorKind(401, "the service asks for a key, and none was sent, or one that it does not know"),
    "forbidden": ErrorKind(
        403, "the key may not do this: it lacks the role that `details.role` names, or the right to a collection"
    ),
    "forbidden_host": ErrorKind(403, "the Host header names neither this machine nor one of VS_ALLOWED_HOSTS"),
    "forbidden_origin": ErrorKind(
        403, "the request comes from a web page of another origin, which VS_ALLOWED_ORIGINS does not list"
    ),
    "unknown_endpoint": ErrorKind(404, "there is no such endpoint"),
    "method_not_allowed": ErrorKind(405, "the endpoint takes another HTTP method"),
    "request_too_large": ErrorKind(413, "the body is larger than VS_MAX_REQUEST_BYTES"),
    "too_many_documents": ErrorKind(413, "the request has more documents than VS_MAX_DOCUMENTS"),
    "unsupported_media_type": ErrorKind(
        415,
        "the Content-Type is not application/json, multipart/form-data or that of a picture, or the "
        "Content-Encoding is not gzip",
    ),
    "body_timeout": ErrorKind(
        408,
        "the body arrived too slowly (VS_BODY_TIMEOUT_MS, VS_BODY_MIN_RATE), or another body needed its place "
        "(VS_MAX_BODIES)",
    ),
    "overloaded": ErrorKind(
        429,
        "more requests are in flight than VS_MAX_CONCURRENCY, or no memory for the body became free within "
        "VS_BODY_TIMEOUT_MS (VS_MAX_BODIES_BYTES); try again after Retry-After",
    ),
    "over_limit": ErrorKind(
        429,
        "the key has more under way, or asks more often, than its limit that `details.limit` names; see Retry-After",
    ),
    "zero_query": ErrorKind(400, "the weighted terms of the search cancel each other, so they name no direction"),
    "too_many_values": ErrorKind(
        400,
        "a tag has more different values than a facet counts: 100,000, or 16 million characters (OpenSearch: 50,000 of a type)",
    ),
    # the service is at fault
    "internal": ErrorKind(500, "a defect of this software; the log has the details"),
    "unavailable": ErrorKind(
        503, "a stage does not answer (`details.stage` names it); a write may still have been applied"
    ),
    "not_ready": ErrorKind(503, "the flow has not heard from every stage since its start"),
    "draining": ErrorKind(503, "this gateway is stopping"),
    "shard_missing": ErrorKind(
        503,
        "not every shard answered; `allow_partial` accepts what the others have; a write may be applied in part: "
        "send it again",
    ),
    "shard_identity": ErrorKind(
        503, "a shard was started with an empty or foreign folder, or with another number of shards"
    ),
    "storage_unavailable": ErrorKind(
        503, "the disk is full, read-only or failing, or OpenSearch does not answer; nothing was acknowledged"
    ),
    "storage_denied": ErrorKind(
        503,
        "OpenSearch refuses the request: the user, key or certificate is wrong, a right is missing, or one of "
        "its limits or settings forbids it",
    ),
    "deadline_exceeded": ErrorKind(
        504, "there was no answer within VS_TIMEOUT_MS; a write may still have been applied"
    ),
    # a command or a start fails
    "invalid_setting": ErrorKind(500, "an environment variable has an invalid value"),
    "invalid_keys": ErrorKind(500, "the file of keys is invalid; the message names the place"),
    "unreadable_file": ErrorKind(500, "a local file or folder can't be read"),
    "id_taken": ErrorKind(409, "`index` would replace another picture that has this id; nothing was sent"),
    "invalid_flow": ErrorKind(500, "the flow file has a key or a value that Jina would ignore or refuse"),
    "model_missing": ErrorKind(500, "the model is not in VS_MODELS_DIR; `visual-search models build` makes it"),
    "package_missing": ErrorKind(
        500, "a package that only some models need is not installed; the message names the extra that brings it"
    ),
    "download_failed": ErrorKind(
        500,
        "a file of a model can't be downloaded; the next `visual-search models pull` goes on where this one stopped",
    ),
    "checksum_mismatch": ErrorKind(500, "a downloaded file is not the published one; it was deleted"),
    "triton_failed": ErrorKind(500, "the managed Triton can't be installed or started; its log has the reason"),
    "model_invalid": ErrorKind(500, "a file of the model repository is damaged or does not fit its configuration"),
    "store_locked": ErrorKind(500, "another process uses this shard's folder"),
    "store_invalid": ErrorKind(500, "the shard's files are damaged or have a newer format"),
}


# There is no document with that id, or no such collection.
ABSENT: Final[frozenset[ErrorCode]] = frozenset({"not_found", "collection_not_found"})
# A stage or a shard did not answer; with any other code it answered and said what is wrong.
SILENT: Final[frozenset[ErrorCode]] = frozenset({"unavailable", "deadline_exceeded", "shard_missing"})


class VisualSearchError(Exception):
    """An error with a stable code: all that a caller is told about a failure.

    Args:
        code: what went wrong; it decides the HTTP status.
        message: one line that says what is wrong and what to do; never a stack trace, never a path of the server.
        **details: JSON values that a program may act on (limits, sizes, names).

    Attributes:
        request_id: set by the client: the id that the failed request has in the log of the service.
    """

    request_id: str | None = None

    def __init__(self, code: ErrorCode, message: str, **details: Any) -> None:
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
        return error_from_json, (self.to_json(),)

    def to_json(self) -> dict[str, Any]:
        """Return the error as it appears in every answer: `{code, message, details}`."""
        return {"code": self.code, "message": self.message, "details": self.details}


def collection_not_found(name: str) -> VisualSearchError:
    """Return the error for a collection that does not exist."""
    return VisualSearchError("collection_not_found", f"there is no collection {name!r}", collection=name)


def known_code(code: object) -> ErrorCode | None:
    """Return the code if this version knows it, else None (a newer service sent it, or it is not a code at all)."""
    return code if isinstance(code, str) and code in ERRORS else None


def error_from_json(given: Mapping[str, Any]) -> VisualSearchError:
    """Return the error that `to_json` wrote, in this version or another: in a stage, in the service, or in an earlier run.

    A code that this version doesn't know becomes `internal`, and `details.service_code` names it.
    """
    message, details = str(given.get("message", "")), dict(given.get("details") or {})
    code = known_code(given.get("code"))
    if code is None:
        details["service_code"] = str(given.get("code"))
        code, message = "internal", f"{given.get('code')}: {message}"
    error = VisualSearchError(code, message)
    error.details = details
    return error


def as_error(error: Exception, stage: str) -> VisualSearchError:
    """Return a typed error unchanged; log any other one in full, as a defect, and return `internal` without its text."""
    if isinstance(error, VisualSearchError):
        return error
    _log.error("%s: defect: %r", stage, error, exc_info=error)
    return VisualSearchError("internal", f"{stage!r} failed; its log has the details", stage=stage)
