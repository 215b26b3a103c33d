"""What the fields of a document may hold: the same rules where a document is made, at the door, and in the client. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import numpy as np
import orjson

from executors.errors import VisualSearchError

MAX_ID_BYTES: Final = 512
MAX_SAFE_INTEGER: Final = 2**53
MAX_TAGS_DEPTH: Final = 32
# Of a document's tags as JSON.
MAX_TAGS_BYTES: Final = 64_000
_MOST_SHOWN: Final = 80
_NUMBER_KINDS: Final = "iuf"


def plain_tags(tags: Any) -> dict[str, Any]:
    """Tags as plain JSON values that every store keeps exactly: numpy's numbers, booleans and texts become Python's.

    Raises:
        VisualSearchError: `invalid_tags`, naming the place of what JSON does not have, or is too large or too deep.
    """
    if not isinstance(tags, Mapping):
        raise VisualSearchError("invalid_tags", "`tags` must be a JSON object")
    if not tags:
        return {}
    plain: dict[str, Any] = _plain(tags, "tags", 0)
    size = len(orjson.dumps(plain))
    if size > MAX_TAGS_BYTES:
        raise VisualSearchError(
            "invalid_tags", f"`tags` has {size} bytes; at most {MAX_TAGS_BYTES}", bytes=size, limit=MAX_TAGS_BYTES
        )
    return plain


def check_text(name: str, value: Any) -> None:
    """Check that a text can be written as UTF-8: a lone surrogate, as from a file name that is none, can't.

    Raises:
        VisualSearchError: `invalid_id`, `invalid_text`, or `invalid_document`, by the field.
    """
    if isinstance(value, str) and not is_text(value):
        code = {"id": "invalid_id", "text": "invalid_text"}.get(name, "invalid_document")
        raise VisualSearchError(code, f"`{name}` is not valid Unicode")


def is_text(value: str) -> bool:
    """Whether the text has a form in UTF-8."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_box(box: Any) -> None:
    """Check a box.

    Raises:
        VisualSearchError: `invalid_document`.
    """
    numbers = isinstance(box, list | tuple) and all(
        isinstance(each, int | float | np.integer | np.floating) and not isinstance(each, bool) for each in box
    )
    if not numbers or len(box) != 4 or not all(math.isfinite(each) for each in box):
        raise VisualSearchError("invalid_document", "`box` must be [x, y, width, height], four finite numbers")


def check_array(name: str, value: Any) -> None:
    """Check that an array holds numbers, which is all that can be sent of it.

    Raises:
        VisualSearchError: `invalid_tensor` or `invalid_embedding`, by the field.
    """
    array = np.asarray(value)
    if array.dtype.kind not in _NUMBER_KINDS:
        raise VisualSearchError(f"invalid_{name}", f"`{name}` must be an array of numbers, not of {array.dtype}")


def check_vector(embedding: Any) -> None:
    """Check a vector, its dimension aside.

    Raises:
        VisualSearchError: `invalid_embedding`.
    """
    check_array("embedding", embedding)
    array = np.asarray(embedding)
    if array.ndim != 1 or not array.size:
        message = f"`embedding` must be one list of numbers, not an array of the shape {list(array.shape)}"
        raise VisualSearchError("invalid_embedding", message, shape=list(array.shape))
    if not np.isfinite(array).all():
        raise VisualSearchError("invalid_embedding", "`embedding` holds NaN or infinity")
    if not array.any():
        raise VisualSearchError("invalid_embedding", "`embedding` is zero")


def _plain(value: Any, path: str, depth: int) -> Any:
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        value = value.item()
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        if not is_text(value):
            _refuse(path, "the text is not valid Unicode")
        return str.__str__(value)
    if isinstance(value, int):
        if abs(value) > MAX_SAFE_INTEGER:
            shown = str(value) if value.bit_length() < 256 else "the number"
            _refuse(path, f"{shown} is beyond ±2^53; send it as a string")
        return int(value)
    if isinstance(value, float | np.floating):
        number = float(value)
        if not math.isfinite(number):
            _refuse(path, f"{number} is not a finite number, and JSON has no other")
        return number
    if isinstance(value, Mapping | list | tuple) and depth > MAX_TAGS_DEPTH:
        _refuse(path, f"nested more than {MAX_TAGS_DEPTH} deep")
    if isinstance(value, Mapping):
        return {_key(key, path): _plain(each, f"{path}.{key}", depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, f"{path}[{index}]", depth + 1) for index, each in enumerate(value)]
    return _refuse(path, f"{type(value).__name__} is not a JSON value{_HINTS.get(type(value).__name__, '')}")


# What to do about some of the types that people put into tags.
_HINTS: Final = {
    "bytes": "; send text, such as base64",
    "ndarray": "; send a list: `.tolist()`",
    "datetime": "; send text: `.isoformat()`",
    "set": "; send a list",
}


def _key(key: Any, path: str) -> str:
    if not isinstance(key, str):
        _refuse(path, f"the key {key!r} is not a string")
    if not is_text(key):
        _refuse(path, f"the key {key!r} is not valid Unicode")
    return str.__str__(key)


def _refuse(path: str, message: str) -> NoReturn:
    shown = path.encode(errors="backslashreplace").decode()
    if len(shown) > _MOST_SHOWN:
        shown = f"{shown[:_MOST_SHOWN]}…"
    raise VisualSearchError("invalid_tags", f"{shown}: {message}")
