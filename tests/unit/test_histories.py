"""The ledger of mixed writers tells a history that can be explained from one that can't."""

from __future__ import annotations

import pytest

from tests.support.stores.histories import OPEN, Request, State, explained


def request(start: float, end: float, kind: str, answer: str | State, token: str = "") -> Request:
    return Request(start, end, "test", kind, token, answer)  # type: ignore[arg-type]


PUT = request(0, 1, "put", "created", "a")


@pytest.mark.parametrize(
    "history",
    [
        [],
        [PUT, request(2, 3, "get", ("a", ""))],
        # Beside each other, in either order.
        [PUT, request(0.5, 2, "put", "replaced", "b"), request(3, 4, "get", ("b", ""))],
        [request(0, 2, "put", "replaced", "a"), request(0, 1, "put", "created", "b"), request(3, 4, "get", ("a", ""))],
        [PUT, request(0.5, 0.6, "get", None), request(0.7, 0.8, "get", ("a", ""))],
        [PUT, request(2, 3, "update", "updated", "u"), request(4, 5, "get", ("a", "u"))],
        [
            PUT,
            request(2, 4, "delete", "deleted"),
            request(3, 5, "update", "not_found", "u"),
            request(6, 7, "get", None),
        ],
        # Open ones happened, or not, or later.
        [PUT, request(2, 3, "delete", OPEN), request(4, 5, "get", ("a", "")), request(6, 7, "get", None)],
        [PUT, request(2, 3, "put", OPEN, "b"), request(4, 5, "get", ("a", ""))],
    ],
)
def test_what_some_order_explains_is_explained(history: list[Request]) -> None:
    assert explained(history)


@pytest.mark.parametrize(
    "history",
    [
        [request(0, 1, "get", ("a", ""))],
        [request(0, 1, "put", "replaced", "a")],
        [request(0, 1, "update", "updated", "u")],
        # Acknowledged and gone.
        [PUT, request(2, 3, "get", None)],
        [PUT, request(2, 3, "update", "updated", "u"), request(4, 5, "get", ("a", ""))],
        [PUT, request(2, 3, "delete", "deleted"), request(4, 5, "get", ("a", ""))],
        # An old state is back.
        [PUT, request(2, 3, "put", "replaced", "b"), request(4, 5, "get", ("a", ""))],
        [PUT, request(0.5, 0.6, "get", ("a", "")), request(0.7, 0.8, "get", None)],
        # Two say that they were first.
        [PUT, request(0, 1, "put", "created", "b")],
        [PUT, request(2, 3, "put", OPEN, "b"), request(4, 5, "get", ("b", "")), request(6, 7, "get", ("a", ""))],
    ],
)
def test_what_no_order_explains_is_not(history: list[Request]) -> None:
    assert not explained(history)
