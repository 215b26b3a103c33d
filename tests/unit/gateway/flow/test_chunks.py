"""Requests in pieces: a piece whose call was cut off is a failure, never an answer."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from executors.documents import ImageDoc
from executors.errors import VisualSearchError
from executors.gateway.flow.chunks import CHUNK_DOCUMENTS, ChunkSender
from executors.gateway.flow.route import StageAnswer


def documents(count: int) -> list[ImageDoc]:
    return [ImageDoc.from_values(id=str(n), embedding=np.ones(4, np.float32)) for n in range(count)]


async def test_a_call_that_is_cancelled_by_itself_fails_its_documents_and_no_others() -> None:
    async def post(chunk: list[ImageDoc]) -> StageAnswer:
        if chunk[0].id == "0":
            raise asyncio.CancelledError
        return StageAnswer([ImageDoc.from_values(id=each.id, result="created") for each in chunk])

    answer = await ChunkSender(replicas=1).send(documents(CHUNK_DOCUMENTS + 3), post)
    codes = [each.error.code if each.error else each.result for each in answer.documents]
    assert codes == ["unavailable"] * CHUNK_DOCUMENTS + ["created"] * 3


@pytest.mark.parametrize("count", [1, CHUNK_DOCUMENTS + 1])
async def test_what_a_stage_raises_is_the_error_of_its_documents(count: int) -> None:
    async def post(_: list[ImageDoc]) -> StageAnswer:
        raise VisualSearchError("unavailable", "no answer", stage="embed")

    answer = await ChunkSender(replicas=1).send(documents(count), post)
    errors = [each.error for each in answer.documents if each.error is not None]
    assert [(each.code, each.stage) for each in errors] == [("unavailable", "embed")] * count


async def test_a_request_that_is_cancelled_ends() -> None:
    began = asyncio.Event()

    async def post(_: list[ImageDoc]) -> StageAnswer:
        began.set()
        await asyncio.sleep(60)
        raise AssertionError("it was waited for")

    task = asyncio.create_task(ChunkSender(replicas=1).send(documents(1), post))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def parts_beside(others: int, count: int, replicas: int = 2) -> list[int]:
    """The sizes of the parts of a chunk, while other chunks are in the flow."""
    sender = ChunkSender(replicas)
    go_on = asyncio.Event()
    sizes: list[int] = []

    async def wait(chunk: list[ImageDoc]) -> StageAnswer:
        await go_on.wait()
        return StageAnswer(chunk)

    async def look(chunk: list[ImageDoc]) -> StageAnswer:
        parts = sender.parts_of(chunk)
        assert [each.id for part in parts for each in part] == [each.id for each in chunk]
        sizes.extend(map(len, parts))
        return StageAnswer(chunk)

    async with asyncio.TaskGroup() as group:
        for _ in range(others):
            group.create_task(sender.send(documents(1), wait))
        await asyncio.sleep(0.01)
        await sender.send(documents(count), look)
        go_on.set()
    return sizes


async def test_a_chunk_that_is_alone_is_cut_so_that_all_replicas_work_on_it() -> None:
    assert await parts_beside(0, 32) == [8, 8, 8, 8]
    assert await parts_beside(0, 32, replicas=1) == [16, 16]
    assert await parts_beside(0, 11) == [5, 6]
    assert await parts_beside(0, 32, replicas=100) == [4] * 8


@pytest.mark.parametrize(("others", "count"), [(1, 32), (0, 7), (0, 1)])
async def test_a_chunk_beside_others_and_a_small_one_stay_whole(others: int, count: int) -> None:
    assert await parts_beside(others, count) == [count]
