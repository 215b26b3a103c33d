"""Writes of one id never overlap; others are not held up, and nothing is kept."""

import asyncio

import pytest

from executors.gateway.shards.id_locks import IdLocks
from tests.support.event_loop import others_have_run


async def test_writes_of_one_id_do_not_overlap_and_others_do() -> None:
    locks, inside, most = IdLocks(), {"a": 0, "b": 0}, {"a": 0, "any": 0}

    async def write(name: str) -> None:
        async with locks.hold([("c", name), ("c", "shared" if name == "a" else name)]):
            inside[name] += 1
            most["a"] = max(most["a"], inside["a"])
            most["any"] = max(most["any"], sum(inside.values()))
            await asyncio.sleep(0.001)
            inside[name] -= 1

    await asyncio.gather(*(write("ab"[n % 2]) for n in range(20)))
    assert most == {"a": 1, "any": 2}
    assert len(locks) == 0


async def test_opposite_orders_do_not_wait_for_each_other() -> None:
    locks = IdLocks()

    async def write(keys: list[tuple[str, str]]) -> None:
        for _ in range(50):
            async with locks.hold(keys):
                await asyncio.sleep(0)

    keys = [("c", str(n)) for n in range(5)]
    async with asyncio.timeout(30):
        await asyncio.gather(write(keys), write(keys[::-1]), write(keys[2:] + keys[:2]))


async def test_a_caller_that_is_cancelled_while_waiting_leaves_nothing_behind() -> None:
    locks = IdLocks()
    async with locks.hold([("c", "b")]):
        waiting = asyncio.create_task(_hold(locks, [("c", "a"), ("c", "b")]))
        await others_have_run()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert len(locks) == 0


async def _hold(locks: IdLocks, keys: list[tuple[str, str]]) -> None:
    async with locks.hold(keys):
        pass
