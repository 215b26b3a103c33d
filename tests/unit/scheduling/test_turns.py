from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.scheduling.turns import SMALL_IN_A_ROW, FairPlaces, FairQueue, SharedQueue, Turn, is_bulk
from tests.support.event_loop import others_have_run


@pytest.mark.parametrize(
    ("documents", "size", "expected"),
    [(1, 100_000_000, False), (8, 1_000_000, False), (9, 0, True), (2, 9_000_000, True), (0, 0, False)],
)
def test_bulk_is_known_by_what_a_request_brings(documents: int, size: int, expected: bool) -> None:
    assert is_bulk(documents, size) is expected


def test_a_turn_travels_as_parameters_and_comes_back() -> None:
    turn = Turn("gateway-7", bulk=True)
    assert Turn.of({"limit": 10, **turn.parameters()}) == turn
    assert Turn.of({}) == Turn()
    assert Turn().parameters() == {}


@given(st.lists(st.integers(0, 4), max_size=60))
def test_everything_comes_out_once_and_each_line_in_its_order(pushed: list[int]) -> None:
    queue: FairQueue[tuple[int, int]] = FairQueue()
    for number, line in enumerate(pushed):
        queue.push((line, number), line)
    assert len(queue) == len(pushed)
    popped = [item for _ in pushed if (item := queue.pop()) is not None]
    assert sorted(number for _, number in popped) == list(range(len(pushed)))
    for line in range(5):
        own = [number for each, number in popped if each == line]
        assert own == sorted(own)
    assert queue.pop() is None
    assert len(queue) == 0


@given(st.lists(st.integers(1, 30), min_size=2, max_size=6), st.data())
def test_no_line_gets_ahead_of_another_that_waits(lengths: list[int], data: st.DataObject) -> None:
    queue: FairQueue[int] = FairQueue()
    for line, length in enumerate(lengths):
        for _ in range(length):
            queue.push(line, line)
    served: Counter[int] = Counter()
    for _ in range(data.draw(st.integers(0, sum(lengths)))):
        served[queue.pop() or 0] += 1
    waiting = [line for line, length in enumerate(lengths) if served[line] < length]
    assert all(served[other] - served[line] <= 1 for line in waiting for other in range(len(lengths)))


def test_a_newcomer_is_served_before_the_rest_of_a_long_line() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(100):
        queue.push(f"bulk-{number}", "bulk")
    assert [queue.pop() for _ in range(3)] == ["bulk-0", "bulk-1", "bulk-2"]
    queue.push("search", "search")
    assert "search" in [queue.pop(), queue.pop()]


async def test_small_requests_without_end_do_not_starve_bulk() -> None:
    places = FairPlaces(1, 1)
    await places.take(Turn("first"))
    served: list[bool] = []

    async def work(turn: Turn) -> None:
        async with places.hold(turn):
            served.append(turn.bulk)

    tasks = [asyncio.create_task(work(Turn("bulk", bulk=True))) for _ in range(3)]
    tasks += [asyncio.create_task(work(Turn(str(n)))) for n in range(60)]
    await asyncio.sleep(0)
    places.give_back(Turn("first"))
    await asyncio.gather(*tasks)
    assert [n for n, bulk in enumerate(served) if bulk] == [
        SMALL_IN_A_ROW - 1,
        2 * SMALL_IN_A_ROW,
        3 * SMALL_IN_A_ROW + 1,
    ]


def test_what_does_not_fit_is_passed() -> None:
    queue: FairQueue[int] = FairQueue()
    queue.push(100, "large")
    queue.push(1, "small")
    assert queue.pop(lambda size: size < 10) == 1
    assert queue.pop(lambda size: size < 10) is None
    assert queue.pop() == 100


async def test_bulk_leaves_places_and_shares_its_own() -> None:
    places = FairPlaces(4, 2)
    first, second, search = Turn("a", bulk=True), Turn("b", bulk=True), Turn("c")
    order: list[str] = []
    go_on = asyncio.Event()

    async def work(turn: Turn) -> None:
        async with places.hold(turn):
            order.append(turn.request)
            await go_on.wait()
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(work(first)) for _ in range(6)]
    await asyncio.sleep(0)
    tasks += [asyncio.create_task(work(second)) for _ in range(6)]
    tasks.append(asyncio.create_task(work(search)))
    await others_have_run()
    assert order == ["a", "a", "c"], "the search goes past ten chunks that wait"
    assert places.taken_by_bulk == 2
    go_on.set()
    await asyncio.gather(*tasks)
    assert set(order[3:5]) == {"a", "b"}, "the second request does not wait for all of the first"
    assert (places.taken, places.taken_by_bulk, places.waiting) == (0, 0, 0)


async def test_a_caller_that_gives_up_waiting_leaves_no_place_taken() -> None:
    places = FairPlaces(1, 1)
    await places.take(Turn("a"))
    waiting = [asyncio.create_task(places.take(Turn(str(n), bulk=n % 2 == 0))) for n in range(6)]
    await asyncio.sleep(0)
    assert places.waiting == 6
    for task in waiting[:5]:
        task.cancel()
    await asyncio.gather(*waiting[:5], return_exceptions=True)
    places.give_back(Turn("a"))
    await waiting[5]
    assert (places.taken, places.waiting) == (1, 0)


async def test_a_place_that_is_handed_to_a_caller_that_gave_up_goes_on() -> None:
    places = FairPlaces(1, 1)
    await places.take(Turn("a"))
    left, stays = (asyncio.create_task(places.take(Turn(name))) for name in "bc")
    await asyncio.sleep(0)
    places.give_back(Turn("a"))
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    await stays
    assert places.taken == 1


def test_a_key_with_many_requests_gets_no_more_than_its_share() -> None:
    queue: SharedQueue[str] = SharedQueue()
    for number in range(100):
        queue.push("greedy", "greedy", f"request {number}")
    for _ in range(3):
        queue.push("modest", "modest", "one request")
    assert [queue.pop() for _ in range(6)].count("modest") == 3
    assert len(queue) == 97


def test_the_requests_of_a_key_take_turns_among_themselves() -> None:
    queue: SharedQueue[str] = SharedQueue()
    for request in ("first", "second"):
        for _ in range(3):
            queue.push(request, "key", request)
    assert [queue.pop() for _ in range(6)] == ["first", "second"] * 3
    assert queue.pop() is None


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=60))
def test_everything_that_owners_push_comes_out_once(pushed: list[tuple[int, int]]) -> None:
    queue: SharedQueue[int] = SharedQueue()
    for number, (owner, line) in enumerate(pushed):
        queue.push(number, str(owner), line)
    assert sorted(item for _ in pushed if (item := queue.pop()) is not None) == list(range(len(pushed)))
    assert len(queue) == 0


async def test_one_key_with_many_requests_does_not_keep_anothers_waiting() -> None:
    places = FairPlaces(1, 1)
    first = Turn("first")
    await places.take(first)
    served: list[str] = []

    async def work(turn: Turn) -> None:
        async with places.hold(turn):
            served.append(turn.key)

    tasks = [asyncio.create_task(work(Turn(f"request {n}", bulk=True, key="greedy"))) for n in range(20)]
    await others_have_run()
    tasks += [asyncio.create_task(work(Turn("one", bulk=True, key="modest"))) for _ in range(3)]
    await others_have_run()
    places.give_back(first)
    await asyncio.gather(*tasks)
    assert served[:6].count("modest") == 3
