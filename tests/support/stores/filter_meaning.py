"""A second evaluator of filters, written from the tables of executors/index/README.md alone; shares no code with the product.

It walks the tags for every condition, knows no indexes and no order of evaluation, and reads date-times with Python's own
calendar. `documents` and `filters` make what it is held against the product with.
"""

from __future__ import annotations

import datetime
import random
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

# Stands for an object, and for an array without elements: the path is there, and equals nothing.
THERE = object()


def holds(given: dict[str, Any], tags: dict[str, Any]) -> bool:
    """Whether a document with these tags matches the filter."""
    return all(_entry(key, value, tags) for key, value in given.items())


def _entry(key: str, value: Any, tags: dict[str, Any]) -> bool:
    if key == "$and":
        return all(holds(each, tags) for each in value)
    if key == "$or":
        return any(holds(each, tags) for each in value)
    if key == "$not":
        return not holds(value, tags)
    found = list(reached(tags, key))
    if isinstance(value, dict) and "$datetime" not in value:
        return _operators(value, found)
    return any(_same(each, value) for each in found)


def _operators(given: dict[str, Any], found: list[Any]) -> bool:
    return all(_OPERATORS[name](found, operand) for name, operand in given.items())


def reached(value: Any, path: str | None) -> Iterator[Any]:
    """Everything at the path: arrays stand for their elements, a key may itself have dots."""
    if isinstance(value, list):
        for each in value:
            yield from reached(each, path)
        if path is None and not value:
            yield THERE
    elif isinstance(value, dict):
        if path is None:
            yield THERE
            return
        for key, inner in value.items():
            if key == path:
                yield from reached(inner, None)
            elif path.startswith(f"{key}."):
                yield from reached(inner, path[len(key) + 1 :])
    elif path is None:
        yield value


def _type(value: Any) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "text", type(None): "null"}
    return names.get(type(value), "nothing")


def _same(value: Any, operand: Any) -> bool:
    if isinstance(operand, dict):
        moment = _moment(value)
        return moment is not None and moment == _moment(operand["$datetime"])
    return _type(value) == _type(operand) != "nothing" and value == operand


def _compared(decide: Callable[[Any, Any], bool]) -> Callable[[list[Any], Any], bool]:
    def compare(found: list[Any], operand: Any) -> bool:
        if isinstance(operand, dict):
            bound = _moment(operand["$datetime"])
            moments = [moment for each in found if (moment := _moment(each)) is not None]
            return any(decide(moment, bound) for moment in moments)
        return any(_type(each) == _type(operand) and decide(_ordered(each), _ordered(operand)) for each in found)

    return compare


def _ordered(value: Any) -> Any:
    """Texts by code points, numbers exactly."""
    return [ord(each) for each in value] if isinstance(value, str) else Fraction(value)


def _moment(value: Any) -> Fraction | None:
    """Seconds since the year 1 began in UTC, where the text is a date-time of RFC 3339."""
    form = r"(\d{4}-\d\d-\d\d)[Tt ](\d\d):(\d\d):(\d\d)(\.\d{1,30})?([Zz]|[+-]\d\d:\d\d)"
    found = re.fullmatch(form, value, re.ASCII) if isinstance(value, str) else None
    if found is None:
        return None
    date, hour, minute, second, fraction, zone = found.groups()
    try:
        day = datetime.date.fromisoformat(date)
        datetime.time(int(hour), int(minute), min(int(second), 59))
        offset = Fraction(0)
        if zone not in "Zz":
            there = datetime.time(int(zone[1:3]), int(zone[4:6]))
            offset = Fraction((there.hour * 60 + there.minute) * (60 if zone[0] == "+" else -60))
    except ValueError:
        return None
    whole = Fraction(day.toordinal() - 1) * 86_400 + int(hour) * 3600 + int(minute) * 60 + int(second) - offset
    if int(second) > 59:
        # Only at the end of a month of UTC.
        last = datetime.date.fromordinal(int(whole // 86_400) + 1)
        if int(second) > 60 or whole % 86_400 or last.day != 1:
            return None
    return whole + Fraction(f"0{fraction or '.0'}")


_OPERATORS: dict[str, Callable[[list[Any], Any], bool]] = {
    "$eq": lambda found, operand: any(_same(each, operand) for each in found),
    "$ne": lambda found, operand: not any(_same(each, operand) for each in found),
    "$in": lambda found, operand: any(_same(each, one) for each in found for one in operand),
    "$nin": lambda found, operand: not any(_same(each, one) for each in found for one in operand),
    "$lt": _compared(lambda value, bound: value < bound),
    "$lte": _compared(lambda value, bound: value <= bound),
    "$gt": _compared(lambda value, bound: value > bound),
    "$gte": _compared(lambda value, bound: value >= bound),
    "$exists": lambda found, operand: bool(found) is operand,
    "$not": lambda found, operand: not _operators(operand, found),
}

_NUMBERS: list[Any] = [0, -0.0, 1, 1.0, -1, 0.5, 2, 3, 1e300, 2**53, 2**53 - 1, -(2**53), 5e-324]
_TEXTS = ["", "a", "b", "1", "true", "ä", "a\x00", "\uffff", "\U0001f431", "long " * 80, "long " * 80 + "a"]
_TIMES = [
    "2024-05-01T10:00:00+02:00",
    "2024-05-01T08:00:00Z",
    "2024-05-01t08:00:00.000z",
    "2024-05-01 08:00:00.5-00:00",
    "2024-05-01T08:00:00.50+00:00",
    "2024-05-01T08:00:00.123456789012345678901234567891Z",
    "2024-05-01T08:00:00.12345678901234567890123456789Z",
    "2024-04-30T23:30:00-23:59",
    "2024-05-02T01:00:00+23:59",
    "2016-12-31T23:59:60Z",
    "2017-01-01T00:59:60+01:00",
    "2017-01-01T00:00:00Z",
    "0001-01-02T00:00:00Z",
    "9999-12-30T23:59:59Z",
    "2024-02-29T12:00:00Z",
]
_NO_TIMES = [
    "2023-02-29T12:00:00Z",
    "2024-05-01",
    "2024-05-01T10:00:00",
    "2024-05-01T24:00:00Z",
    "2024-05-01T10:60:00Z",
    "2024-05-01T10:00:60Z",
    "2024-05-01T10:00:00+24:00",
    "2024-05-01T10:00:00.Z",
    "2024-05-01T10:00:00Z ",
    "2024-05-01T10:00Z",
    "2024-05-01T10:00:00+0200",
    "2024-05-01 lunch",
]
_KEYS = ["a", "b", "c", "a.b", "", "when"]
_PATHS = ["a", "b", "c", "a.b", "a.b.c", "", ".", ".a", "a.", "a..b", "when", "when", "a.when", "nowhere"]


def documents(seed: int, count: int) -> dict[str, dict[str, Any]]:
    """Tags by id."""
    chance = random.Random(seed)
    return {f"{n:05d}": _object(chance, 0) for n in range(count)}


def filters(seed: int, count: int) -> Iterator[dict[str, Any]]:
    """Filters that can be evaluated."""
    chance = random.Random(seed)
    for _ in range(count):
        yield _filter(chance, 0)


def _scalar(chance: random.Random) -> Any:
    kind = chance.randrange(8)
    if kind < 2:
        return chance.choice(_NUMBERS)
    if kind == 2:
        return chance.choice(_TEXTS)
    if kind == 3:
        return chance.choice([None, True, False])
    return chance.choice(_NO_TIMES) if kind == 4 else chance.choice(_TIMES) if kind < 7 else chance.randrange(5)


def _value(chance: random.Random, depth: int) -> Any:
    kind = chance.random()
    if kind < 0.6 or depth > 2:
        return _scalar(chance)
    if kind < 0.8:
        return [_value(chance, depth + 1) for _ in range(chance.randrange(4))]
    return _object(chance, depth + 1)


def _object(chance: random.Random, depth: int) -> dict[str, Any]:
    return {chance.choice(_KEYS): _value(chance, depth) for _ in range(chance.randrange(5 if depth == 0 else 3))}


def _filter(chance: random.Random, depth: int) -> dict[str, Any]:
    kind = chance.random()
    if kind < 0.65 or depth > 2:
        return {chance.choice(_PATHS): _condition(chance) for _ in range(chance.choice([0, 1, 1, 1, 1, 2]))}
    if kind < 0.75:
        return {"$not": _filter(chance, depth + 1)}
    name = chance.choice(["$and", "$or"])
    return {name: [_filter(chance, depth + 1) for _ in range(chance.randint(1, 3))]}


def _condition(chance: random.Random) -> Any:
    if chance.random() < 0.3:
        return _operand(chance)
    return _operations(chance, 0)


def _operations(chance: random.Random, depth: int) -> dict[str, Any]:
    names = chance.sample(sorted(_OPERATORS), chance.choice([1, 1, 2, 3]))
    return {name: _operand_of(name, chance, depth) for name in names if name != "$not" or depth < 2} or {"$ne": 1}


def _operand_of(name: str, chance: random.Random, depth: int) -> Any:
    if name == "$exists":
        return chance.random() < 0.5
    if name in ("$in", "$nin"):
        return [_operand(chance) for _ in range(chance.randrange(4))]
    if name == "$not":
        return _operations(chance, depth + 1)
    if name in ("$eq", "$ne"):
        return _operand(chance)
    return chance.choice(
        [_moment_operand, lambda some: some.choice(_NUMBERS), lambda some: some.choice(_TEXTS + _TIMES)]
    )(chance)


def _operand(chance: random.Random) -> Any:
    return _moment_operand(chance) if chance.random() < 0.4 else _scalar(chance)


def _moment_operand(chance: random.Random) -> dict[str, str]:
    return {"$datetime": chance.choice(_TIMES)}
