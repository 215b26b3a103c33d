"""The replicas that are left out, and how they come back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from executors.flow.jina_patches.absences import Absences


class Replicas:
    """Replicas that answer or don't."""

    def __init__(self) -> None:
        self.silent: set[str] = set()
        self.asked: list[str] = []

    async def ask(self, address: str, _: float) -> bool:
        self.asked.append(address)
        await asyncio.sleep(0)
        return address not in self.silent


@pytest.fixture
def replicas() -> Replicas:
    return Replicas()


@pytest.fixture
async def absences(replicas: Replicas, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Absences]:
    monkeypatch.setattr("executors.flow.jina_patches.absences.ASK_AGAIN_S", 0.01)
    made = Absences(replicas.ask, lambda address: f"embed/{address}")
    yield made
    made.close()


async def test_one_that_is_left_out_is_named_and_comes_back_by_itself(
    absences: Absences, replicas: Replicas, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    replicas.silent = {"b"}
    absences.leave_out("b", alone=False)
    absences.leave_out("b", alone=False)
    assert absences.present(["a", "b"]) == ["a"]
    while len(replicas.asked) < 3:
        await asyncio.sleep(0.01)
    assert absences.is_out("b")
    replicas.silent = set()
    while absences.is_out("b"):
        await asyncio.sleep(0.01)
    assert absences.present(["a", "b"]) == ["a", "b"]
    assert [each.message for each in caplog.records] == [
        "embed/b does not answer and is left out; others do its work meanwhile",
        "embed/b answers again",
    ]


async def test_callers_that_ask_at_the_same_time_share_one_question(absences: Absences, replicas: Replicas) -> None:
    assert await asyncio.gather(*(absences.answers("a") for _ in range(20))) == [True] * 20
    assert replicas.asked == ["a"]
    assert await absences.answers("a")
    assert replicas.asked == ["a", "a"]


async def test_a_request_that_finds_one_answering_brings_it_back(absences: Absences, replicas: Replicas) -> None:
    replicas.silent = {"a"}
    absences.leave_out("a", alone=True)
    assert not await absences.answers("a")
    replicas.silent = set()
    assert await absences.answers("a")
    assert not absences.is_out("a")
