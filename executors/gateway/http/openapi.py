"""The OpenAPI description of the API. A test posts each of its examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel

from executors import __version__
from executors.gateway import endpoints, examples
from executors.gateway.answers import HealthAnswer
from executors.gateway.document_checks import Takes
from executors.gateway.endpoints import Endpoint
from executors.gateway.examples import Example
from executors.gateway.http.described_errors import error_responses
from executors.gateway.http.openapi_schemas import (
    DOCUMENT,
    NO_DATA,
    PICTURE_BODY,
    body_schema,
    form_schema,
    json_schema,
)
from executors.gateway.rendering import REPORTED
from executors.request_id import HEADER, MAX_LENGTH

METADATA: Final[dict[str, Any]] = {
    "title": "Visual Search Flows",
    "version": __version__,
    "description": (
        "Index pictures, search by picture or text. Every error is `{code, message, details}`; the codes are stable. "
        "Beside the errors of each operation there are `malformed_request` (400), `unknown_endpoint` (404), "
        "`method_not_allowed` (405, with `Allow`) and `headers_too_large` (431). Over gRPC the answers of `/collections/create`, "
        "`list`, `describe`, `drop`, `/status`, `/verify`, `/reindex` and `/quality` stand in the `parameters` of the response: "
        "`client.post(..., return_responses=True)[0].parameters`."
    ),
}


def describe_post(endpoint: Endpoint) -> dict[str, Any]:
    """Describe for FastAPI an endpoint that callers post to at its own path."""
    takes_documents = endpoint.takes is not Takes.NOTHING
    documents = {"anyOf": [{"type": "array", "items": DOCUMENT}, DOCUMENT, {"type": "null"}]}
    schema = body_schema(endpoint.parameters, {"data": documents if takes_documents else NO_DATA})
    content: dict[str, Any] = {"application/json": {"schema": schema, **_examples(endpoint.examples)}}
    if endpoint.takes.pictures:
        content["multipart/form-data"] = {"schema": form_schema(endpoint.parameters)}
        content |= {"image/*": PICTURE_BODY, "application/octet-stream": PICTURE_BODY}
    body: dict[str, Any] = {"content": content}
    if endpoint.rendering is not REPORTED:
        body["required"] = True
    return {
        "summary": endpoint.summary,
        "description": _role(endpoint),
        "openapi_extra": {"requestBody": body, "parameters": _query(endpoint)},
        "responses": _responses(endpoint),
    }


def describe_collections(endpoint: Endpoint) -> dict[str, Any]:
    """Describe for FastAPI an endpoint whose collection is in the path."""
    described: dict[str, Any] = {
        "summary": endpoint.summary,
        "description": _role(endpoint),
        "responses": _responses(endpoint),
    }
    if endpoint.resource is not None and "{name}" in endpoint.resource.path:
        described["openapi_extra"] = {"parameters": [_parameter("name", "path", "products")]}
    if endpoint.examples:
        schema = json_schema(endpoint.parameters)
        properties = {name: each for name, each in schema["properties"].items() if name != "collection"}
        body = {"type": "object", "additionalProperties": False, "properties": properties}
        content = {"application/json": {"schema": body, **_examples(endpoint.examples)}}
        described["openapi_extra"]["requestBody"] = {"content": content}
    return described


def _query(endpoint: Endpoint) -> list[dict[str, Any]]:
    """Describe the parameters of a query string, without examples: /docs would send them in addition to those of the body."""
    schemas = json_schema(endpoint.parameters)["properties"]
    shown = [each for each in ("collection", "limit", "repair") if each in schemas]
    described = [(each, schemas[each].get("description", ""), _without_default(schemas[each])) for each in shown]
    if endpoint.takes is Takes.CONTENT:
        described.append(("id", "the id of the document, if the body is the picture itself", {"type": "string"}))
    return [
        {"name": name, "in": "query", "required": False, "description": text, "schema": schema}
        for name, text, schema in described
    ]


def _without_default(schema: dict[str, Any]) -> dict[str, Any]:
    kept = next((each for each in schema.get("anyOf", ()) if each.get("type") != "null"), schema)
    return {key: value for key, value in kept.items() if key not in ("default", "title", "description")}


def _examples(examples: Sequence[Example]) -> dict[str, Any]:
    if len(examples) == 1:
        return {"example": examples[0].body}
    return {"examples": {each.name: {"summary": each.summary, "value": each.body} for each in examples}}


def health(
    meaning: str, sound: type[BaseModel] = HealthAnswer, unsound: type[BaseModel] | None = None
) -> dict[str, Any]:
    """Describe for FastAPI a health endpoint.

    Args:
        meaning: the condition under which the answer is 200.
        sound: the model of the answer with status 200.
        unsound: the model of the answer with status 503; None if there is no such answer.
    """
    responses: dict[int, Any] = {200: {"description": "The check passed", "model": sound}}
    if unsound is not None:
        responses[503] = {"description": "The check failed; the body says why", "model": unsound}
    return {"summary": f"200 if {meaning}", "responses": responses}


def add_keys(description: dict[str, Any], *, required: bool) -> None:
    """Describe the two ways to send a key; the health checks take none.

    Args:
        required: whether this service asks for keys.
    """
    description.setdefault("components", {})["securitySchemes"] = {
        "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        "bearer": {"type": "http", "scheme": "bearer"},
    }
    description["security"] = [*([] if required else [{}]), {"key": []}, {"bearer": []}]
    for path, operations in description["paths"].items():
        for operation in operations.values():
            if path.startswith("/health/"):
                operation["security"] = []


def add_request_ids(description: dict[str, Any]) -> None:
    """Describe the header `X-Request-Id` of every operation: callers may send it, and every answer has it."""
    for operations in description["paths"].values():
        for operation in operations.values():
            operation.setdefault("parameters", []).append(_REQUEST_ID_PARAMETER)
            for response in operation["responses"].values():
                response["headers"] = {**response.get("headers", {}), HEADER: _REQUEST_ID}


def _role(endpoint: Endpoint) -> str:
    return f"Where keys are asked for, this takes one with the role `{endpoint.role}`."


def _responses(endpoint: Endpoint) -> dict[int | str, Any]:
    return {200: {"description": endpoint.success, "model": endpoint.answer}} | error_responses(endpoint)


STATUS: Final[dict[str, Any]] = {
    "summary": endpoints.STATUS.summary,
    "description": _role(endpoints.STATUS),
    "responses": _responses(endpoints.STATUS),
}
METRICS: Final[dict[str, Any]] = {
    "summary": endpoints.METRICS.summary,
    "description": _role(endpoints.METRICS),
    "responses": {
        200: {"description": endpoints.METRICS.success, "content": {"text/plain": {"schema": {"type": "string"}}}},
    }
    | error_responses(endpoints.METRICS),
}
_REQUEST_ID: Final = {
    "description": "the id that the log lines of this request have",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_LENGTH},
}
_REQUEST_ID_PARAMETER: Final = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": (
        f"an id for this request: 1 to {MAX_LENGTH} visible ASCII characters. If it is missing or invalid, the "
        "gateway makes one. The answer and the log lines of the request carry it"
    ),
    "schema": {"type": "string"},
}
_ENTITY_TAG_HEADER: Final = {
    "ETag": {"description": "changes with every write of the document", "schema": {"type": "string"}}
}
_THUMBNAIL: Final[dict[str, Any]] = {
    "summary": endpoints.THUMBNAIL.summary,
    "responses": {
        200: {
            "description": endpoints.THUMBNAIL.success,
            "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
            "headers": _ENTITY_TAG_HEADER,
        },
        304: {"description": "The picture is the one of If-None-Match", "headers": _ENTITY_TAG_HEADER},
    }
    | error_responses(endpoints.THUMBNAIL),
}
_IF_NONE_MATCH: Final = {"name": "If-None-Match", "in": "header", "required": False, "schema": {"type": "string"}}

WATCH: Final[dict[str, Any]] = {
    "summary": endpoints.WATCH.summary,
    "responses": {
        200: {
            "description": endpoints.WATCH.success,
            "content": {"text/event-stream": {"schema": {"type": "string"}, "example": examples.EVENTS}},
        }
    }
    | error_responses(endpoints.WATCH),
}


def _parameter(name: str, place: str, example: str, *, required: bool = True) -> dict[str, Any]:
    return {"name": name, "in": place, "required": required, "schema": {"type": "string"}, "example": example}


THUMBNAIL: Final = _THUMBNAIL | {
    "openapi_extra": {
        "parameters": [
            _parameter("collection", "path", "images"),
            _parameter("id", "path", "red-square"),
            _IF_NONE_MATCH,
        ]
    }
}
THUMBNAIL_BY_QUERY: Final = _THUMBNAIL | {
    "summary": "The same for any id, including those that browsers and proxies change in a path",
    "description": (
        "Where keys are asked for, the addresses in answers are signed (`expires`, `signature`): they are valid for a while "
        "without a key."
    ),
    "openapi_extra": {
        "parameters": [
            _parameter("collection", "query", "images", required=False),
            _parameter("id", "query", "red-square"),
            _IF_NONE_MATCH,
        ]
    },
}

_INDEX: Final = endpoints.BY_PATH["/index"]


def _optional(name: str, text: str, kind: str = "string") -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": text, "schema": {"type": kind}}


PUT_DOCUMENT: Final[dict[str, Any]] = {
    "summary": "Store the picture that is the body; a document with the same id is replaced",
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {"image/*": PICTURE_BODY, "application/octet-stream": PICTURE_BODY},
        },
        "parameters": [
            _parameter("id", "path", "red-square"),
            _optional("collection", "the collection (default: `images`)"),
            _optional("tags", "a JSON object"),
            _optional("uri", "a label; never opened"),
            _optional("refresh", "let searches see the write at once", "boolean"),
        ],
    },
    "responses": {200: {"description": "The document was stored", "model": _INDEX.answer}} | error_responses(_INDEX),
}
