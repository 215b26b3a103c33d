"""`/quality`: how many of the true best documents a search through the graph finds, measured on stored vectors.

Each sampled document is a query, and is left out of its own hits. The queries go one at a time, with pauses, so that
they take at most one thread of each shard for half of the time, and the searches of callers pass. When most of the
request's time is over, the answer has what was measured until then.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from executors.documents import ImageDoc
from executors.errors import VisualSearchError, collection_not_found
from executors.gateway.flow.chunks import Answer
from executors.gateway.operations.collections import missing_is_empty
from executors.gateway.operations.request import Request
from executors.gateway.operations.service import SearchService
from executors.gateway.parameters import QualityParameters
from executors.index.records import Collection
from executors.index.wire.columns import Columns, unpack
from executors.index.wire.hits import decode_vector
from executors.scheduling.turns import current_turn

# The part of a request's time that the queries may take.
_PART_OF_TIMEOUT: Final = 0.7
# Scores are cosines in float64, or float32 from OpenSearch.
_EQUAL: Final = 1e-6
_DIGITS: Final = 4


@dataclass(frozen=True, slots=True)
class _Query:
    """A stored document as a query; `embedding` is D float32."""

    id: str
    embedding: NDArray[np.float32]


@dataclass(slots=True)
class _Measured:
    """What the queries found so far: precisions from 0 to 1, and milliseconds."""

    precisions: list[float] = field(default_factory=list)
    graph_ms: list[float] = field(default_factory=list)
    exact_ms: list[float] = field(default_factory=list)
    walked: int = 0


async def quality(service: SearchService, request: Request[QualityParameters]) -> Answer:
    """Measure the precision of one collection, or of all.

    Raises:
        VisualSearchError: `collection_not_found`; `overloaded` while another measurement runs; the error of a shard.
    """
    if service.measuring.locked():
        raise VisualSearchError("overloaded", "the quality is being measured already; try again", retry_after_s=5)
    async with service.measuring:
        current_turn.set(replace(current_turn.get(), bulk=True))
        given = request.parameters
        known = (await service.index_client.refresh()).collections
        if given.collection is not None and given.collection not in known:
            if not missing_is_empty(given.collection):
                raise collection_not_found(given.collection)
            known = {}
        names = sorted(known) if given.collection is None else [name for name in known if name == given.collection]
        ends = time.monotonic() + _PART_OF_TIMEOUT * service.timeout_s
        reports = []
        for n, name in enumerate(names):
            # What is left of the time, in equal parts.
            left = (ends - time.monotonic()) / (len(names) - n)
            reports.append(await _measure(service, known[name], given, time.monotonic() + left))
    return service.report(collections=reports)


async def _measure(
    service: SearchService, collection: Collection, given: QualityParameters, until: float
) -> dict[str, Any]:
    queries, documents = await _sample(service, collection.name, given.sample)
    measured = _Measured()
    for query in queries:
        if time.monotonic() > until:
            break
        took_ms = await _ask(service, collection, query, given, measured)
        await asyncio.sleep(took_ms / 1000)
    return {
        "collection": collection.name,
        "documents": documents,
        "sampled": len(queries),
        "queries": len(measured.precisions),
        "walked": measured.walked,
        "k": given.k,
        "precision": _precision(measured.precisions),
        "took_ms": {"graph": _median(measured.graph_ms), "exact": _median(measured.exact_ms)},
    }


async def _sample(service: SearchService, collection: str, size: int) -> tuple[list[_Query], int]:
    """Return random documents of all shards, and how many documents there are."""
    try:
        answer = await service.index_client.ask("/sample", {"collection": collection, "limit": size})
    except VisualSearchError as error:
        if error.code == "collection_not_found":  # it was dropped meanwhile
            return [], 0
        raise
    shards = [each for each in unpack(answer)["shards"] if "ids" in each]
    return drawn(shards, size), sum(int(each["count"]) for each in shards)


def drawn(shards: Sequence[Columns], size: int) -> list[_Query]:
    """Draw from the samples of all shards, so that every document of the collection is as likely as any other.

    Args:
        shards: for each shard, `count`, and at least as many `ids` and `vectors` as it has, or `size`.
    """
    counts = [int(each["count"]) for each in shards]
    wanted = random.sample(range(len(shards)), min(size, sum(counts)), counts=counts) if sum(counts) else []
    chosen = []
    for number, each in enumerate(shards):
        pairs = zip(each["ids"], each["vectors"], strict=True)
        chosen += [_Query(name, decode_vector(vector)) for name, vector in list(pairs)[: wanted.count(number)]]
    random.shuffle(chosen)
    return chosen


async def _ask(
    service: SearchService, collection: Collection, query: _Query, given: QualityParameters, measured: _Measured
) -> float:
    """Search both ways, and note what was found; return how long both took, in milliseconds."""
    found, graph_ms = await _search(service, collection, query, given, exact=False)
    best, exact_ms = await _search(service, collection, query, given, exact=True)
    measured.precisions.append(precision_of(found["scores"], best["scores"]))
    measured.graph_ms.append(graph_ms)
    measured.exact_ms.append(exact_ms)
    measured.walked += any(str(plan.get("plan", "")).startswith("graph") for plan in found.get("plans", ()))
    return graph_ms + exact_ms


async def _search(
    service: SearchService, collection: Collection, query: _Query, given: QualityParameters, *, exact: bool
) -> tuple[Columns, float]:
    document = ImageDoc.from_values(
        id=query.id, collection=collection.name, embedding=query.embedding, model_id=collection.model_id
    )
    sent: dict[str, Any] = {
        "collection": collection.name,
        "limit": given.k,
        "offset": 0,
        "fields": [],
        "explain": True,
        "without": [query.id],
        "exact": exact,
    }
    if given.ef is not None:
        sent["ef"] = given.ef
    started = time.perf_counter()
    answer = (await service.stages.post("/search", [document], sent, target=service.stages.topology.index)).documents
    took_ms = (time.perf_counter() - started) * 1000
    service.index_client.check_whole(answer)
    if answer[0].error is not None:
        raise answer[0].error.to_error()
    return unpack(answer[0]), took_ms


def precision_of(found: Sequence[float], best: Sequence[float]) -> float:
    """Return which part of the true best was found, by scores: of documents that are as similar, any may be the last.

    Args:
        found: the scores of the hits, from -1 to 1.
        best: the scores of the true best, best first; none if there is no other document.
    """
    if not best:
        return 1.0
    return min(1.0, sum(score >= best[-1] - _EQUAL for score in found) / len(best))


def _precision(precisions: Sequence[float]) -> dict[str, float] | None:
    if not precisions:
        return None
    return {
        "mean": round(statistics.fmean(precisions), _DIGITS),
        "lowest": round(min(precisions), _DIGITS),
        "all_found": round(sum(each == 1.0 for each in precisions) / len(precisions), _DIGITS),
    }


def _median(durations: Sequence[float]) -> float | None:
    return round(statistics.median(durations), 2) if durations else None
