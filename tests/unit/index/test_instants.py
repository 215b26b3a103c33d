"""Texts that are moments, and texts that are the same moment."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.index.instants import Instant, read_instant, text_bounds

MOMENTS = st.datetimes(
    timezones=st.integers(-1439, 1439).map(lambda n: datetime.timezone(datetime.timedelta(minutes=n)))
)


@given(MOMENTS, MOMENTS)
def test_they_are_ordered_as_pythons_calendar_orders_them(first: datetime.datetime, second: datetime.datetime) -> None:
    one, other = read_instant(first.isoformat()), read_instant(second.isoformat(sep=" "))
    assert one is not None
    assert other is not None
    assert (one < other, one == other) == (first < second, first == second)


@given(MOMENTS, MOMENTS)
def test_the_texts_of_what_lies_between_lie_between_the_bounds(
    first: datetime.datetime, second: datetime.datetime
) -> None:
    low, high = sorted((first, second))
    start, after = text_bounds(read_instant(low.isoformat()), read_instant(high.isoformat()))
    assert start <= low.isoformat() < after
    assert start <= high.isoformat() < after
    assert text_bounds(None, read_instant(high.isoformat())) == ("0", after)
    assert text_bounds(read_instant(low.isoformat()), None) == (start, ":")


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2024-05-01T10:00:00+02:00", "2024-05-01T08:00:00Z"),
        ("2024-05-01t08:00:00.500z", "2024-05-01 08:00:00.5-00:00"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ("2017-01-01T00:59:60.25+01:00", "2017-01-01T00:00:00.25Z"),
        ("0000-02-29T00:00:00Z", "0000-02-28T23:00:00-01:00"),
        ("9999-12-31T23:59:60Z", "9999-12-31T23:59:60.0Z"),
    ],
)
def test_different_texts_stand_for_one_moment(text: str, same: str) -> None:
    assert isinstance(read_instant(text), Instant)
    assert read_instant(text) == read_instant(same)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2024-05-01",
        "2024-05-01T10:00:00",
        "2024-05-01T10:00Z",
        "2024-05-01T10:00:00.Z",
        "2024-05-01T10:00:00,5Z",
        "2024-05-01T10:00:00+2:00",
        "2024-05-01T10:00:00+0200",
        "2024-05-01T10:00:00+24:00",
        "2024-05-01T10:00:00+02:60",
        "2024-05-01T24:00:00Z",
        "2024-05-01T10:60:00Z",
        "2024-05-01T10:00:61Z",
        "2024-05-01T10:00:60Z",
        "2024-05-01T23:59:60Z",
        "2024-04-31T10:00:00Z",
        "2023-02-29T10:00:00Z",
        "2100-02-29T10:00:00Z",
        "2024-00-01T10:00:00Z",
        "2024-13-01T10:00:00Z",
        "2024-05-00T10:00:00Z",
        " 2024-05-01T10:00:00Z",
        "2024-05-01T10:00:00Z\n",
        "2024-05-01_10:00:00Z",
        "12024-05-01T10:00:00Z",
        "+2024-05-01T10:00:00Z",
        "\u0662\u0660\u0662\u0664-05-01T10:00:00Z",
        f"2024-05-01T10:00:00.{'1' * 31}Z",
    ],
)
def test_any_other_text_is_none(text: str) -> None:
    assert read_instant(text) is None
