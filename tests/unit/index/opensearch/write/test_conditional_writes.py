"""Details of conditional writes: external versions in the order of versions, and no key twice in one request."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from executors.index.opensearch.write.conditional_writes import Change, _waves, external_version
from executors.index.opensearch.write.decisions import Plan
from executors.index.records import WriteOutcome
from executors.index.versions import HybridClock

CLOSE = st.tuples(st.sampled_from([0, 1, 2, 2**46]), st.sampled_from([0, 1, 0x7FFF, 0x8000, 0xFFFF]))
STEPS = st.lists(st.integers(-5, 5), min_size=2, max_size=30)


@given(STEPS)
def test_external_versions_are_in_the_order_of_versions(steps: list[int]) -> None:
    now = 1_800_000_000_000
    times = iter(now + each for each in steps)
    clock = HybridClock("node", lambda: next(times))
    versions = [clock.next() for _ in steps]
    numbers = [external_version(each) for each in versions]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] < 2**63


@given(CLOSE, CLOSE)
def test_so_are_those_of_the_largest_counters(one: tuple[int, int], other: tuple[int, int]) -> None:
    first, second = (f"{milliseconds:012x}-{counter:04x}-node" for milliseconds, counter in (one, other))
    assert (external_version(first) < external_version(second)) == (first < second)


@given(st.lists(st.sampled_from("abc"), max_size=20))
def test_waves_hold_every_change_once_in_the_order_of_its_key(keys: list[str]) -> None:
    changes = [Change(each, lambda _: Plan(WriteOutcome())) for each in keys]
    waves = _waves(changes)
    assert all(len({change.key for _, change in wave}) == len(wave) for wave in waves)
    order = [n for wave in waves for n, _ in wave]
    assert sorted(order) == list(range(len(keys)))
    for name in "abc":
        mine = [n for n in order if keys[n] == name]
        assert mine == sorted(mine)
