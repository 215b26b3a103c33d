"""Parameters are checked strictly, the same for HTTP and gRPC."""

from typing import Any

import pytest

from executors.errors import VisualSearchError
from executors.gateway.parameters import (
    CountParameters,
    DeleteParameters,
    GetParameters,
    IndexParameters,
    ScrollParameters,
    SearchParameters,
    UpdateParameters,
    parse_parameters,
)


def test_defaults() -> None:
    given = parse_parameters(SearchParameters, None)
    assert (given.limit, given.offset, given.threshold, given.allow_partial, given.like) == (10, 0, None, False, None)


@pytest.mark.parametrize("name", ["a", ".a", "a..", "a" * 128, "-", "A_b.c-1"])
def test_names_of_collections(name: str) -> None:
    assert parse_parameters(SearchParameters, {"collection": name}).collection == name


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
        {"collection": ".."},
        {"collection": "a" * 129},
        {"allow_partial": 1},
        {"like": ""},
        {"group_by": ""},
        {"fields": ["blob"]},
        {"fields": ["tags."]},
        {"fields": "tags"},
        {"with": ["thumbnail"]},
        {"exact": 1},
        {"ef": 0},
        {"ef": 10_001},
        {"explain": "yes"},
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


@pytest.mark.parametrize("model", [SearchParameters, ScrollParameters, CountParameters, DeleteParameters])
def test_a_filter_is_read_at_the_door_and_goes_on_as_text(model: type[SearchParameters]) -> None:
    given = parse_parameters(model, {"filter": {"n": {"$in": [2**53, "a", None, True, 1.5]}}})
    assert given.filter == '{"n":{"$in":[9007199254740992,"a",null,true,1.5]}}'
    assert parse_parameters(model, {"filter": None}).filter is None
    bad: Any
    for bad in ({"n": {"$near": 1}}, [], "n", 7, {"n": float("nan")}):
        with pytest.raises(VisualSearchError) as caught:
            parse_parameters(model, {"filter": bad})
        assert (caught.value.code, caught.value.status) == ("invalid_filter", 400)
        assert caught.value.details["path"].startswith("filter")


def test_pages_are_bounded() -> None:
    assert parse_parameters(ScrollParameters, {}).limit == 100
    assert parse_parameters(ScrollParameters, {"limit": 10_000.0, "after": "a", "with": ["thumbnail"]}).after == "a"
    for bad in ({"limit": 0}, {"limit": 10_001}, {"after": 7}, {"after": "x" * 513}, {"with": ["blob"]}):
        with pytest.raises(VisualSearchError, match="invalid_parameter"):
            parse_parameters(ScrollParameters, bad)


@pytest.mark.parametrize("name", ["", "..", "a b", "a\n", "ä"])
def test_a_wrong_name_of_a_collection_is_told_in_words(name: str) -> None:
    with pytest.raises(VisualSearchError, match="collection: must be 1 to 128 letters, digits") as refused:
        parse_parameters(SearchParameters, {"collection": name})
    assert "^" not in refused.value.message
