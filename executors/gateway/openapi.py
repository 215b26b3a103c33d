"""The OpenAPI description: the examples in it work when they are pasted (a test posts each of them)."""

from __future__ import annotations

from typing import Any, Final

from executors import __version__
from executors.errors import ERRORS
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
    "description": "Index pictures, search by picture or text. Every error is `{code, message, details}`; the codes are stable.",
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
        "Change tags",
        UpdateParameters,
        {"data": [{"id": "red-square", "tags": {"shape": "square"}}], "parameters": {"mode": "merge"}},
        False,
    ),
    "/get": ("Read documents by id", GetParameters, {"data": [{"id": "red-square"}]}, False),
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
        "Remove documents by id (`data`) or by filter, and what came from them (`parent`)",
        DeleteParameters,
        {"data": [{"id": "red-square"}]},
        False,
    ),
}
DOCUMENT_ENDPOINTS: Final = tuple(_ENDPOINTS)
_WITHOUT_DOCUMENTS: Final = frozenset({"/scroll", "/count"})

_DOCUMENT: Final = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "1 to 512 bytes of UTF-8; made when missing"},
        "blob": {"type": "string", "description": "the encoded picture as base64 or data URI"},
        "embedding": {"type": "array", "items": {"type": "number"}},
        "thumbnail": {
            "type": "string",
            "description": "a JPEG of at most 64 KB as base64, beside a ready embedding (/index)",
        },
        "tags": {"type": "object"},
        "uri": {"type": "string", "description": "a label; never opened"},
        "collection": {"type": "string"},
        "model_id": {"type": "string", "description": "of a ready embedding; default: the flow's model"},
        "parent": {"type": "string"},
        "box": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
        "text": {
            "type": "string",
            "description": "a query in words; of an indexed document: what was read in the picture",
        },
    },
}
_ERROR: Final = {
    "type": "object",
    "properties": {
        "code": {"type": "string", "enum": sorted(ERRORS)},
        "message": {"type": "string"},
        "details": {"type": "object"},
    },
}
_ANSWER: Final = {
    "type": "object",
    "properties": {
        "data": {"type": "array", "items": {"type": "object"}, "description": "one a document, in request order"},
        "parameters": {
            "type": "object",
            "description": "shards, partial, failed, took_ms; /search: explain; /scroll: next; /count: count; /delete: deleted",
        },
    },
}


def operation(endpoint: str) -> dict[str, Any]:
    """What FastAPI is told of a document endpoint."""
    summary, parameters, example, files = _ENDPOINTS[endpoint]
    content: dict[str, Any] = {
        "application/json": {"schema": _json_body(endpoint, parameters), **_examples(endpoint, example)}
    }
    if files:
        content["multipart/form-data"] = {"schema": _form(parameters)}
    return {
        "summary": summary,
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
        "responses": _responses("At least one document succeeded", _ANSWER),
    }


def _examples(endpoint: str, first: dict[str, Any]) -> dict[str, Any]:
    further = _FURTHER_EXAMPLES.get(endpoint)
    if further is None:
        return {"example": first}
    name, summary = ("ids", "by id") if endpoint == "/delete" else ("picture", "a picture")
    examples = [(name, summary, first), *further]
    return {"examples": {name: {"summary": summary, "value": value} for name, summary, value in examples}}


def health(meaning: str) -> dict[str, Any]:
    """What FastAPI is told of a health endpoint."""
    return {"summary": f"200 if {meaning}", "responses": {503: {"description": "it is not so"}}}


def _json_body(endpoint: str, parameters: type[Parameters]) -> dict[str, Any]:
    data = {"data": {"anyOf": [{"type": "array", "items": _DOCUMENT}, _DOCUMENT]}}
    return {
        "type": "object",
        "properties": {
            **({} if endpoint in _WITHOUT_DOCUMENTS else data),
            "parameters": parameters.model_json_schema(),
        },
    }


def _form(parameters: type[Parameters]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["file"],
        "properties": {
            "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
            "parameters": {"type": "string", "description": "JSON", "example": "{}"},
            "tags": {"type": "string", "description": "JSON: an object for all files, or a list by position"},
            "ids": {"type": "string", "description": "JSON list of ids; default: the file names"},
        },
        "description": parameters.__doc__,
    }


def _responses(meaning: str, schema: dict[str, Any]) -> dict[int | str, Any]:
    failed = {"type": "object", "properties": {"error": _ERROR}}
    return {
        200: {"description": meaning, "content": {"application/json": {"schema": schema}}},
        "4XX": {
            "description": "The request or every document is at fault",
            "content": {"application/json": {"schema": failed}},
        },
        "5XX": {"description": "The service is at fault", "content": {"application/json": {"schema": failed}}},
    }


STATUS: Final[dict[str, Any]] = {"summary": "The index, the model, the stages, this gateway"}
THUMBNAIL: Final[dict[str, Any]] = {
    "summary": "The small JPEG that was kept of a document",
    "responses": {200: {"content": {"image/jpeg": {}}}, 404: {"description": "no such document, or no thumbnail"}},
}
THUMBNAIL_BY_QUERY: Final[dict[str, Any]] = THUMBNAIL


def _upkeep(summary: str, parameters: type[Parameters]) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"parameters": parameters.model_json_schema()}}
    content = {"application/json": {"schema": schema, "example": {}}}
    return {"summary": summary, "openapi_extra": {"requestBody": {"content": content}}}


VERIFY: Final = _upkeep("Read everything back and check it", VerifyParameters)
REINDEX: Final = _upkeep("Begin to build anew what searches walk through; /status shows how far", ReindexParameters)
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
_CREATE_SCHEMA: Final = CreateParameters.model_json_schema()
_CREATE_BODY: Final = {
    "type": "object",
    "properties": {name: each for name, each in _CREATE_SCHEMA["properties"].items() if name != "collection"},
}
COLLECTIONS: Final[dict[str, dict[str, Any]]] = {
    "list": {
        "summary": "All collections, by name",
        "responses": _responses(
            "The collections", {"type": "object", "properties": {"collections": {"type": "array"}}}
        ),
    },
    "describe": {"summary": "One collection", "responses": _responses("The collection", _ONE)},
    "create": {
        "summary": "Create a collection; by default bound to the flow's model",
        "openapi_extra": {"requestBody": {"content": {"application/json": {"schema": _CREATE_BODY, "example": {}}}}},
        "responses": _responses("It was `created`, or is there already and bound as wanted (`unchanged`)", _ONE),
    },
    "drop": {
        "summary": "Remove a collection with all its documents",
        "responses": _responses(
            "It is gone",
            {"type": "object", "properties": {"result": {"type": "string"}, "documents": {"type": "integer"}}},
        ),
    },
}
