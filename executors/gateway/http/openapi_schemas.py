"""JSON schemas of request bodies."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

from executors.document_values import MAX_ID_BYTES

DOCUMENT: Final = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "id": {
            "type": ["string", "null"],
            "description": f"1 to {MAX_ID_BYTES} bytes of UTF-8; the service makes one if it is missing; it can't be empty",
        },
        "blob": {"type": ["string", "null"], "description": "the encoded picture as base64 or data URI"},
        "embedding": {"type": ["array", "null"], "items": {"type": "number"}},
        "thumbnail": {
            "type": ["string", "null"],
            "description": "a JPEG of at most 64 KB as base64; only /index takes it, and only with `embedding`",
        },
        "tags": {"type": ["object", "null"]},
        "uri": {"type": ["string", "null"], "description": "a label; never opened"},
        "collection": {"type": ["string", "null"]},
        "model_id": {"type": ["string", "null"], "description": "the model of `embedding`; default: the flow's model"},
        "parent": {"type": ["string", "null"]},
        "box": {"type": ["array", "null"], "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
        "text": {
            "type": ["string", "null"],
            "description": "a query in words; for /index, the text that was read in the picture",
        },
    },
}
# /docs shows an empty field; a part that is left empty counts as missing.
_EMPTY: Final = {"example": "", "default": ""}
PICTURE_BODY: Final = {"schema": {"type": "string", "format": "binary"}}
NO_DATA: Final = {"type": ["array", "null"], "maxItems": 0, "description": "this endpoint takes no documents"}
_BOUNDS: Final = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}


def json_schema(parameters: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of parameters; pydantic's own names of bounds are replaced by those of JSON Schema."""
    schema: dict[str, Any] = _in_json_schema(parameters.model_json_schema())
    for each in schema["properties"].values():
        if "default" in each and each["default"] is None and isinstance(each.get("type"), str):
            each["type"] = [each["type"], "null"]
    return schema


def _in_json_schema(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_in_json_schema(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {_BOUNDS.get(key, key): _in_json_schema(value) for key, value in schema.items()}


def body_schema(parameters: type[BaseModel], more: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a JSON body with `parameters` and the properties in `more`."""
    schema = {"anyOf": [json_schema(parameters), {"type": "null"}]}
    return {"type": "object", "additionalProperties": False, "properties": {**more, "parameters": schema}}


def form_schema(parameters: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of a form with files; its part `parameters` holds those of the given model as JSON."""
    return {
        "type": "object",
        "required": ["file"],
        "additionalProperties": False,
        "properties": {
            "file": {
                "type": "array",
                "items": {"type": "string", "format": "binary", "example": ""},
                "example": [""],
            },
            "parameters": {"type": "string", "description": "JSON, as `parameters` of a JSON body", **_EMPTY},
            "tags": {"type": "string", "description": "JSON: an object for all files, or a list by position", **_EMPTY},
            "ids": {"type": "string", "description": "JSON list of ids; default: the file names", **_EMPTY},
        },
        "description": parameters.__doc__,
    }
