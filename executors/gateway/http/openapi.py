"""The OpenAPI description: the examples in it work when they are pasted (a test posts each of them)."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

from executors import __version__
from executors.gateway.http.described_errors import error_responses, status_responses
from executors.gateway.http.openapi_schemas import (
    ANSWER,
    DOCUMENT,
    NO_DATA,
    PICTURE_BODY,
    body_schema,
    form_schema,
    json_schema,
)
from executors.gateway.parameters import (
    CountParameters,
    CreateParameters,
    DeleteParameters,
    EmbedParameters,
    GetParameters,
    IndexParameters,
    Parameters,
    ReindexParameters,
    ScrollParameters,
    SearchParameters,
    UpdateParameters,
    VerifyParameters,
)

METADATA: Final[dict[str, Any]] = {
    "title": "Visual Search Flows",
    "version": __version__,
    "description": (
        "Index pictures, search by picture or text. Every error is `{code, message, details}`; the codes are stable. "
        "Beside the errors of each operation there are `malformed_request` (400), `unknown_endpoint` (404), "
        "`method_not_allowed` (405, with `Allow`) and `headers_too_large` (431). Over gRPC the answers of `/collections/create`, "
        "`list`, `describe`, `drop`, `/status`, `/verify` and `/reindex` stand in the `parameters` of the response: "
        "`client.post(..., return_responses=True)[0].parameters`."
    ),
}

# A red square on white, 16 × 16 pixels.
EXAMPLE_PICTURE: Final = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAIAAACQkWg2AAAAK0lEQVQoz2P8//8/AymAiYFEQHsNLMicu7aaWBUp"
    "H74+mP0wHDQwDoO0BAAtygkb92OPGQAAAABJRU5ErkJggg=="
)

_PICTURE: Final = {"id": "red-square", "blob": EXAMPLE_PICTURE}
# Beside the first example of an endpoint: name, what it shows, body. The default model takes no texts.
_TEXT: Final = "a text, where the model has a text tower"
_FURTHER_EXAMPLES: Final[dict[str, list[tuple[str, str, dict[str, Any]]]]] = {
    "/search": [
        ("text", _TEXT, {"data": [{"text": "a red square"}], "parameters": {"limit": 5}}),
        (
            "filter",
            "the best match of each shape among those that are red, their tags only",
            {
                "data": [{"blob": EXAMPLE_PICTURE}],
                "parameters": {"filter": {"colour": "red"}, "group_by": "shape", "fields": ["tags"], "explain": True},
            },
        ),
    ],
    "/embed": [("text", _TEXT, {"data": [{"text": "a red square"}]})],
    "/delete": [("filter", "by filter", {"parameters": {"filter": {"colour": "red", "price": {"$gt": 100}}}})],
}
_ENDPOINTS: Final[dict[str, tuple[str, type[Parameters], dict[str, Any], bool]]] = {
    "/index": (
        "Store pictures or vectors; replaces what has the same id",
        IndexParameters,
        {"data": [_PICTURE | {"tags": {"colour": "red"}}]},
        True,
    ),
    "/search": (
        "The most similar documents for each picture, text, vector, or indexed document (`like`)",
        SearchParameters,
        {"data": [{"blob": EXAMPLE_PICTURE}], "parameters": {"limit": 5}},
        True,
    ),
    "/update": (
        "Change tags; a document that is not there is an error, `not_found`",
        UpdateParameters,
        {"data": [{"id": "red-square", "tags": {"shape": "square"}}], "parameters": {"mode": "merge"}},
        False,
    ),
    "/get": (
        "Read documents by id; one that is not there is an error, `not_found`",
        GetParameters,
        {"data": [{"id": "red-square"}]},
        False,
    ),
    "/embed": (
        "Vectors of pictures and texts, without storing anything",
        EmbedParameters,
        {"data": [_PICTURE]},
        True,
    ),
    "/scroll": (
        "Documents in the order of their ids; `next` of the answer is what to go on `after`",
        ScrollParameters,
        {"parameters": {"filter": {"colour": "red"}, "limit": 10}},
        False,
    ),
    "/count": (
        "How many documents there are",
        CountParameters,
        {"parameters": {"filter": {"colour": {"$in": ["red", "blue"]}}}},
        False,
    ),
    "/delete": (
        "Remove documents by id (`data`) or by filter, and what came from them (`parent`); what is not there is no failure",
        DeleteParameters,
        {"data": [{"id": "red-square"}]},
        False,
    ),
}
DOCUMENT_ENDPOINTS: Final = tuple(_ENDPOINTS)
_WITHOUT_DOCUMENTS: Final = frozenset({"/scroll", "/count"})

PICTURE_ENDPOINTS: Final = frozenset(endpoint for endpoint, (*_, files) in _ENDPOINTS.items() if files)


def operation(endpoint: str) -> dict[str, Any]:
    """What FastAPI is told of a document endpoint."""
    summary, parameters, example, files = _ENDPOINTS[endpoint]
    content: dict[str, Any] = {
        "application/json": {"schema": _json_body(endpoint, parameters), **_examples(endpoint, example)}
    }
    if files:
        content["multipart/form-data"] = {"schema": form_schema(parameters)}
        content |= {"image/*": PICTURE_BODY, "application/octet-stream": PICTURE_BODY}
    return {
        "summary": summary,
        "openapi_extra": {
            "requestBody": {"required": True, "content": content},
            "parameters": _query(endpoint, parameters),
        },
        "responses": _responses(endpoint, "At least one document succeeded", ANSWER),
    }


def _query(endpoint: str, parameters: type[BaseModel]) -> list[dict[str, Any]]:
    """Parameters of a query string; without examples, which a page would send beside those of the body."""
    schemas = json_schema(parameters)["properties"]
    shown = [each for each in ("collection", "limit", "repair") if each in schemas]
    described = [(each, schemas[each].get("description", ""), _without_default(schemas[each])) for each in shown]
    if endpoint == "/index":
        described.append(("id", "the id, where the body is a picture as it is", {"type": "string"}))
    return [
        {"name": name, "in": "query", "required": False, "description": text, "schema": schema}
        for name, text, schema in described
    ]


def _without_default(schema: dict[str, Any]) -> dict[str, Any]:
    kept = next((each for each in schema.get("anyOf", ()) if each.get("type") != "null"), schema)
    return {key: value for key, value in kept.items() if key not in ("default", "title", "description")}


def _examples(endpoint: str, first: dict[str, Any]) -> dict[str, Any]:
    further = _FURTHER_EXAMPLES.get(endpoint)
    if further is None:
        return {"example": first}
    name, summary = ("ids", "by id") if endpoint == "/delete" else ("picture", "a picture")
    examples = [(name, summary, first), *further]
    return {"examples": {name: {"summary": summary, "value": value} for name, summary, value in examples}}


def health(meaning: str) -> dict[str, Any]:
    """What FastAPI is told of a health endpoint."""
    content = {"application/json": {"schema": {"type": "object"}}}
    answers = {200: {"description": "it is so", "content": content}}
    return {"summary": f"200 if {meaning}", "responses": answers}


def unsound(meaning: str) -> dict[str, Any]:
    """The same of one that can answer 503."""
    described = health(meaning)
    content = {"application/json": {"schema": {"type": "object"}}}
    described["responses"] |= {503: {"description": "it is not so", "content": content}}
    return described


def _json_body(endpoint: str, parameters: type[Parameters]) -> dict[str, Any]:
    documents = {"anyOf": [{"type": "array", "items": DOCUMENT}, DOCUMENT, {"type": "null"}]}
    return body_schema(parameters, {"data": NO_DATA if endpoint in _WITHOUT_DOCUMENTS else documents})


def _responses(operation: str, meaning: str, schema: dict[str, Any]) -> dict[int | str, Any]:
    succeeded = {"description": meaning, "content": {"application/json": {"schema": schema}}}
    return {200: succeeded} | error_responses(operation, ANSWER)


STATUS: Final[dict[str, Any]] = {
    "summary": "The index, the model, the stages, this gateway",
    "responses": {
        200: {
            "description": "What each says of itself",
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
    }
    | status_responses(),
}
_ENTITY_TAG_HEADER: Final = {
    "ETag": {"description": "changes with every write of the document", "schema": {"type": "string"}}
}
_THUMBNAIL: Final[dict[str, Any]] = {
    "summary": "The small JPEG that was kept of a document",
    "responses": {
        200: {
            "description": "The picture",
            "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
            "headers": _ENTITY_TAG_HEADER,
        },
        304: {"description": "The picture is the one of If-None-Match", "headers": _ENTITY_TAG_HEADER},
    }
    | error_responses("/thumbnail", {}),
}
_IF_NONE_MATCH: Final = {"name": "If-None-Match", "in": "header", "required": False, "schema": {"type": "string"}}


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
    "summary": "The same for any id: also for those that a path can't carry through browsers and proxies",
    "openapi_extra": {
        "parameters": [
            _parameter("collection", "query", "images", required=False),
            _parameter("id", "query", "red-square"),
            _IF_NONE_MATCH,
        ]
    },
}


def _upkeep(endpoint: str, summary: str, parameters: type[BaseModel]) -> dict[str, Any]:
    content = {"application/json": {"schema": body_schema(parameters, {"data": NO_DATA}), "example": {}}}
    return {
        "summary": summary,
        "openapi_extra": {"requestBody": {"content": content}, "parameters": _query(endpoint, parameters)},
        "responses": _responses(endpoint, "What was found or begun", {"type": "object"}),
    }


VERIFY: Final = _upkeep("/verify", "Read everything back and check it", VerifyParameters)
REINDEX: Final = _upkeep(
    "/reindex", "Begin to build anew what searches walk through; /status shows how far", ReindexParameters
)
_COLLECTION: Final = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "model_id": {"type": "string"},
        "dimension": {"type": "integer"},
        "documents": {"type": "integer"},
    },
}
_ONE: Final = {"type": "object", "properties": {"collection": _COLLECTION}}
_CREATE_SCHEMA: Final = json_schema(CreateParameters)
_CREATE_BODY: Final = {
    "type": "object",
    "additionalProperties": False,
    "properties": {name: each for name, each in _CREATE_SCHEMA["properties"].items() if name != "collection"},
}
_NAME: Final = {"parameters": [_parameter("name", "path", "products")]}
COLLECTIONS: Final[dict[str, dict[str, Any]]] = {
    "list": {
        "summary": "All collections, by name",
        "responses": _responses(
            "list",
            "The collections",
            {"type": "object", "properties": {"collections": {"type": "array", "items": _COLLECTION}}},
        ),
    },
    "describe": {
        "summary": "One collection",
        "openapi_extra": _NAME,
        "responses": _responses("describe", "The collection", _ONE),
    },
    "create": {
        "summary": "Create a collection; by default bound to the flow's model",
        "openapi_extra": _NAME
        | {"requestBody": {"content": {"application/json": {"schema": _CREATE_BODY, "example": {}}}}},
        "responses": _responses(
            "create", "It was `created`, or is there already and bound as wanted (`unchanged`)", _ONE
        ),
    },
    "drop": {
        "summary": "Remove a collection with all its documents",
        "openapi_extra": _NAME,
        "responses": _responses(
            "drop",
            "It is gone",
            {"type": "object", "properties": {"result": {"type": "string"}, "documents": {"type": "integer"}}},
        ),
    },
}
