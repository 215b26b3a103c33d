"""HTTP, gRPC and the command line write the same documents at the same time: one order of all requests explains every answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from executors.client import VisualSearchClient
from tests.support.flows.flow import RunningFlow, running_flow
from tests.support.flows.mixed_writers import COLLECTION, History, Writers, by_command, over_grpc, over_http
from tests.support.stores.histories import Request, explained


async def check(flow: RunningFlow, seed: int, documents: int, seconds: float, threads: int) -> History:
    history = History()
    Writers(flow, history, seed, documents, threads).work(seconds)
    # All three read the same at the end, and what they read belongs to the history, too.
    for name, send in (("http", over_http(flow)), ("grpc", over_grpc(flow)), ("command", by_command(flow))):
        history.note(name, "get", sorted(history.requests), "", send)
    for document_id, requests in history.requests.items():
        assert explained(requests), f"no order explains what was told of {document_id}:\n{_told(requests)}"
    there = {name: requests[-1].answer for name, requests in history.requests.items()}
    living = sorted(name for name, state in there.items() if state is not None)
    async with VisualSearchClient(flow.http_url) as client:
        assert await client.count(collection=COLLECTION) == len(living)
        assert [each.id for each in (await client.scroll(collection=COLLECTION, limit=1_000)).documents] == living
        report = await client.verify()
        assert (report.ok, list(report.double_ids)) == (True, [])
        await client.drop_collection(COLLECTION)
    return history


def _told(requests: list[Request]) -> str:
    return "\n".join(map(str, sorted(requests, key=lambda each: each.start)))


async def test_all_interfaces_at_once_are_explained_by_one_order(flow: RunningFlow) -> None:
    history = await check(flow, seed=1, documents=24, seconds=6, threads=1)
    told = [each for requests in history.requests.values() for each in requests]
    assert {each.writer.split()[0] for each in told if each.kind != "get"} == {"http", "grpc", "command"}
    assert {each.answer for each in told} >= {"created", "replaced", "updated", "deleted", "not_found"}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("shards", [1, 2, 3])
async def test_all_interfaces_for_a_long_time_are_explained_by_one_order(
    tmp_path: Path, models_dir: Path, shards: int
) -> None:
    with running_flow(tmp_path, shards=shards) as flow:
        for seed in range(5):
            await check(flow, seed=10 + seed, documents=60, seconds=30, threads=3)
