"""Filters on tags: the meaning of a request's `filter`, the same for every store. Pure.

Tags are treated as paths with values (`flatten`): keys joined by dots, an array standing for its elements, an object in
an array for its keys. A condition on a path holds if one of the values there fulfils it; `$ne`, `$nin` and `$not` hold
if the condition that they negate does not, so they hold for documents that lack the path. Values of different types are
never equal and never compared: 1 equals 1.0, but neither true nor "1". Text is ordered by code points. Conditions on
one path are tested against its values one by one: an array [1, 20] is both above 5 and below 10. A bound `{"$datetime":
…}` is an `Instant`, and compares with every text that is an RFC 3339 date-time, by the moments that they stand for. A
path that begins with $ is written with two of them: `$$lt` is the tag `$lt`.

Filters compare and hash by meaning, so they can be keys: `In("n", (1,))` equals `In("n", (1.0,))`, but not `In("n",
(True,))`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from executors.document_values import MAX_SAFE_INTEGER
from executors.errors import VisualSearchError
from executors.index.instants import LONGEST, Instant, read_instant

Scalar: TypeAlias = bool | int | float | str | None
# The operand of a condition.
Operand: TypeAlias = Scalar | Instant
Bound: TypeAlias = int | float | str | Instant
# The values at a path: `None` stands for an empty array or object, whose path exists without a value.
Values: TypeAlias = dict[str, list["Leaf"]]

MAX_DEPTH: Final = 16
MAX_CONDITIONS: Final = 1_000
_MOST_SHOWN: Final = 500
_DATETIME: Final = "$datetime"


@dataclass(frozen=True, slots=True)
class Leaf:
    """One value at a path, or the mark of an empty array or object (`empty`). `in_array`: an array leads there."""

    value: Scalar = None
    empty: bool = False
    in_array: bool = False


@dataclass(frozen=True, slots=True)
class In:
    """One of the values at the path equals one of these (`$eq`: a single one)."""

    path: str
    values: tuple[Operand, ...] = field(compare=False)
    # The values with their kinds, because Python treats 1 and True as equal.
    keys: frozenset[tuple[str, Operand]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", frozenset((kind_of(value), value) for value in self.values))

    @property
    def instants(self) -> tuple[Instant, ...]:
        """The values that are moments."""
        return tuple(value for value in self.values if isinstance(value, Instant))


@dataclass(frozen=True, slots=True)
class Range:
    """One of the values at the path has the type of the bounds and lies between them; None: no bound on that side."""

    path: str
    low: Bound | None = None
    high: Bound | None = None
    low_inclusive: bool = True
    high_inclusive: bool = True


@dataclass(frozen=True, slots=True)
class Exists:
    """The path exists, with any value: null and empty arrays count."""

    path: str


@dataclass(frozen=True, slots=True)
class And:
    """Every part holds; without parts everything matches."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One of the parts holds."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Filter


Condition: TypeAlias = In | Range | Exists
Filter: TypeAlias = Condition | And | Or | Not


def parse_filter(given: Any) -> Filter:
    """The filter of a request.

    Raises:
        VisualSearchError: `invalid_filter`; its details give the `path` to the fault.
    """
    return _Parser().filter(given, "filter", 0)


def matches(where: Filter, tags: Mapping[str, Any]) -> bool:
    """Whether a document with these tags matches. This defines the meaning against which the evaluation of every store
    is tested.
    """
    return _holds(where, flatten(tags))


def flatten(tags: Mapping[str, Any]) -> Values:
    """Every path of the tags with its values, in their order."""
    values: Values = {}
    for key, value in tags.items():
        _collect(str(key), value, values)
    return values


def kind_of(value: Operand) -> str:
    """`null`, `boolean`, `number`, `string` or, for an operand only, `instant`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, Instant):
        return "instant"
    return "string" if isinstance(value, str) else "number"


def _collect(path: str, value: Any, values: Values, *, in_array: bool = False) -> None:
    if isinstance(value, Mapping):
        # An object exists, too: `$exists` asks for it.
        values.setdefault(path, []).append(Leaf(empty=True, in_array=in_array))
        for key, each in value.items():
            _collect(f"{path}.{key}", each, values, in_array=in_array)
    elif isinstance(value, list | tuple):
        if not value:
            values.setdefault(path, []).append(Leaf(empty=True, in_array=True))
        for each in value:
            _collect(path, each, values, in_array=True)
    else:
        values.setdefault(path, []).append(Leaf(value, in_array=in_array))


def _holds(where: Filter, values: Values) -> bool:
    match where:
        case And(parts):
            return all(_holds(part, values) for part in parts)
        case Or(parts):
            return any(_holds(part, values) for part in parts)
        case Not(part):
            return not _holds(part, values)
        case Exists(path):
            return path in values
        case In(path):
            return any(is_one_of(where, leaf.value) for leaf in values.get(path, ()) if not leaf.empty)
        case Range():
            return any(in_range(where, leaf.value) for leaf in values.get(where.path, ()) if not leaf.empty)


def is_one_of(where: In, value: Scalar) -> bool:
    """Whether a value equals one of those of the condition."""
    if (kind_of(value), value) in where.keys:
        return True
    instant = read_instant(value) if isinstance(value, str) and where.instants else None
    return instant is not None and ("instant", instant) in where.keys


def in_range(where: Range, value: Operand) -> bool:
    """Whether a value has the type of the bounds and lies between them."""
    if isinstance(value, str) and (isinstance(where.low, Instant) or isinstance(where.high, Instant)):
        value = read_instant(value)
    return _on_side(value, where.low, where.low_inclusive, operator.gt) and _on_side(
        value, where.high, where.high_inclusive, operator.lt
    )


def _on_side(value: Operand, bound: Operand, inclusive: bool, beyond: Callable[[Any, Any], bool]) -> bool:
    if bound is None:
        return True
    return kind_of(value) == kind_of(bound) and (beyond(value, bound) or (inclusive and value == bound))


class _Parser:
    """Reads one filter; counts its conditions."""

    def __init__(self) -> None:
        self._conditions = 0

    def filter(self, given: Any, where: str, depth: int) -> Filter:
        if not isinstance(given, Mapping):
            raise _invalid(where, 'must be an object such as {"brand": "acme"}')
        if depth > MAX_DEPTH:
            raise _invalid(where, f"nested more than {MAX_DEPTH} deep")
        parts = [self._entry(str(key), value, f"{where}.{key}", depth) for key, value in given.items()]
        if not parts:
            self._count(1, where)
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _entry(self, key: str, value: Any, where: str, depth: int) -> Filter:
        if key in ("$and", "$or"):
            if not isinstance(value, list) or not value:
                raise _invalid(where, "must be a list of at least one filter")
            parts = tuple(self.filter(each, f"{where}[{n}]", depth + 1) for n, each in enumerate(value))
            return And(parts) if key == "$and" else Or(parts)
        if key == "$not":
            return Not(self.filter(value, where, depth + 1))
        if key.startswith("$$"):
            key = key[1:]
        elif key.startswith("$"):
            hint = f"here: $and, $or, $not, or a tag's path (write a leading $ twice); on a tag: {_KNOWN}"
            raise _invalid(where, f"unknown operator ({hint})")
        if not _is_text(key):
            raise _invalid(where, "is not the path of a tag: it is not valid text")
        if isinstance(value, Mapping) and _DATETIME not in value:
            return self._operators(key, value, where, depth)
        return self._condition(In(key, (_operand(value, where),)), where)

    def _operators(self, path: str, given: Mapping[Any, Any], where: str, depth: int) -> Filter:
        if not given:
            raise _invalid(where, f"names no operator (known: {_KNOWN})")
        if depth > MAX_DEPTH:
            raise _invalid(where, f"nested more than {MAX_DEPTH} deep")
        parts: list[Filter] = []
        for name, operand in given.items():
            at = f"{where}.{name}"
            if name == "$not":
                if not isinstance(operand, Mapping):
                    raise _invalid(at, 'must be an object of operators such as {"$lt": 5}')
                parts.append(Not(self._operators(path, operand, at, depth + 1)))
            elif name in _OPERATORS:
                parts.append(self._condition(_OPERATORS[name](path, operand, at), at))
            else:
                hint = (
                    "an unknown operator"
                    if str(name).startswith("$")
                    else "not an operator; join nested keys with dots"
                )
                raise _invalid(at, f"{hint} (known: {_KNOWN})")
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _condition(self, condition: Filter, where: str) -> Filter:
        inner = condition.part if isinstance(condition, Not) else condition
        self._count(max(1, len(inner.values)) if isinstance(inner, In) else 1, where)
        return condition

    def _count(self, more: int, where: str) -> None:
        self._conditions += more
        if self._conditions > MAX_CONDITIONS:
            raise _invalid(where, f"more than {MAX_CONDITIONS} values and conditions in one filter")


def _in(path: str, operand: Any, where: str) -> Filter:
    if not isinstance(operand, list):
        raise _invalid(where, "must be a list of values")
    return In(path, tuple(_operand(each, f"{where}[{n}]") for n, each in enumerate(operand)))


def _equal(path: str, operand: Any, where: str) -> Filter:
    return In(path, (_operand(operand, where),))


def _exists(path: str, operand: Any, where: str) -> Filter:
    if not isinstance(operand, bool):
        raise _invalid(where, "must be true or false")
    return Exists(path) if operand else Not(Exists(path))


def _ordered(operand: Any, where: str) -> Bound:
    value = _operand(operand, where)
    if value is None or isinstance(value, bool):
        raise _invalid(where, f'must be a number, a text, or {{"{_DATETIME}": …}}: nothing else has an order')
    return value


_OPERATORS: Final[dict[str, Callable[[str, Any, str], Filter]]] = {
    "$eq": _equal,
    "$ne": lambda path, operand, where: Not(_equal(path, operand, where)),
    "$lt": lambda path, operand, where: Range(path, high=_ordered(operand, where), high_inclusive=False),
    "$lte": lambda path, operand, where: Range(path, high=_ordered(operand, where)),
    "$gt": lambda path, operand, where: Range(path, low=_ordered(operand, where), low_inclusive=False),
    "$gte": lambda path, operand, where: Range(path, low=_ordered(operand, where)),
    "$in": _in,
    "$nin": lambda path, operand, where: Not(_in(path, operand, where)),
    "$exists": _exists,
}
_KNOWN: Final = ", ".join((*_OPERATORS, "$not"))


def _operand(value: Any, where: str) -> Operand:
    if isinstance(value, Mapping) and _DATETIME in value:
        return _instant(value, where)
    return _scalar(value, where)


def _instant(given: Mapping[Any, Any], where: str) -> Instant:
    others = [key for key in given if key != _DATETIME]
    if others:
        raise _invalid(f"{where}.{others[0]}", f'stands beside {_DATETIME}: write {{"$gte": {{"{_DATETIME}": …}}}}')
    where = f"{where}.{_DATETIME}"
    text = given[_DATETIME]
    if not isinstance(text, str):
        raise _invalid(where, "must be a text: an RFC 3339 date-time such as 2024-05-01T10:00:00+02:00")
    instant = read_instant(text)
    if instant is None:
        shown = repr(text[:LONGEST])
        raise _invalid(where, f"{shown} is not an RFC 3339 date-time with an offset, such as 2024-05-01T10:00:00+02:00")
    return instant


def _scalar(value: Any, where: str) -> Scalar:
    if isinstance(value, list):
        raise _invalid(where, "a list cannot be compared with; `$in` takes a list")
    if isinstance(value, Mapping):
        raise _invalid(
            where, f'an object cannot be compared with, except {{"{_DATETIME}": …}}; join nested keys with dots'
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise _invalid(where, "must be a finite number")
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > MAX_SAFE_INTEGER:
        raise _invalid(where, "is beyond ±2^53")
    if value is not None and not isinstance(value, bool | int | float | str):
        raise _invalid(where, f"{type(value).__name__} is not a JSON value")
    if isinstance(value, str) and not _is_text(value):
        raise _invalid(where, "is not valid text")
    return value


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _invalid(where: str, message: str) -> VisualSearchError:
    message = message.encode(errors="backslashreplace").decode()
    # A key may hold characters that no answer can carry (lone surrogates), and may be as long as the request.
    where = where.encode(errors="backslashreplace").decode()
    if len(where) > _MOST_SHOWN:
        where = f"{where[:_MOST_SHOWN]}…"
    return VisualSearchError("invalid_filter", f"{where}: {message}", path=where)
