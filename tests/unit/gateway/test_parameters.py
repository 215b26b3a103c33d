"""Parameters are checked strictly, the same for HTTP and gRPC."""

import pytest

from executors.errors import VisualSearchError
from executors.gateway.parameters import (
    GetParameters,
    IndexParameters,
    SearchParameters,
    UpdateParameters,
    parse_parameters,
)


def test_defaults() -> None:
    given = parse_parameters(SearchParameters, None)
    assert (given.limit, given.offset, given.threshold, given.allow_partial, given.like) == (10, 0, None, False, None)


def test_whole_numbers_may_come_as_floats_as_grpc_sends_them() -> None:
    given = parse_parameters(SearchParameters, {"limit": 5.0, "offset": 2.0, "threshold": 1})
    assert (given.limit, given.offset, given.threshold) == (5, 2, 1.0)
    assert isinstance(given.limit, int)


@pytest.mark.parametrize(
    "bad",
    [
        {"limit": 0},
        {"limit": -1},
        {"limit": 10_001},
        {"limit": 9_999, "offset": 2},
        {"limit": 2.5},
        {"limit": "10"},
        {"limit": True},
        {"limit": None},
        {"limit": float("inf")},
        {"limit": float("nan")},
        {"offset": -1},
        {"threshold": 2},
        {"threshold": "high"},
        {"threshold": float("nan")},
        {"collection": ""},
        {"collection": "a/b"},
        {"allow_partial": 1},
        {"like": ""},
        {"limt": 5},
        [],
        "text",
    ],
    ids=str,
)
def test_bad_search_parameters_are_refused(bad: object) -> None:
    with pytest.raises(VisualSearchError) as caught:
        parse_parameters(SearchParameters, bad)
    assert (caught.value.code, caught.value.status) == ("invalid_parameter", 400)


def test_an_unknown_parameter_is_named_with_the_known_ones() -> None:
    with pytest.raises(VisualSearchError, match=r"limt.*allow_partial.*limit"):
        parse_parameters(SearchParameters, {"limt": 5})


def test_the_window_may_reach_ten_thousand() -> None:
    assert parse_parameters(SearchParameters, {"limit": 9_999, "offset": 1}).limit == 9_999


def test_other_endpoints_have_their_own() -> None:
    assert parse_parameters(UpdateParameters, {"mode": "replace"}).mode == "replace"
    assert parse_parameters(GetParameters, {"with": ["embedding"]}).with_ == ("embedding",)
    for model, bad in (
        (UpdateParameters, {"mode": "x"}),
        (GetParameters, {"with": ["x"]}),
        (IndexParameters, {"limit": 1}),
    ):
        with pytest.raises(VisualSearchError):
            parse_parameters(model, bad)
