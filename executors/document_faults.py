"""Documents that can't be sent: an error is sent in their place, so that the others of the request are not lost. No Jina."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
from docarray.proto import DocProto

from executors.document_values import check_array, check_box, check_text, describe, is_text, plain_bytes, plain_tags
from executors.errors import ErrorCode, VisualSearchError, known_code

# The field of a message that holds the error of a document that could not be sent, in place of all fields but the id.
FAULT: Final = "fault"
_TEXTS: Final = ("id", "collection", "parent", "text", "uri", "model_id")
_CODES: Final[frozenset[ErrorCode]] = frozenset(
    {"invalid_document", "invalid_id", "invalid_tags", "invalid_text", "invalid_tensor", "invalid_embedding"}
)
_MOST_SHOWN: Final = 500


def fault_message(values: Mapping[str, Any], error: Exception) -> DocProto:
    """Return the message for a document that can't be sent: its id, if that can be sent, and the error. It never raises.

    Args:
        values: the fields of the document.
        error: the exception that its encoding raised.
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
    """Return the error in such a message. Any client may have written it, so only codes of documents are accepted."""
    try:
        given = orjson.loads(text)
        code, message = known_code(given["code"]), str(given["message"])[:_MOST_SHOWN]
    except (ValueError, TypeError, KeyError):
        code, message = None, "the document can't be read"
    return VisualSearchError(code if code in _CODES else "invalid_document", message)


def _fault_of(values: Mapping[str, Any], error: Exception) -> VisualSearchError:
    """Return the error of a document: the first invalid field, or else the exception that its encoding raised."""
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
    # A user's object may raise anything when it is checked; then the exception of the encoding is the error.
    except Exception:
        pass
    return VisualSearchError("invalid_document", f"the document can't be sent: {describe(error)}")
