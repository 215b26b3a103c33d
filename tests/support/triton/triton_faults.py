"""Helpers of the tests of Triton's faults: a tiny model, its expected results, and callers that never pause."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from executors.embed.triton.backend import TritonBackend
from executors.errors import VisualSearchError
from executors.models.repository import model_path
from tests.support.models.models import TINY
from tests.support.triton.triton_server import RawTriton

TIMEOUT_S = 1.0
TOTAL_S = 4.0
PATIENCE_S = 40.0
# As deployments have it: requests of one moment run together.
BATCHING = "dynamic_batching { max_queue_delay_microseconds: 500 }\ninstance_group { count: 1 kind: KIND_CPU }\n"

MakeServer = Callable[..., RawTriton]
MakeBackend = Callable[..., Awaitable[TritonBackend]]


def pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(1, 256, (count, 8, 8, 3), np.uint8)


def truth(folder: Path, inputs: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Compute the results of the model's file in this process."""
    session = onnxruntime.InferenceSession(str(model_path(folder, TINY)), providers=["CPUExecutionProvider"])
    vectors: NDArray[np.float32] = session.run(None, {"image": inputs})[0]
    return vectors


async def until(condition: Callable[[], Any], seconds: float = PATIENCE_S) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def all_verified(backend: TritonBackend) -> None:
    await until(lambda: {e["models"][TINY]["state"] for e in backend.status()["endpoints"]} == {"ready"}, 10)


async def refused(backend: TritonBackend, count: int = 1) -> VisualSearchError:
    """A call that must fail: its error."""
    with pytest.raises(VisualSearchError) as caught:
        await backend.embed(backend.towers.image, pictures(count))
    return caught.value


class Load:
    """Callers that never pause, each with inputs of its own, so that an answer to another one is told.

    Every answer is compared with the truth, every error kept.
    """

    def __init__(self, backend: TritonBackend, local: Path, callers: int = 6) -> None:
        self._backend = backend
        self._local = local
        self.answers = 0
        self.wrong = 0
        self.errors: list[VisualSearchError] = []
        self._tasks = [asyncio.create_task(self._call(pictures(3, seed))) for seed in range(callers)]

    async def _call(self, inputs: NDArray[np.uint8]) -> None:
        expected = truth(self._local, inputs)
        while True:
            try:
                async with asyncio.timeout(PATIENCE_S):  # a call without an end shows here
                    vectors = await self._backend.embed(self._backend.towers.image, inputs)
                self.answers += 1
                self.wrong += not np.allclose(vectors, expected, rtol=1e-4)
            except VisualSearchError as error:
                self.errors.append(error)
                await asyncio.sleep(0.01)

    async def further(self, answers: int) -> None:
        """Wait until so many more are answered."""
        before = self.answers
        await until(lambda: self.answers >= before + answers)

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes), outcomes
        assert self.wrong == 0
