"""Versions: sortable as text, never older than one that was made or seen before."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.index.versions import HybridClock, wall_clock_ms

NOW = 1_800_000_000_000


class Wall:
    """A wall clock that a test can set."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def test_versions_sort_as_text_in_the_order_in_which_they_were_made() -> None:
    wall = Wall()
    clock = HybridClock("gw1", wall)
    made = []
    for step in (0, 0, 1, 0, 999, 10**9, 0):
        wall.now += step
        made.append(clock.next())
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert {len(version) for version in made} == {len(made[0])}


def test_a_wall_clock_that_goes_back_does_not_take_the_versions_with_it() -> None:
    wall = Wall()
    clock = HybridClock("gw1", wall)
    before = clock.next()
    wall.now -= 3_600_000
    assert clock.next() > before


def test_what_is_made_after_an_observation_is_newer_than_it() -> None:
    ahead = HybridClock("zz", Wall(NOW + 60_000))
    behind = HybridClock("aa", Wall(NOW))
    seen = [ahead.next() for _ in range(3)][-1]
    assert behind.next() < seen
    assert behind.observe(seen) is True
    assert behind.next() > seen


def test_an_old_observation_changes_nothing() -> None:
    clock = HybridClock("gw1", Wall())
    old = HybridClock("gw2", Wall(NOW - 1000)).next()
    first = clock.next()
    assert clock.observe(old) is True
    assert clock.next() > first


def test_after_a_restart_the_observed_version_of_the_store_carries_on() -> None:
    wall = Wall()
    stored = HybridClock("gw1", wall).next()
    wall.now -= 5_000
    restarted = HybridClock("gw1", wall)
    restarted.observe(stored)
    assert restarted.next() > stored


def test_more_writes_in_a_millisecond_than_the_counter_holds_stay_in_order() -> None:
    clock = HybridClock("gw1", Wall())
    made = [clock.next() for _ in range(70_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert len(made[-1]) == len(made[0])


@pytest.mark.parametrize(
    "version",
    ["", "latest", "0193a5c0f3e2", "0193A5C0F3E2-0000-gw1", "0193a5c0f3e2-0000-", "ffffffffffff-0000-gw1", "\ud800",
     "0193a5c0f3e2-0000-gw1\n", "０193a5c0f3e2-0000-gw1"],
)  # fmt: skip
def test_a_malformed_observation_is_ignored(version: str) -> None:
    clock = HybridClock("gw1", Wall())
    before = clock.next()
    assert clock.observe(version) is False
    after = clock.next()
    assert after.split("-")[0] == before.split("-")[0]
    assert after > before


@pytest.mark.parametrize("node", ["", "a-b", "ü", "x" * 33, "a b"])
def test_a_node_that_would_spoil_the_order_is_refused(node: str) -> None:
    with pytest.raises(ValueError, match="node"):
        HybridClock(node)


def test_threads_never_get_the_same_version() -> None:
    clock = HybridClock("gw1", Wall())
    made: list[list[str]] = [[] for _ in range(4)]

    def work(mine: list[str]) -> None:
        mine.extend(clock.next() for _ in range(2_000))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({version for mine in made for version in mine}) == 8_000
    assert all(mine == sorted(mine) for mine in made)


@given(
    st.lists(
        st.tuples(st.sampled_from(["tick", "a", "b", "a sees b", "b sees a"]), st.integers(-1000, 1000)), max_size=60
    )
)
def test_happened_before_is_the_order_of_the_text(steps: list[tuple[str, int]]) -> None:
    """A version is newer than all versions that the clock made or saw before, whatever the two wall clocks do."""
    walls = {"a": Wall(NOW), "b": Wall(NOW + 250)}
    clocks = {name: HybridClock(name, wall) for name, wall in walls.items()}
    newest = {"a": "", "b": ""}
    for step, offset in steps:
        if step == "tick":
            walls["a"].now += offset
            walls["b"].now -= offset // 2
        elif step in clocks:
            version = clocks[step].next()
            assert version > newest[step]
            newest[step] = version
        else:
            here, there = step[0], step[-1]
            if newest[there]:
                assert clocks[here].observe(newest[there])
                newest[here] = max(newest[here], newest[there])


def test_the_wall_clock_counts_milliseconds() -> None:
    assert 10**12 < wall_clock_ms() < 10**14
