from __future__ import annotations

import asyncio
import random

import pytest

from executors.embed.triton.slots import Slots


async def test_no_more_than_the_limit_at_once_and_in_the_order_of_asking() -> None:
    slots = Slots(2)
    running = most = 0
    order = []

    async def work(number: int) -> None:
        nonlocal running, most
        await slots.take(5)
        order.append(number)
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        slots.give_back()

    await asyncio.gather(*(work(number) for number in range(20)))
    assert (most, slots.taken, slots.waiting) == (2, 0, 0)
    assert order == sorted(order)


async def test_a_caller_that_waits_too_long_leaves_the_line() -> None:
    slots = Slots(1)
    await slots.take(1)
    with pytest.raises(TimeoutError):
        await slots.take(0.01)
    assert (slots.taken, slots.waiting) == (1, 0)
    slots.give_back()
    await slots.take(0.01)


async def test_all_callers_that_wait_can_be_turned_away() -> None:
    slots = Slots(1)
    await slots.take(1)
    waiting = [asyncio.create_task(slots.take(5)) for _ in range(5)]
    await asyncio.sleep(0)
    slots.turn_away(lambda: ConnectionError("gone"))
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(outcome, ConnectionError) for outcome in outcomes)
    assert len({id(outcome) for outcome in outcomes}) == 5
    assert (slots.taken, slots.waiting) == (1, 0)


async def test_a_slot_handed_to_a_caller_that_gives_up_goes_to_the_next() -> None:
    slots = Slots(1)
    await slots.take(1)
    first, second = asyncio.create_task(slots.take(5)), asyncio.create_task(slots.take(5))
    await asyncio.sleep(0)
    slots.give_back()
    first.cancel()
    await asyncio.wait_for(second, 1)
    with pytest.raises(asyncio.CancelledError):
        await first
    slots.give_back()
    assert (slots.taken, slots.waiting) == (0, 0)


@pytest.mark.parametrize("seed", range(5))
async def test_no_slot_is_lost_whatever_happens(seed: int) -> None:
    chance = random.Random(seed)
    slots = Slots(3)

    async def work() -> None:
        await slots.take(chance.uniform(0, 0.02))
        try:
            await asyncio.sleep(chance.uniform(0, 0.005))
            assert slots.taken <= 3
        finally:
            slots.give_back()

    tasks = [asyncio.create_task(work()) for _ in range(200)]
    for _ in range(100):
        await asyncio.sleep(chance.uniform(0, 0.001))
        chance.choice(tasks).cancel()
        if chance.random() < 0.05:
            slots.turn_away(ConnectionError)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert not [outcome for outcome in outcomes if isinstance(outcome, AssertionError)]
    assert any(outcome is None for outcome in outcomes)
    assert (slots.taken, slots.waiting) == (0, 0)
