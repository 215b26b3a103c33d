"""Parameters before they are sent."""

from __future__ import annotations

import datetime
import math
from typing import Any

import numpy as np
import pytest

from executors.errors import VisualSearchError
from executors.parameter_values import plain_parameters


def test_values_of_numpy_are_taken() -> None:
    given = {
        "limit": np.int64(3),
        "exact": np.True_,
        "filter": {np.str_("n"): {"$lt": np.float32(0.5)}},
        "x": (1, None),
    }
    plain = plain_parameters(given | {"y": np.array([1, 2]), "z": np.array(1.5)})
    assert plain == {"limit": 3, "exact": True, "filter": {"n": {"$lt": 0.5}}, "x": [1, None], "y": [1, 2], "z": 1.5}
    assert [type(plain[name]) for name in ("limit", "exact", "z")] == [int, bool, float]
    assert type(next(iter(plain["filter"]))) is str


@pytest.mark.parametrize("number", [math.nan, -math.inf, np.float32("nan"), np.array([1, math.nan]), 2**63, 10**300])
def test_numbers_that_json_does_not_have_are_refused_where_json_is_sent(number: Any) -> None:
    with pytest.raises(VisualSearchError, match=r"invalid_parameter: parameters\.filter\.n"):
        plain_parameters({"filter": {"n": number}})
    assert "filter" in plain_parameters({"filter": {"n": number}}, finite=False)


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"filter": {"n": b"x"}}, "parameters.filter.n"),
        ({"filter": {"$or": [{}, {"n": datetime.datetime(2024, 5, 1)}]}}, r"parameters.filter.\$or\[1\].n"),
        ({"filter": {"n": np.datetime64("2024-05-01", "ns")}}, "parameters.filter.n"),
        ({"like": "\udcff"}, "parameters.like"),
        ({"\udcff": 1}, "parameters"),
        ({"filter": {1: 2}}, "parameters.filter"),
        ({"limit": 10**400}, "parameters.limit"),
        ({"x": {1, 2}}, "parameters.x"),
        ("limit", "parameters"),
        (None, "parameters"),
    ],
)
def test_what_can_not_be_sent_is_refused_by_its_place(given: Any, place: str) -> None:
    for finite in (True, False):
        with pytest.raises(VisualSearchError, match=place) as refused:
            plain_parameters(given, finite=finite)
        assert refused.value.code == "invalid_parameter"
