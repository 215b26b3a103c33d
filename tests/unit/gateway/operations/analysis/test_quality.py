"""The quality of searches: drawn from all shards alike, measured against the true best, one measurement at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from executors.errors import VisualSearchError
from executors.gateway.operations.analysis.quality import drawn, precision_of
from executors.index.records import Hits, SearchRequest
from executors.index.wire.hits import encode_vector
from tests.support.flows.local_index import Caller


def vector(seed: int) -> NDArray[np.float32]:
    found = np.random.default_rng(seed).standard_normal(4)
    return (found / np.linalg.norm(found)).astype(np.float32)


async def filled(call: Caller, count: int = 20) -> Caller:
    for n in range(count):
        await call.index(f"{n}", shard=n, embedding=vector(n))
    return call


def forgetful(call: Caller, lost: Sequence[str]) -> None:
    """Let searches through the graph never find these."""
    for store in call.stages.stores:
        search = store.search

        async def without(request: SearchRequest, search: Any = search) -> list[Hits]:
            found = await search(request)
            if request.exact:
                return list(found)
            kept = [[n for n, name in enumerate(each.ids) if name not in lost] for each in found]
            names = ("ids", "scores", "versions", "uris", "tags", "parents", "boxes")
            return [
                replace(each, **{name: [getattr(each, name)[n] for n in rows] for name in names})
                for each, rows in zip(found, kept, strict=True)
            ]

        store.search = without  # type: ignore[method-assign]


async def test_searches_that_find_everything_have_precision_one(call: Caller) -> None:
    await filled(call)
    (report,) = (await call("/quality", sample=7, k=5)).extra["collections"]
    assert report["precision"] == {"mean": 1.0, "lowest": 1.0, "all_found": 1.0}
    shown = {name: report[name] for name in ("collection", "documents", "sampled", "queries", "walked", "k")}
    assert shown == {"collection": "images", "documents": 20, "sampled": 7, "queries": 7, "walked": 0, "k": 5}
    assert report["took_ms"]["graph"] > 0
    assert report["took_ms"]["exact"] > 0
    (whole,) = (await call("/quality")).extra["collections"]
    assert whole["sampled"] == whole["queries"] == 20


async def test_what_searches_do_not_find_is_missing_from_the_precision(call: Caller) -> None:
    await filled(call, 11)
    forgetful(call, ["3"])
    (report,) = (await call("/quality", k=10)).extra["collections"]
    # Ten of eleven queries have the lost document among their best ten; it can't be found in place of another.
    assert report["precision"]["lowest"] == pytest.approx(0.9)
    assert report["precision"]["mean"] == pytest.approx(0.9 + 0.1 / 11, abs=1e-4)
    assert report["precision"]["all_found"] == pytest.approx(1 / 11, abs=1e-4)


async def test_all_collections_or_one(call2: Caller) -> None:
    await filled(call2, 4)
    await call2.index("x", collection="others", embedding=vector(9))
    reports = (await call2("/quality")).extra["collections"]
    assert [(each["collection"], each["queries"]) for each in reports] == [("images", 4), ("others", 1)]
    (one,) = (await call2("/quality", collection="others")).extra["collections"]
    assert (one["collection"], one["documents"], one["precision"]["mean"]) == ("others", 1, 1.0)
    with pytest.raises(VisualSearchError, match="collection_not_found"):
        await call2("/quality", collection="nothing")


async def test_an_index_without_documents(call2: Caller) -> None:
    assert (await call2("/quality")).extra["collections"] == []
    assert (await call2("/quality", collection="images")).extra["collections"] == []
    await call2("/collections/create", collection="new")
    (report,) = (await call2("/quality")).extra["collections"]
    assert (report["queries"], report["precision"], report["took_ms"]) == (0, None, {"graph": None, "exact": None})


async def test_when_the_time_is_over_the_answer_has_what_was_measured(call2: Caller) -> None:
    await filled(call2)
    call2.service.timeout_s = 0.0
    (report,) = (await call2("/quality")).extra["collections"]
    assert (report["sampled"], report["queries"], report["precision"]) == (20, 0, None)


async def test_one_measurement_at_a_time(call2: Caller) -> None:
    await filled(call2)
    outcomes = await asyncio.gather(call2("/quality"), call2("/quality"), return_exceptions=True)
    assert sorted(type(each).__name__ for each in outcomes) == ["Answer", "VisualSearchError"]
    refused = next(each for each in outcomes if isinstance(each, VisualSearchError))
    assert (refused.code, refused.details["retry_after_s"]) == ("overloaded", 5)
    assert (await call2("/quality")).extra["collections"]


async def test_a_missing_shard_is_an_error(call2: Caller) -> None:
    await filled(call2)
    call2.stages.missing = {0}
    with pytest.raises(VisualSearchError, match="shard_missing"):
        await call2("/quality")


def test_every_document_is_drawn_as_often_as_any_other() -> None:
    sizes = (30, 10, 0, 5)
    shards = [
        {
            "count": size,
            "ids": [f"{n}-{i}" for i in range(min(size, 15))],
            "vectors": [encode_vector(vector(0))] * min(size, 15),
        }
        for n, size in enumerate(sizes)
    ]
    counts = Counter(query.id.partition("-")[0] for _ in range(400) for query in drawn(shards, 15))
    assert sum(counts.values()) == 400 * 15
    # The standard deviation of these parts is below 0.006.
    for n, size in enumerate(sizes):
        assert counts[str(n)] / (400 * 15) == pytest.approx(size / 45, abs=0.03)
    assert len({query.id for query in drawn(shards[1:], 15)}) == 15


def test_hits_that_are_as_similar_count_alike() -> None:
    assert precision_of([0.9, 0.5], [0.9, 0.5]) == 1.0
    assert precision_of([0.9, 0.5, 0.5], [0.9, 0.5]) == 1.0
    assert precision_of([0.9, 0.4], [0.9, 0.5]) == 0.5
    assert precision_of([0.9], [0.9, 0.5]) == 0.5
    assert precision_of([], [0.9, 0.5]) == 0.0
    assert precision_of([], []) == 1.0
