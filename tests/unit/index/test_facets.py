"""Which conditions a facet leaves out, and which values are the same."""

from __future__ import annotations

from typing import Any

import pytest

from executors.errors import VisualSearchError
from executors.index.facets import Tally, order_of, plain_value, without_path
from executors.index.filters import parse_filter


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({}, None),
        ({"a": 1}, None),
        ({"b": 1}, {"b": 1}),
        ({"a": 1, "b": 2}, {"b": 2}),
        ({"a": {"$gt": 1, "$lt": 5}, "b": 2}, {"b": 2}),
        ({"a": {"$ne": 1}, "$not": {"a": {"$exists": False}}}, None),
        ({"$and": [{"a": 1}, {"b": 2}, {"$and": [{"a": 3}, {"c": 4}]}]}, {"b": 2, "c": 4}),
        ({"$or": [{"a": 1}, {"a": {"$gt": 7}}], "b": 2}, {"b": 2}),
        ({"$or": [{"a": 1}, {"b": 1}]}, {"$or": [{"a": 1}, {"b": 1}]}),
        ({"$not": {"a": 1, "b": 2}}, {"$not": {"a": 1, "b": 2}}),
        ({"a.b": 1, "a": 2}, {"a.b": 1}),
    ],
)
def test_conditions_on_the_path_alone_are_left_out(given: dict[str, Any], left: dict[str, Any] | None) -> None:
    assert without_path(parse_filter(given), "a") == (None if left is None else parse_filter(left))
    assert without_path(None, "a") is None


def test_equal_values_are_counted_as_one_and_others_apart() -> None:
    tally = Tally("v")
    for value in (1, 1.0, True, "1", None, 0, -0.0, False, "", 1e300, 2.5, "1"):
        tally.add(value, 1)
    counts = {repr(value): count for value, count in tally.pairs()}
    assert counts == {
        "1": 2, "True": 1, "'1'": 2, "None": 1, "0": 2, "False": 1, "''": 1, "1e+300": 1, "2.5": 1,
    }  # fmt: skip
    assert len(tally) == 9


def test_a_document_counts_once_for_each_of_its_values() -> None:
    tally = Tally("a.b")
    tally.add_tags({"a": [{"b": [1, 1.0, "x"]}, {"b": 1}, {"b": {}}, {"b": []}], "a.b": True})
    tally.add_tags({"a": 1})
    assert sorted(tally.pairs(), key=lambda pair: order_of(pair[0])) == [(True, 1), (1, 1), ("x", 1)]


def test_values_are_bounded_in_number_and_length(monkeypatch: pytest.MonkeyPatch) -> None:
    tally = Tally("v", 2)
    tally.add("a", 1)
    tally.add("b", 1)
    tally.add("a", 5)
    with pytest.raises(VisualSearchError) as refused:
        tally.add(1, 1)
    assert refused.value.to_json()["details"] == {"path": "v", "limit": 2}
    monkeypatch.setattr("executors.index.facets.MAX_CHARACTERS", 10)
    with pytest.raises(VisualSearchError, match="too_many_values"):
        Tally("v").add("x" * 11, 1)


def test_whole_numbers_are_integers() -> None:
    assert [repr(plain_value(each)) for each in (2.0, -0.0, 2**53, 1e15, 0.5, True, "1.0")] == [
        "2", "0", str(2**53), "1000000000000000", "0.5", "True", "'1.0'",
    ]  # fmt: skip
