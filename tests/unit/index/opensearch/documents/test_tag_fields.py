"""Tags as OpenSearch indexes them: exact, ordered, and never more fields than there is room for."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.index.opensearch.documents.tag_fields import (
    exists_term,
    index_tags,
    kind_bounds,
    typed_name,
    value_term,
    wanted_fields,
    whole_term,
)

NUMBERS = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))
PATHS = ["a", "a.b", "a\x00b", "a\x01b", "a\x00", "ä", "A", "", "x" * 5_000, "x" * 5_001]


@given(NUMBERS, NUMBERS)
def test_terms_of_numbers_are_in_the_order_of_the_numbers(one: float, other: float) -> None:
    first, second = value_term("p", one).encode(), value_term("p", other).encode()
    assert (first < second) == (one < other)
    assert (first == second) == (one == other)


@given(st.text(max_size=50), st.text(max_size=50))
def test_terms_of_texts_are_in_the_order_of_code_points(one: str, other: str) -> None:
    first, second = value_term("p", one).encode(), value_term("p", other).encode()
    assert (first < second) == (one < other)
    assert (first == second) == (one == other)


@given(NUMBERS | st.text(max_size=2_000))
def test_values_lie_within_the_bounds_of_their_kind(value: Any) -> None:
    first, last = kind_bounds("p", "string" if isinstance(value, str) else "number")
    assert first.encode() <= value_term("p", value).encode() < last.encode()


def test_long_texts_become_short_terms_that_tell_them_apart() -> None:
    texts = ["ä" * 40_000, "ä" * 40_001, "ä" * 15_001, "ä" * 15_000 + "b"]
    terms = [value_term("p", text) for text in texts]
    assert len(set(terms)) == len(texts)
    assert all(len(term.encode()) < 32_766 for term in terms)
    assert value_term("p", "a") < min(terms)


def test_no_two_paths_or_kinds_share_a_term() -> None:
    values: list[Any] = [None, True, False, 0, 1, "", "0", "1", "true", "\x00", "e"]
    terms = [value_term(path, value) for path in PATHS for value in values]
    terms += [exists_term(path) for path in PATHS] + [whole_term(path, 1) for path in PATHS]
    assert len(set(terms)) == len(terms)


def test_names_of_fields_are_plain_and_tell_paths_and_kinds_apart() -> None:
    names = [typed_name(path, value) for path in PATHS[:7] for value in ("t", 1, True)]
    assert len(set(names)) == len(names)
    for name in names:
        kind, _, plain = name.partition(".")
        assert kind in "knb"
        assert "." not in plain
        assert plain.isascii()
        assert plain.isprintable()
    assert typed_name("x" * 5_000, 1) == ""
    assert typed_name("p", "t" * 5_000) == ""
    assert typed_name("p", None) == ""
    assert typed_name("", "t") == ""


def test_values_are_typed_where_a_field_exists_and_terms_everywhere_else() -> None:
    tags = {"price": 5, "brand": ["acme", "zenith"], "sold": True, "note": None, "deep": {"x": [1, "1"]}}
    indexed = index_tags(tags, frozenset({"n.price", "k.brand", "k.deep~2e~x"}))
    assert indexed.typed == {"n": {"price": [5]}, "k": {"brand": ["acme", "zenith"], "deep~2e~x": ["1"]}}
    for path in ("price", "brand", "sold", "note", "deep", "deep.x"):
        assert exists_term(path) in indexed.terms
    for path, value in (("sold", True), ("note", None), ("deep.x", 1)):
        assert value_term(path, value) in indexed.terms
    assert value_term("price", 5) not in indexed.terms


def test_whole_values_are_those_that_groups_find() -> None:
    indexed = index_tags({"x": {"w": 1}, "x.w": 2, "list": [{"w": 3}]}, frozenset())
    assert whole_term("x.w", 2) in indexed.terms
    assert whole_term("x.w", 1) not in indexed.terms
    assert whole_term("list", [{"w": 3}]) in indexed.terms
    assert whole_term("list.w", 3) not in indexed.terms


def test_a_document_with_too_many_new_paths_gets_no_fields() -> None:
    assert wanted_fields({"a": 1, "b": {"c": "t"}}, frozenset({"n.a"})) == {"k.b~2e~c": "k"}
    assert wanted_fields({f"key {n}": n for n in range(1_000)}, frozenset()) == {}


@pytest.mark.parametrize(
    ("one", "other"), [(1, 1.0), (0.0, -0.0), ({"a": 1, "b": 2}, {"b": 2.0, "a": 1}), ([1], [1.0])]
)
def test_equal_values_have_equal_terms(one: Any, other: Any) -> None:
    assert whole_term("p", one) == whole_term("p", other)
    if not isinstance(one, dict | list):
        assert value_term("p", one) == value_term("p", other)


def test_the_order_of_terms_is_that_of_a_few_numbers_one_can_see() -> None:
    numbers = [-(2**53), -1.5, -1, -5e-324, 0, 5e-324, 0.5, 1, 2**53]
    assert all(one < other for one, other in pairwise(value_term("p", number) for number in numbers))
