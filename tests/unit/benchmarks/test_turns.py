"""Sides of a benchmark take turns, with the same requests."""

from __future__ import annotations

from functools import partial

import pytest

from tests.benchmarks.support.turns import Side, ratio, take_turns


def test_every_side_gets_the_same_requests_in_alternating_order() -> None:
    asked: list[tuple[str, int]] = []

    def note(name: str, number: int) -> None:
        asked.append((name, number))

    sides = [Side(name, partial(note, name), {}) for name in "ab"]
    take_turns(sides, rounds=2, requests=2)
    warming, counted = asked[:4], asked[4:]
    assert warming == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert counted == [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("b", 2), ("b", 3), ("a", 2), ("a", 3)]
    assert [len(side.times) for side in sides] == [4, 4]


def test_a_ratio_is_of_the_same_round() -> None:
    assert ratio([2.0, 40.0, 3.0], [1.0, 10.0, 1.0]) == pytest.approx((3.0, 2.0, 4.0))
