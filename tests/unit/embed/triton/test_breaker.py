from __future__ import annotations

import pytest

from executors.embed.triton.breaker import BreakerLimits, CircuitBreaker, State

LIMITS = BreakerLimits(failures=3, shortest_s=0.5, longest_s=15.0, jitter=0.2)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(LIMITS, clock=clock, chance=lambda: 0.0)


def open_it(breaker: CircuitBreaker) -> None:
    for _ in range(LIMITS.failures):
        breaker.record_failure()


def fail_probe(breaker: CircuitBreaker, clock: Clock) -> float:
    """Wait for the probe, let it fail, and return how long the circuit is open then."""
    clock.now += breaker.probe_in()
    assert breaker.begin_probe()
    breaker.record_probe_failure()
    return breaker.probe_in()


def test_failures_in_a_row_open_it(breaker: CircuitBreaker) -> None:
    breaker.record_failure()
    breaker.record_failure()
    assert breaker.closed
    breaker.record_failure()
    assert breaker.state is State.OPEN


def test_an_answer_in_between_keeps_it_closed(breaker: CircuitBreaker) -> None:
    for _ in range(10):
        breaker.record_failure()
        breaker.record_failure()
        breaker.record_success()
    assert breaker.closed


def test_only_one_probe_goes_through_and_not_before_its_time(breaker: CircuitBreaker, clock: Clock) -> None:
    open_it(breaker)
    clock.now += 0.49
    assert not breaker.begin_probe()
    clock.now += 0.02
    assert breaker.begin_probe()
    assert breaker.state is State.HALF_OPEN
    assert not breaker.closed, "users' calls wait for the probe's outcome"
    assert not breaker.begin_probe()


def test_a_probe_that_succeeds_closes_it(breaker: CircuitBreaker, clock: Clock) -> None:
    open_it(breaker)
    clock.now += 0.5
    breaker.begin_probe()
    breaker.record_probe_success()
    assert breaker.closed
    breaker.record_failure()
    breaker.record_failure()
    assert breaker.closed, "failures from before count no more"


def test_it_is_open_twice_as_long_each_time_up_to_the_longest(breaker: CircuitBreaker, clock: Clock) -> None:
    open_it(breaker)
    assert breaker.probe_in() == 0.5
    assert [fail_probe(breaker, clock) for _ in range(7)] == [1, 2, 4, 8, 15, 15, 15]
    assert all(fail_probe(breaker, clock) == 15 for _ in range(3000)), "no overflow after hours of outage"


def test_a_server_that_flaps_is_left_alone_for_longer(breaker: CircuitBreaker, clock: Clock) -> None:
    for expected in (0.5, 1, 2):
        open_it(breaker)
        assert breaker.probe_in() == expected
        clock.now += expected
        breaker.begin_probe()
        breaker.record_probe_success()
        clock.now += 1


def test_after_a_sound_while_the_shortest_time_counts_again(breaker: CircuitBreaker, clock: Clock) -> None:
    open_it(breaker)
    for _ in range(5):
        fail_probe(breaker, clock)
    clock.now += breaker.probe_in()
    breaker.begin_probe()
    breaker.record_probe_success()
    clock.now += 15
    open_it(breaker)
    assert breaker.probe_in() == 0.5


def test_outcomes_of_calls_from_before_change_nothing(breaker: CircuitBreaker, clock: Clock) -> None:
    open_it(breaker)
    breaker.record_failure()
    breaker.record_success()
    assert breaker.state is State.OPEN
    assert breaker.probe_in() == 0.5
    clock.now += 0.5
    breaker.begin_probe()
    breaker.record_success()
    breaker.record_failure()
    assert str(breaker.state) == "half_open"
    breaker.record_probe_success()
    breaker.record_probe_failure()
    assert breaker.closed, "a probe has one outcome"


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_chance_shortens_the_time_by_no_more_than_the_jitter(clock: Clock, chance: float) -> None:
    breaker = CircuitBreaker(LIMITS, clock=clock, chance=lambda: chance)
    open_it(breaker)
    assert breaker.probe_in() == pytest.approx(0.5 * (1 - 0.2 * chance))
