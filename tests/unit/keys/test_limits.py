"""The limits of a key: a burst passes, a flood does not, and what ends is free again."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.errors import VisualSearchError
from executors.keys.limits import LimitAccount, Limits


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def asked(account: LimitAccount, limits: Limits, times: int, key: str = "shop") -> int:
    passed = 0
    for _ in range(times):
        with suppress(VisualSearchError):
            account.take_request(key, limits)
            passed += 1
    return passed


def test_a_burst_of_two_seconds_passes_and_then_the_rate() -> None:
    clock = Clock()
    account = LimitAccount(clock)
    limits = Limits(requests_per_second=5)
    assert asked(account, limits, 100) == 10
    clock.now = 1.0
    assert asked(account, limits, 100) == 5
    clock.now = 1_000.0
    assert asked(account, limits, 100) == 10


def test_a_rate_below_one_lets_one_pass_and_says_when_the_next_may_come() -> None:
    clock = Clock()
    account = LimitAccount(clock)
    limits = Limits(requests_per_second=0.1)
    assert asked(account, limits, 5) == 1
    with pytest.raises(VisualSearchError) as caught:
        account.take_request("shop", limits)
    assert caught.value.details["limit"] == "requests_per_second"
    clock.now = float(caught.value.details["retry_after_s"])
    assert asked(account, limits, 5) == 1


def test_keys_have_accounts_of_their_own_and_refusals_are_told() -> None:
    told: list[tuple[str, str]] = []
    account = LimitAccount(Clock(), lambda key, limit: told.append((key, limit)))
    limits = Limits(requests_per_second=1, documents_in_flight=3)
    assert asked(account, limits, 5) == 2
    assert asked(account, limits, 5, "other") == 2
    with account.holding("shop", limits, {"documents_in_flight": 3}):
        with account.holding("other", limits, {"documents_in_flight": 3}):
            pass
        with pytest.raises(VisualSearchError), account.holding("shop", limits, {"documents_in_flight": 1}):
            pass
    assert told.count(("shop", "requests_per_second")) == 3
    assert told[-1] == ("shop", "documents_in_flight")


def test_a_request_that_is_larger_than_the_limit_passes_alone() -> None:
    account, limits = LimitAccount(), Limits(bytes_in_flight=100)
    with (
        account.holding("shop", limits, {"bytes_in_flight": 1_000}),
        pytest.raises(VisualSearchError),
        account.holding("shop", limits, {"bytes_in_flight": 1}),
    ):
        pass
    with account.holding("shop", limits, {"bytes_in_flight": 1}):
        pass


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=60))
def test_what_is_held_never_exceeds_the_limit_and_is_given_back(steps: list[tuple[bool, int]]) -> None:
    account, limits = LimitAccount(), Limits(documents_in_flight=50)
    held: list[tuple[Any, int]] = []
    for begins, amount in steps:
        if begins or not held:
            context = account.holding("shop", limits, {"documents_in_flight": amount})
            try:
                context.__enter__()
            except VisualSearchError:
                assert sum(each for _, each in held) + amount > 50
            else:
                held.append((context, amount))
                assert sum(each for _, each in held) <= 50 or sum(each > 0 for _, each in held) == 1
        else:
            held.pop(0)[0].__exit__(None, None, None)
    for context, _ in held:
        context.__exit__(None, None, None)
    with account.holding("shop", limits, {"documents_in_flight": 50}):
        pass


def test_own_limits_come_before_the_defaults() -> None:
    own, defaults = Limits(requests_per_second=1), Limits(requests_per_second=9, bytes_in_flight=7)
    assert own.over(defaults) == Limits(requests_per_second=1, bytes_in_flight=7)
