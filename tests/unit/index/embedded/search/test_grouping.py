"""Groups: the best hit of each, all groups that exist, and no more documents read than necessary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from executors.index.embedded.disk.reads import HitFields
from executors.index.embedded.search.exact import Best
from executors.index.embedded.search.grouping import best_of_groups
from executors.index.embedded.tags.rowsets import Rows
from executors.index.tag_values import value_at, value_key


class Ranking:
    """Documents in the order of their scores, each with its tags and its parent."""

    def __init__(self, tags: Sequence[dict[str, Any]], parents: Sequence[str | None] | None = None) -> None:
        self._fields = [
            HitFields(f"id {n}", "1", None, each, parent, None)
            for n, (each, parent) in enumerate(zip(tags, parents or [None] * len(tags), strict=True))
        ]
        self.asked: list[int] = []

    def rank(self, among: Rows | None, limit: int) -> Best:
        self.asked.append(limit)
        rows = (list(range(len(self._fields))) if among is None else among.tolist())[:limit]
        return Best(rows, [f"id {row}" for row in rows], [1.0 - row / 1000 for row in rows])

    def fields_of(self, rows: Sequence[int]) -> dict[int, HitFields]:
        return {row: self._fields[row] for row in rows}

    def left(self, rows: Rows | None, seen: Sequence[int], groups: Sequence[Any]) -> Rows:
        """Groups of arrays are not distinguished, as in the index."""
        known = {value_key(each) for each in groups if not isinstance(each, list | dict)}
        asked = range(len(self._fields)) if rows is None else rows.tolist()
        return np.array(
            [
                row
                for row in asked
                if row not in seen and value_key(value_at(self._fields[row].tags, self.path)[1]) not in known
            ],
            dtype=np.int64,
        )

    def groups(self, path: str, limit: int, available: int | None = None) -> tuple[list[int], list[Any]]:
        self.path = path
        count = len(self._fields) if available is None else available
        best, values = best_of_groups(path, limit, count, self.rank, self.fields_of, self.left)
        assert best.ids == [f"id {row}" for row in best.rows]
        assert best.scores == [1.0 - row / 1000 for row in best.rows]
        return best.rows, values


def test_the_best_of_each_group_comes_best_first() -> None:
    ranking = Ranking([{"brand": brand} for brand in "aabacbc"])
    assert ranking.groups("brand", 10) == ([0, 2, 4], ["a", "b", "c"])
    assert ranking.groups("brand", 2) == ([0, 2], ["a", "b"])


def test_the_search_goes_on_without_the_groups_found_until_there_are_enough() -> None:
    ranking = Ranking([{"brand": 0}] * 500 + [{"brand": 1}] * 500 + [{"brand": 2}] * 10)
    assert ranking.groups("brand", 3) == ([0, 500, 1000], [0, 1, 2])
    assert ranking.asked == [12, 12, 10]


def test_where_groups_are_not_told_apart_the_search_is_widened() -> None:
    ranking = Ranking([{"brand": [0]}] * 500 + [{"brand": [1]}] * 500 + [{"brand": [2]}] * 10)
    assert ranking.groups("brand", 3) == ([0, 500, 1000], [[0], [1], [2]])
    assert ranking.asked == sorted(ranking.asked), "each time wider"
    assert len(ranking.asked) < 8


def test_it_ends_when_nothing_is_left() -> None:
    ranking = Ranking([{"brand": 0}] * 30)
    assert ranking.groups("brand", 3) == ([0], [0])
    assert ranking.groups("brand", 3, available=1_000_000) == ([0], [0])
    assert len(ranking.asked) < 10


def test_an_empty_collection_has_no_groups() -> None:
    assert Ranking([]).groups("brand", 3) == ([], [])


def test_no_more_is_looked_at_than_it_takes() -> None:
    ranking = Ranking([{"n": n} for n in range(1000)])
    assert ranking.groups("n", 5)[0] == [0, 1, 2, 3, 4]
    assert len(ranking.asked) == 1
    assert ranking.asked[0] < 100


def test_a_document_without_the_tag_is_in_no_group_and_null_is_one() -> None:
    ranking = Ranking([{}, {"a": None}, {"a": {"b": 1}}, {"a": {}}, {"a": None}])
    assert ranking.groups("a", 9) == ([1, 2, 3], [None, {"b": 1}, {}])
    assert ranking.groups("a.b", 9) == ([2], [1])


def test_numbers_that_are_equal_are_one_group_and_show_the_best_hits_value() -> None:
    ranking = Ranking([{"n": 1.0}, {"n": 1}, {"n": True}, {"n": "1"}, {"n": [1]}, {"n": [1.0]}, {"n": -0.0}, {"n": 0}])
    rows, values = ranking.groups("n", 9)
    assert rows == [0, 2, 3, 4, 6]
    assert [repr(value) for value in values] == ["1.0", "True", "'1'", "[1]", "-0.0"]


def test_a_picture_stands_with_what_came_from_it() -> None:
    ranking = Ranking([{}] * 5, parents=["id 3", None, "id 1", None, "x"])
    assert ranking.groups("parent", 9) == ([0, 1, 4], ["id 3", "id 1", "x"])


@given(st.lists(st.integers(0, 12), max_size=300), st.integers(1, 15))
def test_it_is_what_looking_at_everything_gives(brands: list[int], limit: int) -> None:
    first: dict[int, int] = {}
    for row, brand in enumerate(brands):
        first.setdefault(brand, row)
    rows, values = Ranking([{"brand": brand} for brand in brands]).groups("brand", limit)
    assert dict(zip(values, rows, strict=True)) == dict(list(first.items())[:limit])
    assert rows == sorted(rows)
