"""Tags as OpenSearch indexes them: typed fields as long as there is room, and one field of terms for the rest. Pure.

A path has a field for each kind of its values: `k.brand` (keyword), `n.price` (double), `b.sold` (boolean). Fields cost
the whole cluster memory, so their number has a maximum. A value of a later path, or with a name or a text that is too
long, becomes a term of the field `t`, where every filter looks, too: the answers are the same, but ranges take longer.
A term is the path, NUL, a letter for its kind, and the value in a form whose order as bytes is the order of the values.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from executors.index.filters import Leaf, Scalar, flatten, kind_of
from executors.index.tag_values import value_at, value_key

# Longer texts have no typed field.
_LONGEST_TYPED: Final = 1_000
# A term may have 32,766 bytes; anything longer is replaced by its beginning and a digest.
_LONGEST_TEXT: Final = 30_000
_LONGEST_PATH_PART: Final = 1_000
_LONGEST_PATH: Final = 200
_MOST_NEW_FIELDS: Final = 64
_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]")
_KINDS: Final = {"string": "k", "number": "n", "boolean": "b"}
_EXISTS: Final = "e"
_NULL: Final = "z"
_WHOLE: Final = "w"


@dataclass(frozen=True, slots=True)
class IndexedTags:
    """The indexed form of a document's tags: values by kind and field name, and terms."""

    typed: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    terms: list[str] = field(default_factory=list)


def index_tags(tags: Mapping[str, Any], known: frozenset[str]) -> IndexedTags:
    """The indexed form of these tags, given the typed fields that exist."""
    typed: dict[str, dict[str, list[Any]]] = {}
    terms: set[str] = set()
    for path, leaves in flatten(tags).items():
        terms.add(exists_term(path))
        for leaf in leaves:
            if leaf.empty:
                continue
            name = typed_name(path, leaf.value)
            if name in known:
                kind, _, plain = name.partition(".")
                typed.setdefault(kind, {}).setdefault(plain, []).append(plain_value(leaf.value))
            else:
                terms.add(value_term(path, leaf.value))
    for path, value in _whole_values(tags):
        terms.add(whole_term(path, value))
    return IndexedTags(typed, sorted(terms))


def wanted_fields(tags: Mapping[str, Any], known: frozenset[str]) -> dict[str, str]:
    """Typed fields that these tags need and that do not exist yet, with their kinds; none for a document with too many."""
    wanted: dict[str, str] = {}
    for path, leaves in flatten(tags).items():
        for leaf in leaves:
            name = _name_of(path, leaf)
            if name and name not in known:
                wanted[name] = name[0]
    return wanted if len(wanted) <= _MOST_NEW_FIELDS else {}


def typed_name(path: str, value: Scalar) -> str:
    """The typed field for a value at a path; empty if it can't have one."""
    kind = _KINDS.get(kind_of(value), "")
    if not kind or (isinstance(value, str) and len(value.encode()) > _LONGEST_TYPED):
        return ""
    name = "".join(each if _PLAIN.fullmatch(each) else f"~{ord(each):x}~" for each in path)
    return f"{kind}.{name}" if 1 <= len(name) <= _LONGEST_PATH else ""


def field_of(path: str, kind: str) -> str:
    """The typed field for values of a kind (`number`, `string`, `boolean`) at a path; empty if it can't have one."""
    samples: dict[str, Scalar] = {"number": 0, "string": "", "boolean": True}
    return typed_name(path, samples[kind])


def plain_value(value: Scalar) -> Scalar:
    """A value as a typed field compares it: Lucene treats -0.0 and 0.0 as different numbers."""
    return 0 if kind_of(value) == "number" and value == 0 else value


def exists_term(path: str) -> str:
    """The term of every document that has the path."""
    return f"{_path_part(path)}{_EXISTS}"


def value_term(path: str, value: Scalar) -> str:
    """The term of a value at a path, in the order of the values of its kind."""
    if value is None:
        return f"{_path_part(path)}{_NULL}"
    if isinstance(value, bool):
        return f"{_path_part(path)}b{int(value)}"
    if isinstance(value, str):
        return f"{_path_part(path)}k{_cut(value)}"
    return f"{_path_part(path)}n{_sortable(float(value))}"


def value_terms_prefix(path: str) -> str:
    """The common beginning of the terms of all values at a path; a letter for the kind of the value follows."""
    return _path_part(path)


def value_of_term(path: str, term: str) -> Scalar:
    """The value whose `value_term` at the path this is; not for a text that was cut."""
    rest = term[len(_path_part(path)) :]
    kind, value = rest[0], rest[1:]
    if kind == _NULL:
        return None
    if kind == "b":
        return value == "1"
    return value if kind == "k" else _from_sortable(value)


def is_cut(path: str, term: str) -> bool:
    """Whether a term of a value at the path may hold a text only in part."""
    rest = term[len(_path_part(path)) :]
    return rest.startswith("k") and len(rest.encode()) > _LONGEST_TEXT - 3


def kind_bounds(path: str, kind: str) -> tuple[str, str]:
    """The range of the terms of all values of a kind (`number` or `string`) at a path: from the first to before the
    second.
    """
    letter = _KINDS[kind]
    return f"{_path_part(path)}{letter}", f"{_path_part(path)}{chr(ord(letter) + 1)}"


def whole_term(path: str, value: Any) -> str:
    """The term of the whole value at a path, as groups compare it."""
    return f"{_path_part(path)}{_WHOLE}{_digest(value_key(value).encode())}"


def any_whole_prefix(path: str) -> str:
    """The common prefix of the terms of all whole values at a path."""
    return f"{_path_part(path)}{_WHOLE}"


def short_text(value: str) -> str:
    """A text as one term: itself, or its beginning and a digest."""
    return _cut(value)


def _name_of(path: str, leaf: Leaf) -> str:
    return "" if leaf.empty else typed_name(path, leaf.value)


def _whole_values(tags: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every path at which `value_at` finds something, with its value; arrays are not entered."""
    waiting: list[tuple[str, Any]] = [(str(key), value) for key, value in tags.items()]
    while waiting:
        path, value = waiting.pop()
        yield path, value_at(tags, path)[1]
        if isinstance(value, Mapping):
            waiting += [(f"{path}.{key}", each) for key, each in value.items()]


def _path_part(path: str) -> str:
    # A NUL in the path must not look like the one that ends it.
    escaped = path.replace("\x01", "\x01\x02").replace("\x00", "\x01\x01")
    if len(escaped.encode()) > _LONGEST_PATH_PART:
        escaped = f"{escaped[:_LONGEST_PATH]}\x01\x03{_digest(path.encode())}"
    return f"{escaped}\x00"


def _cut(value: str) -> str:
    encoded = value.encode()
    if len(encoded) <= _LONGEST_TEXT:
        return value
    return encoded[:_LONGEST_TEXT].decode(errors="ignore") + "\x00" + _digest(encoded)


def _sortable(value: float) -> str:
    """16 hexadecimal digits whose order is that of the numbers (IEEE 754: order of the bits, those of negatives
    reversed).
    """
    (bits,) = struct.unpack(">Q", struct.pack(">d", value + 0.0))
    return f"{bits ^ (0xFFFF_FFFF_FFFF_FFFF if bits >> 63 else 1 << 63):016x}"


def _from_sortable(digits: str) -> float:
    """The number that `_sortable` wrote."""
    bits = int(digits, 16)
    bits ^= 1 << 63 if bits >> 63 else 0xFFFF_FFFF_FFFF_FFFF
    (value,) = struct.unpack(">d", struct.pack(">Q", bits))
    return float(value)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def all_fields(wanted: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """All fields that several documents need."""
    fields: dict[str, str] = {}
    for each in wanted:
        fields.update(each)
    return fields
