"""What the tag index holds of one document: an entry for each value of each path of its tags. Pure.

A text that is too long for an entry has two: its head, which puts it in order, and its digest, which equals only its own.
Where the head could leave an answer open, the tags themselves are asked. A document that can't be indexed within bounds
has no entries and is always asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from executors.index.filters import Leaf, flatten, kind_of

_MOST_TEXT_BYTES: Final = 250
# What is left of a text that was cut: up to three bytes fewer, at a character's boundary.
LEAST_CUT_BYTES: Final = _MOST_TEXT_BYTES - 3
_DIGEST_BYTES: Final = 16
_MOST_PATH_BYTES: Final = 512
_MOST_ENTRIES: Final = 1_000
LARGEST_INTEGER: Final = 2**63 - 1


# The kind of an entry, as it stands in the file: the type of its value, and a few more.
NULL: Final = 0
BOOLEAN: Final = 1
NUMBER: Final = 2
STRING: Final = 3
# An empty array, or an object.
EMPTY: Final = 4
# A text that is too long, as its head, and as its digest.
CUT_STRING: Final = 5
DIGEST: Final = 7
# No value, but a note that the document may have more than one value at the path: it has, or an array leads there.
SEVERAL: Final = 6

KINDS: Final[Mapping[str, int]] = {"null": NULL, "boolean": BOOLEAN, "number": NUMBER, "string": STRING}

# Path, kind, value. The value is never None: SQLite allows none in a key.
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
    # No character takes less than a byte.
    head = text[:most_bytes]
    encoded = head.encode()
    return head if len(encoded) <= most_bytes else encoded[:most_bytes].decode(errors="ignore")


def keys_of(leaf: Leaf) -> tuple[Key, ...]:
    """The kinds and values of the entries for one value; equal values share the last of them, others don't."""
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
