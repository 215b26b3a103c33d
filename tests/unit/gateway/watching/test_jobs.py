"""Long requests as those who watch see them."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from executors.documents import ImageDoc
from executors.errors import VisualSearchError
from executors.gateway.watching.jobs import Jobs, is_job, note_done
from tests.support.flows.local_index import Caller


def test_a_job_is_there_while_it_runs_and_is_counted_when_it_has_ended() -> None:
    jobs = Jobs()
    note_done(5)  # not of a job
    with jobs.running("/index", "shop", 40):
        note_done(32)
        (running,) = jobs.to_json()["running"]
        assert running.pop("started").endswith("+00:00")
        assert running == {"job": 1, "endpoint": "/index", "collection": "shop", "documents": 40, "done": 32}
        note_done(8)
    with pytest.raises(ValueError, match="fails"), jobs.running("/index", None, 9):
        raise ValueError("fails")
    assert jobs.to_json() == {"running": [], "ended": {"/index": {"jobs": 2, "documents": 40}}}


def test_jobs_at_the_same_time_do_not_mix() -> None:
    jobs = Jobs()

    async def work(documents: int) -> None:
        with jobs.running("/index", None, documents):
            for _ in range(documents):
                await asyncio.sleep(0)
                note_done(1)
            shown = {each["documents"]: each["done"] for each in jobs.to_json()["running"]}
            assert shown[documents] == documents

    async def both() -> None:
        await asyncio.gather(work(3), work(5))

    asyncio.run(both())
    assert jobs.to_json()["ended"] == {"/index": {"jobs": 2, "documents": 8}}


@pytest.mark.parametrize(
    ("endpoint", "parameters", "bulk", "expected"),
    [
        ("/index", {}, True, True),
        ("/index", {}, False, False),
        ("/search", {"filter": {"a": 1}}, False, False),
        ("/verify", None, False, True),
        ("/quality", {}, False, True),
        ("/delete", {"filter": {"a": 1}}, False, True),
        ("/delete", {}, False, False),
        ("/delete", [], False, False),
    ],
)
def test_what_is_a_job(endpoint: str, parameters: Any, bulk: bool, expected: bool) -> None:
    assert is_job(endpoint, parameters, bulk=bulk) is expected


async def test_an_import_is_counted_document_by_document(call2: Caller) -> None:
    documents = [ImageDoc.from_values(id=f"{n}", embedding=np.eye(4, dtype=np.float32)[n % 4]) for n in range(50)]
    seen: list[int] = []
    put = call2.stages.stores[0].put

    async def watched(records: Any, **options: Any) -> Any:
        seen.extend(each["documents"] for each in call2.service.jobs.to_json()["running"])
        return await put(records, **options)

    call2.stages.stores[0].put = watched  # type: ignore[method-assign]
    await call2("/index", *documents)
    assert set(seen) == {50}
    assert call2.service.jobs.to_json() == {"running": [], "ended": {"/index": {"jobs": 1, "documents": 50}}}
    with pytest.raises(VisualSearchError):
        await call2("/quality", sample=0)
    assert call2.service.jobs.to_json()["ended"]["/quality"] == {"jobs": 1, "documents": 0}
