"""A server that answers some calls and fails others."""

from __future__ import annotations

import pytest

from executors.embed.triton.faults import CallFaults, FaultLimits

LIMITS = FaultLimits(within_s=30, faults=4, spread_s=3, share=0.02)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def faults(clock: Clock) -> CallFaults:
    return CallFaults(clock, LIMITS)


def fail(faults: CallFaults, clock: Clock, times: int, every_s: float, sound: int = 5) -> None:
    for _ in range(times):
        faults.record_failure("no answer within 5 s")
        for _ in range(sound):
            faults.record_success()
        clock.now += every_s


def test_calls_that_keep_failing_among_others_that_do_not_make_it_sick(faults: CallFaults, clock: Clock) -> None:
    fail(faults, clock, 3, 2)
    assert faults.sick == ""
    fail(faults, clock, 1, 2)
    assert faults.sick == "it failed 4 of 24 calls while it answered others: no answer within 5 s"


def test_one_bad_moment_does_not(faults: CallFaults, clock: Clock) -> None:
    fail(faults, clock, 50, 0.04)
    assert faults.sick == ""


def test_one_that_is_rare_does_not(faults: CallFaults, clock: Clock) -> None:
    fail(faults, clock, 6, 4, sound=100)
    assert faults.sick == ""

    for _ in range(4):
        faults.record_failure("no answer within 5 s", stuck=True)
    assert faults.sick, "no input explains that a later call was answered before"


@pytest.mark.parametrize(("calls", "seconds", "sick"), [(3, 60, False), (4, 2, False), (4, 3, True)])
def test_calls_that_hang_while_later_ones_are_answered(
    faults: CallFaults, calls: int, seconds: float, sick: bool
) -> None:
    assert bool(faults.hanging(calls, seconds)) is sick


def test_what_is_long_ago_counts_no_more(faults: CallFaults, clock: Clock) -> None:
    fail(faults, clock, 20, 10)
    assert faults.sick == ""
    fail(faults, clock, 4, 1)
    assert faults.sick
    clock.now += 30
    assert faults.sick == ""


def test_what_it_says_itself_counts_at_once_and_for_a_while(faults: CallFaults, clock: Clock) -> None:
    for _ in range(1000):
        faults.record_success()
    faults.record_dead("a process of it is dead")
    assert faults.sick == "a process of it is dead"
    clock.now += 29
    assert faults.sick
    clock.now += 1
    assert faults.sick == ""


def test_a_new_start_begins_with_nothing(faults: CallFaults, clock: Clock) -> None:
    fail(faults, clock, 9, 1)
    faults.record_dead("a process of it is dead")
    faults.clear()
    assert faults.sick == ""
