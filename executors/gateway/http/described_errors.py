"""The errors that each endpoint of the HTTP API can give, for its description; a test checks that none is missing.

The errors that come before an operation is known (`malformed_request`, `headers_too_large`, `unknown_endpoint`,
`method_not_allowed`) belong to no endpoint.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

from executors.errors import ERRORS, ErrorCode
from executors.gateway.document_checks import Takes
from executors.gateway.endpoints import Endpoint

_CALLER: Final[tuple[ErrorCode, ...]] = ("forbidden_host", "forbidden_origin", "unauthenticated", "forbidden")
_WORK: Final[tuple[ErrorCode, ...]] = (
    *("overloaded", "internal", "not_ready", "draining", "unavailable", "deadline_exceeded"),
    *("shard_missing", "shard_identity", "storage_unavailable", "storage_denied"),
)
_BODY: Final[tuple[ErrorCode, ...]] = ("malformed_body", "request_too_large", "unsupported_media_type", "body_timeout")
_DOCUMENTS: Final[tuple[ErrorCode, ...]] = (
    *("empty_request", "duplicate_id", "too_many_documents"),
    *("invalid_document", "invalid_id", "invalid_tags", "invalid_base64", "invalid_embedding", "image_too_large"),
)
_PICTURES: Final[tuple[ErrorCode, ...]] = (
    *("no_content", "dimension_mismatch", "model_mismatch", "embedding_failed"),
    *("image_too_many_pixels", "unsupported_format", "undecodable_image"),
)


def error_responses(endpoint: Endpoint) -> dict[int | str, Any]:
    """Return the error responses of an endpoint by status. If every document failed, the body is the usual answer."""
    if endpoint.always:
        return responses_of((*_CALLER, "internal", *endpoint.errors), None)
    by_document = endpoint.resource is None and endpoint.takes is not Takes.NOTHING
    return responses_of(_codes(endpoint), endpoint.answer if by_document else None)


def _codes(endpoint: Endpoint) -> tuple[ErrorCode, ...]:
    method = "POST" if endpoint.resource is None else endpoint.resource.method
    codes: tuple[ErrorCode, ...] = (*_CALLER, *_WORK, "invalid_parameter", *endpoint.errors)
    if method != "GET":
        codes += _BODY
        if endpoint.takes is not Takes.NOTHING:
            codes += _DOCUMENTS
        if endpoint.takes.pictures:
            codes += _PICTURES
    return codes


def responses_of(codes: tuple[ErrorCode, ...], answer: type[BaseModel] | None) -> dict[int | str, Any]:
    """Return one response for each status, with the codes that it can have."""
    by_status: dict[int | str, list[ErrorCode]] = {}
    for code in sorted(set(codes)):
        by_status.setdefault(ERRORS[code].status, []).append(code)
    return {status: _response(by_status[status], answer) for status in sorted(by_status, key=str)}


def _response(codes: list[ErrorCode], answer: type[BaseModel] | None) -> dict[str, Any]:
    failed = {
        "type": "object",
        "required": ["error"],
        "properties": {"error": error_schema(codes)},
        "additionalProperties": False,
    }
    # FastAPI puts the models of answers under this path.
    schema = failed if answer is None else {"anyOf": [failed, {"$ref": f"#/components/schemas/{answer.__name__}"}]}
    described = "\n".join(f"- `{code}`: {ERRORS[code].meaning}" for code in codes)
    return {"description": described, "content": {"application/json": {"schema": schema}}}


def error_schema(codes: list[ErrorCode]) -> dict[str, Any]:
    """Return the schema of an error that has one of these codes."""
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
