"""Which errors each operation of the HTTP API can give, for its description; a test tries that none is missing.

What fails before an operation is known (`malformed_request`, `headers_too_large`, `unknown_endpoint`,
`method_not_allowed`) belongs to none of them.
"""

from __future__ import annotations

from typing import Any, Final

from executors.errors import ERRORS, ErrorCode

_CALLER: Final = ("forbidden_host", "forbidden_origin")
_WORK: Final = (
    *("overloaded", "internal", "not_ready", "draining", "unavailable", "deadline_exceeded"),
    *("shard_missing", "shard_identity", "storage_unavailable", "storage_denied"),
)
_BODY: Final = ("malformed_body", "request_too_large", "unsupported_media_type", "body_timeout")
_DOCUMENTS: Final = (
    *("invalid_parameter", "empty_request", "duplicate_id", "too_many_documents"),
    *("invalid_document", "invalid_id", "invalid_tags", "invalid_base64", "invalid_embedding", "image_too_large"),
)
_PICTURES: Final = (
    *("no_content", "dimension_mismatch", "model_mismatch", "embedding_failed"),
    *("image_too_many_pixels", "unsupported_format", "undecodable_image"),
)
_QUERIES: Final = ("text_not_supported", "invalid_text")
_READING: Final = ("invalid_parameter", "invalid_filter", "collection_not_found")
_BY_ID: Final = ("not_found", "collection_not_found")

_CODES: Final[dict[str, tuple[ErrorCode, ...]]] = {
    "/index": (*_BODY, *_DOCUMENTS, *_PICTURES, "stale_version"),
    "/search": (*_BODY, *_DOCUMENTS, *_PICTURES, *_QUERIES, *_BY_ID, "invalid_filter"),
    "/embed": (*_BODY, *_DOCUMENTS, *_PICTURES, *_QUERIES),
    "/update": (*_BODY, *_DOCUMENTS, *_BY_ID, "stale_version"),
    "/get": (*_BODY, *_DOCUMENTS, *_BY_ID),
    "/delete": (*_BODY, *_DOCUMENTS, *_BY_ID, "invalid_filter", "stale_version"),
    "/scroll": (*_BODY, *_READING),
    "/count": (*_BODY, *_READING),
    "/verify": (*_BODY, "invalid_parameter"),
    "/reindex": (*_BODY, "invalid_parameter", "collection_not_found"),
    "/thumbnail": ("invalid_parameter", "invalid_id", *_BY_ID),
    "list": ("invalid_parameter",),
    "describe": ("invalid_parameter", "collection_not_found"),
    "create": (*_BODY, "invalid_parameter", "model_mismatch", "dimension_mismatch"),
    "drop": (*_BODY, "invalid_parameter", "collection_not_found", "stale_version"),
}
_WITH_DOCUMENTS: Final = frozenset({"/index", "/search", "/embed", "/update", "/get", "/delete"})


def error_responses(operation: str, answer: dict[str, Any]) -> dict[int | str, Any]:
    """The responses of an operation that are errors, by status.

    Args:
        operation: an endpoint, or what is done with collections.
        answer: the schema of the answer, which also tells that every document failed.
    """
    return responses_of((*_CALLER, *_WORK, *_CODES[operation]), answer if operation in _WITH_DOCUMENTS else None)


def status_responses() -> dict[int | str, Any]:
    """The errors of `/status`, which answers in the form of a success whatever its stages say."""
    return responses_of((*_CALLER, "internal"), None)


def responses_of(codes: tuple[ErrorCode, ...], answer: dict[str, Any] | None) -> dict[int | str, Any]:
    """One response a status, with the codes that it can carry."""
    by_status: dict[int | str, list[ErrorCode]] = {}
    for code in sorted(set(codes)):
        by_status.setdefault(ERRORS[code].status, []).append(code)
    return {status: _response(by_status[status], answer) for status in sorted(by_status, key=str)}


def _response(codes: list[ErrorCode], answer: dict[str, Any] | None) -> dict[str, Any]:
    failed = {
        "type": "object",
        "required": ["error"],
        "properties": {"error": error_schema(codes)},
        "additionalProperties": False,
    }
    schema = failed if answer is None else {"anyOf": [failed, answer]}
    described = "\n".join(f"- `{code}`: {ERRORS[code].meaning}" for code in codes)
    return {"description": described, "content": {"application/json": {"schema": schema}}}


def error_schema(codes: list[ErrorCode]) -> dict[str, Any]:
    """An error that has one of these codes."""
    return {
        "type": "object",
        "required": ["code", "message", "details"],
        "properties": {
            "code": {"type": "string", "enum": codes},
            "message": {"type": "string"},
            "details": {"type": "object"},
        },
        "additionalProperties": False,
    }
