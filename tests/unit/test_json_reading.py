"""JSON is read without changing a value."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.json_reading import read_json

numbers = st.integers(-(10**40), 10**40) | st.floats(allow_nan=False, allow_infinity=False)
texts = (
    st.text()
    | st.from_regex(r"[0-9]{15,40}", fullmatch=True)
    | st.from_regex(r"[0-9a-zA-Z+/]{40,60}==", fullmatch=True)
)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts.filter(lambda text: text.isprintable()),
    lambda inner: st.lists(inner) | st.dictionaries(texts.filter(lambda text: text.isprintable()), inner),
    max_leaves=8,
)


@given(values)
def test_every_value_is_what_was_written(value: object) -> None:
    for text in (json.dumps(value), json.dumps(value, indent=1, ensure_ascii=False)):
        for form in (text, text.encode()):
            assert repr(read_json(form)) == repr(value)


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**30, -(10**30)])
def test_integers_of_any_size_stay_integers(number: int) -> None:
    for text in (f"{number}", f"[{number}]", f'{{"x":{number}}}', f'{{"x": {number} , "y": 1}}'):
        assert read_json(text) == json.loads(text)
        assert str(number) in repr(read_json(text))


@pytest.mark.parametrize(
    "bad", ['"\\ud800"', "NaN", "[Infinity]", "{", "", "01", "[1,]", "9" * 10_000, '{"x": 99999999999999999999999']
)
def test_what_is_not_json_is_refused(bad: str) -> None:
    for text in (bad, f"[123456789012345678901234567890, {bad}]"):
        with pytest.raises(orjson.JSONDecodeError):
            read_json(text)
