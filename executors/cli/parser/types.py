"""The types of options. A wrong value is refused while it is parsed, before anything is sent."""

from __future__ import annotations

import argparse
import json
from typing import Any, Final

# The service's limit of `ef`.
_MAX_EFFORT: Final = 10_000


def json_object(text: str) -> dict[str, Any]:
    """Parse a JSON object."""
    try:
        value = _read(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError('must be a JSON object, such as \'{"album": "2024"}\'')
    try:
        # Python's parser accepts NaN, Infinity and 1e999, but JSON can't carry them to the service.
        json.dumps(value, allow_nan=False)
    except ValueError:
        raise argparse.ArgumentTypeError("NaN and infinite numbers are not JSON") from None
    return value


def _read(text: str) -> Any:
    """Parse a JSON value with Python's parser, whose messages say what it expected.

    Raises:
        ValueError: it is not JSON, or has a key twice.
    """
    from executors.exact_json import unique_keys

    try:
        return json.loads(text, object_pairs_hook=unique_keys)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None


def address(text: str) -> str:
    """Check an address, `HOST:PORT`."""
    host, _, port = text.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT (with a port from 1 to 65535)")
    return text


def positive_integer(text: str) -> int:
    """Parse an integer of at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return value


def positive_number(text: str) -> float:
    """Parse a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def cosine(text: str) -> float:
    """Parse a number from -1 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = 2.0
    if not -1 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from -1 to 1")
    return value


def search_filter(text: str) -> dict[str, Any]:
    """Parse a filter, and check it as the service does."""
    from executors.errors import VisualSearchError
    from executors.index.filters import parse_filter

    try:
        given = _read(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"invalid_filter: {error}") from None
    try:
        parse_filter(given)
    except VisualSearchError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    filter_: dict[str, Any] = given
    return filter_


def effort(text: str) -> int:
    """Parse the number of candidates that a walk through the graph keeps."""
    value = int(text) if text.isdecimal() else 0
    if not 1 <= value <= _MAX_EFFORT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {_MAX_EFFORT}")
    return value


def pattern(text: str) -> str:
    """Check a pattern as in .gitignore."""
    import re

    from executors.cli.index.selection import excludes

    try:
        excludes(text, "", is_folder=True)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a pattern: {error.msg}") from None
    return text


def names(text: str) -> list[str]:
    """Parse a comma-separated list of names."""
    found = [each.strip() for each in text.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError(f"{text!r} is not a comma-separated list of names")
    return found
