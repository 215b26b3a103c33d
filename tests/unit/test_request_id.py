"""Ids of requests: what a caller may give, and where it holds."""

from __future__ import annotations

import pytest

from executors.request_id import current_request_id, is_valid, request_id_from, request_scope
from executors.scheduling.fair_threads import FairThreads
from executors.scheduling.turns import Turn


@pytest.mark.parametrize("given", ["a", "3f2a-77", "x" * 128, "a]b", "~!"])
def test_visible_ascii_is_kept(given: str) -> None:
    assert request_id_from(given) == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "a\nb", "é", "\x1b[31m", "\x7f"])
def test_anything_else_is_replaced(given: str) -> None:
    assert not is_valid(given)
    made = request_id_from(None, given)
    assert made != given
    assert is_valid(made)
    assert request_id_from(given, "second") == "second"


def test_an_id_holds_inside_its_block() -> None:
    with request_scope("outer"):
        with request_scope("inner"):
            assert current_request_id() == "inner"
        assert current_request_id() == "outer"
    assert current_request_id() == ""


def test_work_in_a_thread_has_the_id_of_its_request() -> None:
    pool = FairThreads(bulk=1, small=1, name="test")
    with request_scope("of-this-request"):
        inside = pool.submit(current_request_id, Turn.of({}))
    outside = pool.submit(current_request_id, Turn.of({}))
    assert (inside.result(10), outside.result(10)) == ("of-this-request", "")
    pool.close(wait=True)
