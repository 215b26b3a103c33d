"""Requests in pieces: a piece whose call was cut off is a failure, never an answer."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from executors.documents import ImageDoc
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
