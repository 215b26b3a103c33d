"""Documents that can't be sent: what goes in their place, so that one costs no other. No jina."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
from docarray.proto import DocProto

from executors.document_values import check_array, check_box, check_text, describe, is_text, plain_bytes, plain_tags
from executors.errors import ErrorCode, VisualSearchError, known_code

# Stands in a message for everything but the id of a document that could not be sent.
FAULT: Final = "fault"
_TEXTS: Final = ("id", "collection", "parent", "text", "uri", "model_id")
_CODES: Final[frozenset[ErrorCode]] = frozenset(
    {"invalid_document", "invalid_id", "invalid_tags", "invalid_text", "invalid_tensor", "invalid_embedding"}
)
_MOST_SHOWN: Final = 500


def fault_message(values: Mapping[str, Any], error: Exception) -> DocProto:
    """What is sent in place of a document: its id, if that can be sent, and what is wrong. Raises nothing.

    Args:
        values: the fields of the document.
        error: what its encoding ended with.
    """
    found = _fault_of(values, error)
    message = DocProto()
    name = values.get("id")
    if isinstance(name, str) and is_text(name):
        message.data["id"].text = name
    fault = {"code": found.code, "message": found.message.encode(errors="backslashreplace").decode()}
    message.data[FAULT].text = orjson.dumps(fault).decode()
    return message


def read_fault(text: str) -> VisualSearchError:
    """The error of such a document. Any client may have written it, so only the codes of a document count."""
    try:
        given = orjson.loads(text)
        code, message = known_code(given["code"]), str(given["message"])[:_MOST_SHOWN]
    except (ValueError, TypeError, KeyError):
        code, message = None, "the document can't be read"
    return VisualSearchError(code if code in _CODES else "invalid_document", message)


def _fault_of(values: Mapping[str, Any], error: Exception) -> VisualSearchError:
    """What is wrong with a document: what its fields may hold is broken, or else what its encoding ended with."""
    try:
        for name in _TEXTS:
            check_text(name, values.get(name))
        plain_tags(values.get("tags"))
        for name in ("tensor", "embedding"):
            if values.get(name) is not None:
                check_array(name, values[name])
        if values.get("box") is not None:
            check_box(values["box"])
        for name in ("blob", "thumbnail"):
            if values.get(name) is not None:
                plain_bytes(name, values[name])
    except VisualSearchError as found:
        return found
    # A user's object may raise anything when it is looked at; what the encoding said stands then.
    except Exception:
        pass
    return VisualSearchError("invalid_document", f"the document can't be sent: {describe(error)}")
