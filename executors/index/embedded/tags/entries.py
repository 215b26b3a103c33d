"""The entries of the tag index for one document: one for each value of each path of its tags. Pure.

A text that is too long for an entry has two: its head, which gives its order, and its digest, which only equal texts
share. If the head can't decide a comparison, the tags themselves are read. A document that can't be indexed within
bounds has no entries, and its tags are always read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from executors.index.filters import Leaf, flatten, kind_of

_MOST_TEXT_BYTES: Final = 250
# The length of the head of a long text: it may be up to three bytes shorter, to end at a character's boundary.
LEAST_CUT_BYTES: Final = _MOST_TEXT_BYTES - 3
_DIGEST_BYTES: Final = 16
_MOST_PATH_BYTES: Final = 512
_MOST_ENTRIES: Final = 1_000
LARGEST_INTEGER: Final = 2**63 - 1


# The kind of an entry in the file: the type of its value, and a few more.
NULL: Final = 0
BOOLEAN: Final = 1
NUMBER: Final = 2
STRING: Final = 3
# An empty array, or an object.
EMPTY: Final = 4
# A text that is too long, as its head, and as its digest.
CUT_STRING: Final = 5
DIGEST: Final = 7
# A mark instead of a value: the document may have more than one value at the path, because it has, or because an array
# leads there.
SEVERAL: Final = 6

KINDS: Final[Mapping[str, int]] = {"null": NULL, "boolean": BOOLEAN, "number": NUMBER, "string": STRING}

# Path, kind, value. The value is never None: SQLite allows no NULL in a key.
Key: TypeAlias = tuple[int, int | float | str | bytes]
Entry: TypeAlias = tuple[str, int, int | float | str | bytes]


def entries_of(tags: Mapping[str, Any]) -> set[Entry] | None:
    """All entries of a document's tags; None if it has to be `UNINDEXED`."""
    entries: set[Entry] = set()
    for path, leaves in flatten(tags).items():
        if len(path) > _MOST_PATH_BYTES or len(path.encode()) > _MOST_PATH_BYTES:
            return None
        for leaf in leaves:
            for kind, value in keys_of(leaf):
                if isinstance(value, int) and not -LARGEST_INTEGER <= value <= LARGEST_INTEGER:
                    return None
                entries.add((path, kind, value))
        if len(leaves) > 1 or leaves[0].in_array:
            entries.add((path, SEVERAL, 0))
        if len(entries) > _MOST_ENTRIES:
            return None
    return entries


def cut(text: str, most_bytes: int) -> str:
    """The longest beginning of at most that many bytes of UTF-8, at a character's boundary."""
    # Every character takes at least one byte.
    head = text[:most_bytes]
    encoded = head.encode()
    return head if len(encoded) <= most_bytes else encoded[:most_bytes].decode(errors="ignore")


def keys_of(leaf: Leaf) -> tuple[Key, ...]:
    """The kinds and values of the entries for one value; the last one is the same for equal values only."""
    value = leaf.value
    if leaf.empty:
        return ((EMPTY, 0),)
    if value is None:
        return ((NULL, 0),)
    if isinstance(value, str):
        head = cut(value, _MOST_TEXT_BYTES)
        if head == value:
            return ((STRING, value),)
        return (CUT_STRING, head), (DIGEST, hashlib.blake2b(value.encode(), digest_size=_DIGEST_BYTES).digest())
    return ((KINDS[kind_of(value)], int(value) if isinstance(value, bool) else value),)
