"""The rules for the fields of a document. `ImageDoc`, the gateway and the client all use them. Pure functions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import numpy as np
import orjson

from executors.errors import ErrorCode, VisualSearchError

MAX_ID_BYTES: Final = 512
MAX_COLLECTION_LENGTH: Final = 128
# A name must not be dots alone, because a path would lose it.
COLLECTION_PATTERN: Final = r"^[A-Za-z0-9_.-]{0,127}[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}$"
# Many programs read the numbers of JSON as floats, and beyond this limit not every integer has a float of its own.
MAX_SAFE_INTEGER: Final = 2**53
MAX_TAGS_DEPTH: Final = 32
# The limit for a document's tags as JSON.
MAX_TAGS_BYTES: Final = 64_000
_MOST_SHOWN: Final = 80
# The error codes for an invalid text in these fields; in others the code is `invalid_document`.
_TEXT_CODES: Final[dict[str, ErrorCode]] = {"id": "invalid_id", "text": "invalid_text"}
_NUMBER_KINDS: Final = "iuf"


def plain_tags(tags: Any) -> dict[str, Any]:
    """Return tags as plain JSON values that every store keeps exactly: numpy's numbers, booleans and texts become Python's.

    Raises:
        VisualSearchError: `invalid_tags` for a value that JSON does not have, that is too large, or too deeply nested; the
            message names its place.
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
    """Check that a value is None or a text that UTF-8 can write; a lone surrogate, as in a broken file name, is refused.

    Raises:
        VisualSearchError: `invalid_id`, `invalid_text` or `invalid_document`, depending on the field.
    """
    if value is None:
        return
    code = _TEXT_CODES.get(name, "invalid_document")
    if not isinstance(value, str):
        raise VisualSearchError(code, f"`{name}` must be a string, not {type(value).__name__}")
    if not is_text(value):
        raise VisualSearchError(code, f"`{name}` is not valid Unicode")


def is_text(value: str) -> bool:
    """Return whether UTF-8 can write the text."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def plain_bytes(name: str, value: Any) -> bytes:
    """Return the bytes of a buffer.

    Raises:
        VisualSearchError: `invalid_document`.
    """
    if isinstance(value, bytes):
        return value
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    message = f"`{name}` must be bytes, such as `path.read_bytes()`, not {type(value).__name__}"
    raise VisualSearchError("invalid_document", message)


def check_box(box: Any) -> None:
    """Check a box.

    Raises:
        VisualSearchError: `invalid_document`.
    """
    numbers = isinstance(box, list | tuple) and all(
        isinstance(each, int | float | np.integer | np.floating) and not isinstance(each, bool) for each in box
    )
    if not numbers or len(box) != 4 or not all(_is_finite(each) for each in box):
        raise VisualSearchError("invalid_document", "`box` must be [x, y, width, height], four finite numbers")


def check_array(name: str, value: Any) -> None:
    """Check that a value is an array of numbers, none of them masked; nothing else can be sent.

    Raises:
        VisualSearchError: `invalid_tensor` or `invalid_embedding`, depending on the field.
    """
    kind = type(value).__name__
    code: ErrorCode = "invalid_tensor" if name == "tensor" else "invalid_embedding"
    try:
        array = np.asarray(value)
        masked = np.ma.is_masked(value)
    # An object's own `__array__` may raise anything; numpy raises ValueError for a list whose rows differ in length.
    except Exception as error:
        raise VisualSearchError(code, f"`{name}` must be an array of numbers; {kind}: {describe(error)}") from None
    if array.ndim == 0 and not isinstance(value, np.ndarray):
        raise VisualSearchError(code, f"`{name}` must be an array of numbers, not {kind}")
    if array.dtype.kind not in _NUMBER_KINDS:
        raise VisualSearchError(code, f"`{name}` must be an array of numbers, not of {array.dtype}")
    if masked:
        raise VisualSearchError(code, f"`{name}` has masked numbers; fill them: `.filled(0)`")


def is_collection_name(name: str) -> bool:
    """Return whether a collection may have that name: 1 to 128 letters, digits, dots, dashes, underscores; not dots alone."""
    return len(name) <= MAX_COLLECTION_LENGTH and re.fullmatch(COLLECTION_PATTERN, name, re.ASCII) is not None


def check_list(embedding: Any) -> None:
    """Check that a vector can be written as JSON: it is one list of finite numbers.

    Raises:
        VisualSearchError: `invalid_embedding`.
    """
    check_array("embedding", embedding)
    array = np.asarray(embedding)
    if array.ndim != 1:
        raise _not_one_list(array.shape)
    if not np.isfinite(array).all():
        raise VisualSearchError("invalid_embedding", "`embedding` holds NaN or infinity")


def check_vector(embedding: Any) -> None:
    """Check a vector, except for its dimension.

    Raises:
        VisualSearchError: `invalid_embedding`.
    """
    check_list(embedding)
    array = np.asarray(embedding)
    if not array.size:
        raise _not_one_list(array.shape)
    if not array.any():
        raise VisualSearchError("invalid_embedding", "`embedding` is zero")


def describe(error: Exception) -> str:
    """Return the text of an exception, or its type if it has no text."""
    try:
        return str(error) or type(error).__name__
    # The exception may be a class of the user's, whose `__str__` raises as well.
    except Exception:
        return type(error).__name__


def _not_one_list(shape: tuple[int, ...]) -> VisualSearchError:
    message = f"`embedding` must be one list of numbers, not an array of the shape {list(shape)}"
    return VisualSearchError("invalid_embedding", message, shape=list(shape))


def _is_finite(number: Any) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:
        # It is an integer of more than 308 digits, which readers of JSON take for infinity.
        return False


def _plain(value: Any, path: str, depth: int) -> Any:
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, np.generic) and not isinstance(value, _NO_PLAIN_VALUES):
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


# numpy would turn these into integers without their unit, and into tuples without their names.
_NO_PLAIN_VALUES: Final = (np.datetime64, np.timedelta64, np.void)
# Advice about some of the types that people put into tags.
_HINTS: Final = {
    "bytes": "; send text, such as base64",
    "ndarray": "; send a list: `.tolist()`",
    "datetime": "; send text: `.isoformat()`",
    "datetime64": "; send text: `str(value)`",
    "timedelta64": "; send a number of a unit that you name",
    "MaskedConstant": "; send None for a missing value",
    "set": "; send a list",
}


def _key(key: Any, path: str) -> str:
    if not isinstance(key, str):
        _refuse(path, f"a key is {type(key).__name__}, not a string")
    if not is_text(key):
        _refuse(path, f"the key {key!r} is not valid Unicode")
    return str.__str__(key)


def _refuse(path: str, message: str) -> NoReturn:
    shown = path.encode(errors="backslashreplace").decode()
    if len(shown) > _MOST_SHOWN:
        shown = f"{shown[:_MOST_SHOWN]}…"
    raise VisualSearchError("invalid_tags", f"{shown}: {message}")
