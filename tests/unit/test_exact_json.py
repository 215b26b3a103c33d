"""JSON is read without changing a value."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.exact_json import InvalidJsonError, is_json, read_json, read_json_values

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
        with pytest.raises(InvalidJsonError, match="is not JSON"):
            read_json(text)


@pytest.mark.parametrize(
    "twice",
    [
        '{"a": 1, "a": 1}',
        '{"a": {}, "b": {}, "a": []}',
        '{"\\u0061": 1, "a": 2}',
        '{"x": [{"y": {"a": ":", "a": "::"}}]}',
        '{"a": ":", "b": "\\u003a", "a": ":"}',
        '[1, {"b": [], "a": 12345678901234567890123, "a": 1}]',
    ],
)
def test_a_key_that_stands_twice_is_refused_by_its_name(twice: str) -> None:
    for text in (twice, twice.encode()):
        with pytest.raises(InvalidJsonError, match="the key 'a' twice"):
            read_json(text)


def test_the_same_key_in_different_objects_is_no_repetition() -> None:
    text = (
        '{"a": {"a": [{"a": 1}, {"a": ":a:"}]}, "b": "\\"a\\": 1, \\"a\\": 2", "A": "a", "\\u00e1": 1, "a\\u0301": 2}'
    )
    assert read_json(text) == json.loads(text)


def test_a_long_key_does_not_make_a_long_message() -> None:
    key = "k" * 10_000
    with pytest.raises(InvalidJsonError) as refused:
        read_json(json.dumps({key: 1})[:-1] + f', "{key}": 2}}')
    assert len(str(refused.value)) < 200


@given(values, st.data())
def test_no_value_is_taken_for_a_repetition_and_none_is_missed(value: object, data: st.DataObject) -> None:
    text = json.dumps(value)
    assert repr(read_json(text)) == repr(value)
    if isinstance(value, dict) and value:
        key = json.dumps(data.draw(st.sampled_from(sorted(value))))
        with pytest.raises(InvalidJsonError, match="twice"):
            read_json(f"{text[:-1]}, {key}: 0}}")


@pytest.mark.parametrize("brackets", ["[]", '{"a":}'])
def test_what_is_nested_too_deep_is_refused(brackets: str) -> None:
    text = brackets[:-1] * 1_020 + "1" + brackets[-1] * 1_020
    with pytest.raises(InvalidJsonError, match="nested too deep"):
        read_json(text)


@given(values)
def test_what_is_json_is_read_alike_where_documents_are(value: object) -> None:
    text = json.dumps([value, "\ud800"])
    assert repr(read_json_values(text)) == repr([value, "\ud800"])
    assert is_json(value)
    assert not is_json([value, "\ud800"])


def test_numbers_beyond_floats_are_infinite_and_no_other_number_is_changed() -> None:
    texts = [f"{10**308}", f"{2**1024 - 2**971}", f"-{10**309}", "9" * 5_000, "1e999", "-1e999"]
    assert read_json_values(f"[{', '.join(texts)}]") == [
        *(10**308, 2**1024 - 2**971, -math.inf, math.inf, math.inf, -math.inf)
    ]
    assert not is_json({"a": [{"b": math.inf}]})
    assert not is_json({"\udcff": 1})


@pytest.mark.parametrize(
    "bad", ["NaN", "[-Infinity]", "{", "01", '"\t"', '{"a": 1, "a": "\\ud800"}', "\ufeff1", "[" * 2_000]
)
def test_what_is_not_json_is_refused_where_documents_are(bad: str) -> None:
    with pytest.raises(InvalidJsonError):
        read_json_values(bad)
    with pytest.raises(InvalidJsonError):
        read_json_values(bad.encode())
