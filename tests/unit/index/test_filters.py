"""The meaning of filters, row by row as in executors/index/README.md, and the errors of bad ones."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.errors import VisualSearchError
from executors.index.filters import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    And,
    In,
    Not,
    Range,
    flatten,
    matches,
    parse_filter,
)
from tests.support.stores.filter_meaning import documents, filters, holds

DEEP: dict[str, Any] = {"$and": [{"a": 1}]}
for _ in range(MAX_DEPTH):
    DEEP = {"$not": DEEP}
DEEP_OPERATORS: dict[str, Any] = {"$eq": 1}
for _ in range(MAX_DEPTH + 1):
    DEEP_OPERATORS = {"$not": DEEP_OPERATORS}


# filter, tags that match, tags that don't
MEANINGS: list[tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]] = [
    # everything
    ({}, [{}, {"a": 1}], []),
    # equality, the short form and the long
    ({"a": 1}, [{"a": 1}, {"a": 1.0}], [{"a": 2}, {"a": True}, {"a": "1"}, {"a": None}, {"a": {"b": 1}}, {}]),
    ({"a": {"$eq": "x"}}, [{"a": "x"}], [{"a": "X"}, {"a": "x "}, {"a": ["y"]}, {}]),
    ({"a": True}, [{"a": True}], [{"a": 1}, {"a": "true"}, {"a": False}]),
    ({"a": 0}, [{"a": 0}, {"a": -0.0}], [{"a": False}, {"a": None}, {"a": ""}, {"a": []}]),
    ({"a": 2**53}, [{"a": 2**53}, {"a": float(2**53)}], [{"a": 2**53 - 1}]),
    ({"a": "a\x00b"}, [{"a": "a\x00b"}], [{"a": "a"}, {"a": "a\x00c"}]),
    # null is a value, a missing key is none
    ({"a": None}, [{"a": None}, {"a": [1, None]}], [{}, {"a": 0}, {"a": []}, {"a": {}}, {"a": ""}]),
    ({"a": {"$ne": None}}, [{}, {"a": 0}, {"a": []}], [{"a": None}, {"a": [None, 1]}]),
    # what negates holds for documents without the path
    ({"a": {"$ne": 1}}, [{}, {"a": 2}, {"a": "1"}, {"a": []}, {"b": 1}], [{"a": 1}, {"a": [2, 1]}]),
    ({"a": {"$nin": [1, "x"]}}, [{}, {"a": 2}, {"a": True}], [{"a": 1.0}, {"a": "x"}, {"a": ["y", "x"]}]),
    ({"a": {"$not": {"$lt": 5}}}, [{}, {"a": 5}, {"a": "x"}], [{"a": 4}, {"a": [9, 4]}]),
    ({"$not": {"a": 1, "b": 2}}, [{}, {"a": 1}, {"b": 2}], [{"a": 1, "b": 2, "c": 3}]),
    # sets
    ({"a": {"$in": [1, "x", None]}}, [{"a": 1}, {"a": "x"}, {"a": None}, {"a": [7, "x"]}], [{}, {"a": True}]),
    ({"a": {"$in": []}}, [], [{}, {"a": 1}, {"a": None}]),
    ({"a": {"$nin": []}}, [{}, {"a": 1}], []),
    # order, within one type
    ({"a": {"$lt": 5}}, [{"a": 4}, {"a": 4.9}, {"a": -1e300}], [{"a": 5}, {"a": "4"}, {"a": True}, {"a": None}, {}]),
    ({"a": {"$lte": 5}}, [{"a": 5}, {"a": 5.0}], [{"a": 5.1}, {"a": []}]),
    ({"a": {"$gt": 5}}, [{"a": 5.1}, {"a": 2**53}], [{"a": 5}, {"a": "6"}]),
    ({"a": {"$gte": 0.5}}, [{"a": 0.5}, {"a": 1}], [{"a": 0}, {"a": True}]),
    ({"a": {"$gte": "b", "$lt": "c"}}, [{"a": "b"}, {"a": "bz"}], [{"a": "a"}, {"a": "c"}, {"a": "B"}, {"a": 5}]),
    # by code points: an emoji is after U+FFFF, unlike in UTF-16
    ({"a": {"$gt": "\uffff"}}, [{"a": "\U0001f431"}], [{"a": "é"}]),
    # arrays: one of the values is enough, each condition for itself
    ({"a": "x"}, [{"a": ["y", "x"]}, {"a": [["x"]]}], [{"a": ["y"]}, {"a": []}]),
    ({"a": {"$gt": 5, "$lt": 10}}, [{"a": 7}, {"a": [1, 20]}], [{"a": [1, 2]}, {"a": 20}]),
    # nested keys by dots, through arrays, and the same as keys that have dots
    ({"a.b": 1}, [{"a": {"b": 1}}, {"a": [{"b": 2}, {"b": 1}]}, {"a.b": 1}], [{"a": 1}, {"b": 1}, {"a": {"c": 1}}]),
    ({"a.": 1}, [{"a": {"": 1}}], [{"a": 1}]),
    ({".a": 1}, [{"": {"a": 1}}], [{"a": 1}]),
    ({"": 1}, [{"": 1}, {"": [2, 1]}], [{"a": 1}, {"": {"": 1}}, {}]),
    ({".": 1}, [{"": {"": 1}}, {".": 1}], [{"": 1}]),
    ({"a..b": 1}, [{"a": {"": {"b": 1}}}, {"a.": {"b": 1}}], [{"a": {"b": 1}}]),
    # moments
    (
        {"a": {"$datetime": "2024-05-01T08:00:00Z"}},
        [{"a": "2024-05-01T10:00:00+02:00"}],
        [{"a": "2024-05-01T10:00:00Z"}, {"a": 5}, {"a": None}, {"a": "x"}, {"a": []}, {}],
    ),
    (
        {"a": {"$not": {"$lt": {"$datetime": "2024-05-01T08:00:00Z"}}}},
        [{"a": "x"}, {}, {"a": "2024-05-01T08:00:00Z"}],
        [{"a": "2024-05-01T09:59:59.999+02:00"}],
    ),
    # presence
    ({"a": {"$exists": True}}, [{"a": None}, {"a": []}, {"a": {}}, {"a": {"b": 1}}, {"a": False}], [{}, {"b": 1}]),
    ({"a": {"$exists": False}}, [{}, {"b": 1}], [{"a": None}, {"a": []}]),
    ({"a.b": {"$exists": True}}, [{"a": {"b": None}}, {"a": [{"b": 1}]}], [{"a": 1}, {"a": {}}]),
    # combinations
    ({"a": 1, "b": 2}, [{"a": 1, "b": 2}], [{"a": 1}, {"b": 2}]),
    ({"$and": [{"a": 1}, {"a": 2}]}, [{"a": [1, 2]}], [{"a": 1}, {"a": 2}]),
    ({"$or": [{"a": 1}, {"b": 2}], "c": 3}, [{"a": 1, "c": 3}, {"b": 2, "c": 3}], [{"a": 1}, {"c": 3}]),
]


@pytest.mark.parametrize(("where", "match", "differ"), MEANINGS, ids=lambda value: repr(value)[:60])
def test_a_filter_means_what_the_table_says(
    where: dict[str, Any], match: list[dict[str, Any]], differ: list[dict[str, Any]]
) -> None:
    parsed = parse_filter(where)
    assert [tags for tags in match if not matches(parsed, tags)] == []
    assert [tags for tags in differ if matches(parsed, tags)] == []


# filter, path in the error, a word of its message
BAD: list[tuple[Any, str, str]] = [
    (None, "filter", "object"),
    ("a = 1", "filter", "object"),
    ([{"a": 1}], "filter", "object"),
    ({"$and": {"a": 1}}, "filter.$and", "list"),
    ({"$or": []}, "filter.$or", "at least one"),
    ({"$or": [{"a": 1}, 5]}, "filter.$or[1]", "object"),
    ({"$and": [{"a": {"$gt": None}}]}, "filter.$and[0].a.$gt", "order"),
    ({"$not": [1]}, "filter.$not", "object"),
    ({"$nor": [{"a": 1}]}, "filter.$nor", "unknown operator"),
    ({"a": {}}, "filter.a", "no operator"),
    ({"a": {"$regex": "x"}}, "filter.a.$regex", "$exists"),
    ({"a": {"b": 1}}, "filter.a.b", "dots"),
    ({"a": {"$eq": 1, "b": 1}}, "filter.a.b", "dots"),
    ({"a": [1]}, "filter.a", "$in"),
    ({"a": {"$eq": {"b": 1}}}, "filter.a.$eq", "dots"),
    ({"a": {"$in": "x"}}, "filter.a.$in", "list"),
    ({"a": {"$in": [1, [2]]}}, "filter.a.$in[1]", "$in"),
    ({"a": {"$nin": [{}]}}, "filter.a.$nin[0]", "object"),
    ({"a": {"$lt": True}}, "filter.a.$lt", "order"),
    ({"a": {"$exists": 1}}, "filter.a.$exists", "true or false"),
    ({"a": {"$not": 5}}, "filter.a.$not", "operators"),
    ({"a": float("nan")}, "filter.a", "finite"),
    ({"a": {"$lt": float("inf")}}, "filter.a.$lt", "finite"),
    ({"a": 2**53 + 1}, "filter.a", "2^53"),
    ({"a": {"$in": [-(2**53) - 1]}}, "filter.a.$in[0]", "2^53"),
    ({"a": {"$gte": {"$datetime": "2024-05-01"}}}, "filter.a.$gte.$datetime", "offset"),
    ({"a": {"$gte": {"$datetime": "2024-05-01T10:00:00"}}}, "filter.a.$gte.$datetime", "offset"),
    ({"a": {"$datetime": "2024-13-01T10:00:00Z"}}, "filter.a.$datetime", "RFC 3339"),
    ({"a": {"$in": [1, {"$datetime": 5}]}}, "filter.a.$in[1].$datetime", "text"),
    ({"a": {"$eq": {"$datetime": "\ud800"}}}, "filter.a.$eq.$datetime", "RFC 3339"),
    ({"a": {"$datetime": "2024-05-01T10:00:00Z", "$gt": 1}}, "filter.a.$gt", "beside"),
    ({"a": {"$exists": {"$datetime": "2024-05-01T10:00:00Z"}}}, "filter.a.$exists", "true or false"),
    ({"$datetime": "2024-05-01T10:00:00Z"}, "filter.$datetime", "unknown operator"),
    ({"a": b"x"}, "filter.a", "bytes"),
    ({"a": "\ud800"}, "filter.a", "text"),
    ({"\ud800": 1}, "filter.\\ud800", "text"),
    ({"a": {"$in": list(range(MAX_CONDITIONS + 1))}}, "filter.a.$in", str(MAX_CONDITIONS)),
    ({"$or": [{}] * (MAX_CONDITIONS + 1)}, f"filter.$or[{MAX_CONDITIONS}]", str(MAX_CONDITIONS)),
    ({"$or": [{"a": {"$nin": [1] * MAX_CONDITIONS}}, {"b": 1}]}, "filter.$or[1].b", str(MAX_CONDITIONS)),
    (DEEP, "filter" + ".$not" * MAX_DEPTH + ".$and[0]", "deep"),
    ({"a": DEEP_OPERATORS}, "filter.a" + ".$not" * (MAX_DEPTH + 1), "deep"),
]


@pytest.mark.parametrize(("where", "path", "words"), BAD, ids=lambda value: repr(value)[:60])
def test_a_bad_filter_is_told_what_is_wrong_and_where(where: Any, path: str, words: str) -> None:
    with pytest.raises(VisualSearchError) as refused:
        parse_filter(where)
    assert refused.value.code == "invalid_filter"
    assert refused.value.details == {"path": path}
    assert refused.value.message.startswith(f"{path}: ")
    assert words in refused.value.message


def test_the_largest_filters_are_accepted() -> None:
    assert matches(parse_filter({"a": {"$in": list(range(MAX_CONDITIONS))}}), {"a": MAX_CONDITIONS - 1})
    assert matches(parse_filter(DEEP["$not"]), {"a": 2}) != matches(parse_filter(DEEP["$not"]), {"a": 1})


def test_a_long_key_does_not_make_a_long_error() -> None:
    with pytest.raises(VisualSearchError) as refused:
        parse_filter({"k" * 100_000: {"$lt": None}})
    assert len(refused.value.message) < 1_000


def test_paths_that_meet_share_their_values() -> None:
    values = flatten({"a.b": 1, "a": [{"b": [2, []]}, 3]})
    assert [(leaf.value, leaf.empty) for leaf in values["a.b"]] == [(1, False), (2, False), (None, True)]
    assert [(leaf.value, leaf.empty) for leaf in values["a"]] == [(None, True), (3, False)]


def test_filters_are_equal_when_they_mean_the_same() -> None:
    assert parse_filter({"a": 1}) == parse_filter({"a": 1.0}) == In("a", (1,))
    assert hash(parse_filter({"a": 1})) == hash(parse_filter({"a": 1.0}))
    assert parse_filter({"a": 1}) != parse_filter({"a": True})
    assert parse_filter({"a": {"$in": [True, 2]}}) != parse_filter({"a": {"$in": [1, 2]}})
    assert parse_filter({"a": {"$in": ["x", "y"]}}) == parse_filter({"a": {"$in": ["y", "x", "x"]}})
    assert parse_filter({"a": {"$lt": 1}}) != parse_filter({"a": {"$lte": 1}})
    assert parse_filter({"a": {"$gt": 1, "$lt": 2}}) == And(
        (Range("a", low=1, low_inclusive=False), Range("a", high=2, high_inclusive=False))
    )


def test_moments_are_equal_whatever_their_offsets() -> None:
    first, same = (
        {"a": {"$gt": {"$datetime": each}}} for each in ("2024-05-01T08:00:00Z", "2024-05-01T10:00:00.0+02:00")
    )
    assert parse_filter(first) == parse_filter(same)
    assert hash(parse_filter(first)) == hash(parse_filter(same))
    assert parse_filter(first) != parse_filter({"a": {"$gt": "2024-05-01T08:00:00Z"}})


@given(st.integers(0, 10_000))
def test_random_filters_mean_what_a_second_evaluator_says(seed: int) -> None:
    tags = list(documents(seed, 20).values())
    for where in filters(seed, 10):
        parsed = parse_filter(where)
        assert [matches(parsed, each) for each in tags] == [holds(where, each) for each in tags], where


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["a", "$and", "$or", "$not", "$in", "$lt", "$exists", ""]), inner)
        ),
        max_leaves=8,
    )
)
def test_whatever_is_given_is_a_filter_or_refused(given_filter: Any) -> None:
    try:
        where = parse_filter(given_filter)
    except VisualSearchError as error:
        refused = error
    else:
        assert matches(where, {"a": 1}) is not matches(Not(where), {"a": 1})
        return
    assert refused.code == "invalid_filter"
    assert refused.message.encode(), "it can be sent"
