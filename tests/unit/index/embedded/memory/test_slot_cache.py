"""The slots that a filter selects are computed once, and never mixed up."""

from __future__ import annotations

from functools import partial

import numpy as np

from executors.index.embedded.memory.slot_cache import Selection, Selections


def selection(number: int) -> Selection:
    return Selection(np.asarray([number], dtype=np.uint8), number, number)


def test_the_same_key_is_worked_out_once_and_the_oldest_are_forgotten() -> None:
    kept, made = Selections(), []

    def get(number: int) -> Selection:
        def make() -> Selection:
            made.append(number)
            return selection(number)

        return kept.get(number, None, make)

    assert [get(n).size for n in (1, 2, 1, 2)] == [1, 2, 1, 2]
    assert made == [1, 2]
    for n in range(10, 17):
        get(2)
        get(n)
    assert get(2).size == 2
    assert made.count(2) == 1, "asked for all the time"
    get(1)
    assert made.count(1) == 2, "not asked for in a long time"


def test_what_a_key_names_by_its_identity_lives_as_long_as_the_selection() -> None:
    """Otherwise another array could get the same identity, and the wrong rows."""
    kept = Selections()
    for number in range(2_000):
        rows = np.arange(number % 7 + 1)
        assert kept.get(id(rows), rows, partial(selection, len(rows))).size == len(rows)
