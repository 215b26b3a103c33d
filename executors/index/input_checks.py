"""Writes as they come in, checked one by one: what can't be stored becomes an error in its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from executors.errors import VisualSearchError
from executors.index.encoding import check_key, encode_tags
from executors.index.records import DocumentKey, Superseded, TagUpdate

T = TypeVar("T")
Item = TypeVar("Item")


def encode_each(items: Sequence[Item], encode: Callable[[Item], T]) -> list[T | VisualSearchError]:
    """What `encode` makes of each, or the error that it raises for it."""
    encoded: list[T | VisualSearchError] = []
    for item in items:
        try:
            encoded.append(encode(item))
        except VisualSearchError as error:
            encoded.append(error)
    return encoded


KeyLike = TypeVar("KeyLike", DocumentKey, Superseded, TagUpdate)


def checked(write: KeyLike) -> KeyLike:
    """A write whose names can be stored.

    Raises:
        VisualSearchError: `invalid_id`, `invalid_document`.
    """
    check_key(write.collection, write.id, write.version)
    return write


def checked_update(update: TagUpdate) -> TagUpdate:
    """An update whose names and tags can be stored.

    Raises:
        VisualSearchError: `invalid_id`, `invalid_document`, `invalid_tags`.
    """
    encode_tags(update.tags)
    return checked(update)
