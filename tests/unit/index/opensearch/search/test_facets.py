"""The queries of facets, and the values of their buckets."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from executors.index.opensearch.documents.tag_fields import (
    any_whole_prefix,
    exists_term,
    is_cut,
    typed_name,
    value_of_term,
    value_term,
)
from executors.index.opensearch.search.facets import _pattern, typed_value

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=50),
)
PATHS = ["a", "a.b", "a\x00b", "a*b", "", "x" * 5_000, '(a|b)[c]{1}"\\#@&<>~^$-?+']


@given(st.sampled_from(PATHS), VALUES)
def test_a_term_tells_its_value(path: str, value: float | str | bool | None) -> None:
    term = value_term(path, value)
    read = value_of_term(path, term)
    assert read == value
    assert isinstance(read, bool) is isinstance(value, bool)
    assert not is_cut(path, term)


def test_a_text_that_was_cut_is_known_by_its_term() -> None:
    for text in ("x" * 30_001, "é" * 15_001, "日" * 20_000):
        assert is_cut("v", value_term("v", text))
    assert not is_cut("v", value_term("v", "x" * 20_000))


@given(st.sampled_from(PATHS), st.sampled_from(PATHS), VALUES)
def test_the_pattern_fits_the_values_of_its_path_only(path: str, other: str, value: float | str | bool | None) -> None:
    """Lucene's expressions, as far as they are used here, mean the same in Python."""
    pattern = re.compile(_pattern(path))
    assert (pattern.fullmatch(value_term(other, value)) is not None) == (path == other)
    assert pattern.fullmatch(exists_term(path)) is None
    assert pattern.fullmatch(f"{any_whole_prefix(path)}00ff") is None


def test_typed_values_keep_their_type() -> None:
    assert typed_value(typed_name("a", "x"), "x") == "x"
    assert [typed_value(typed_name("a", True), key) for key in (1, 0, "true", "false")] == [True, False, True, False]
    assert typed_value(typed_name("a", 1), 2.5) == 2.5
