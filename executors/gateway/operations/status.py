"""`/status`: the index, the model, the stages and this gateway. Fields are only ever added (`"api": 1`)."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from executors import __version__
from executors.errors import VisualSearchError
from executors.gateway.access import Identity
from executors.gateway.flow.chunks import Answer
from executors.gateway.flow.questions import answer_or_error
from executors.gateway.flow.replicas import replica_reports
from executors.gateway.operations.collections import collections_of, visible
from executors.gateway.operations.request import Request
from executors.gateway.operations.service import SearchService
from executors.gateway.parameters import NoParameters
from executors.gateway.shards.index_state import IndexState, index_state
from executors.process_figures import process_figures

API_VERSION = 1
_ANSWER_S: Final = 5.0


async def status(service: SearchService, request: Request[NoParameters]) -> Answer:
    """Ask every process for its status. A process that does not answer is named with its error; the others still count.

    A caller who may use some collections only sees nothing of the others, and no sums over all of them.
    """
    report = await whole_status(service)
    index = _seen_by(request.identity, report["index"])
    return Answer([], extra=report | {"index": index, "access": service.access.report(request.identity)})


async def whole_status(service: SearchService, within_s: float = _ANSWER_S) -> dict[str, Any]:
    """Ask every process for its status, without regard to who may see it.

    Args:
        within_s: the timeout of an answer, in seconds.
    """
    others = service.stages.topology.others
    reports, index = await asyncio.gather(
        asyncio.gather(*(_stage(service, stage, within_s) for stage in others)), index_state(service, within_s)
    )
    stages = dict(zip(others, reports, strict=True))
    readiness, gate = service.readiness, service.gate
    places = service.chunks.places
    return {
        "api": API_VERSION,
        "version": __version__,
        "ready": readiness.ready,
        "reason": readiness.reason.to_json() if readiness.reason else None,
        "silent": [*(name for stage in stages.values() for name in stage.get("silent", [])), *index.silent],
        "index": _index(service, index),
        "model": {key: service.model.get(key) for key in ("model_id", "name", "dimension", "text")},
        "stages": stages,
        "gateway": {
            "in_flight": gate.in_flight,
            "max_concurrency": gate.limit,
            "requests": service.metrics.answered,
            "request_seconds": round(service.metrics.seconds, 3),
            "chunks_in_flow": places.taken,
            "chunks_waiting": places.waiting,
            "process": process_figures(),
        },
    }


def _index(service: SearchService, state: IndexState) -> dict[str, Any]:
    """Return the part about the index. If not all shards could count, `documents` is null and `documents_counted` is a part."""
    membership = service.index_client.membership
    whole = bool(state.reports) and not state.missing and _is_counted(state)
    counted = sum(report["documents"] for report in state.reports)
    collections = collections_of(state.reports)
    if not whole:
        collections = [each | {"documents": None, "documents_counted": each["documents"]} for each in collections]
    return {
        "uuid": membership.uuid if membership else None,
        "documents": counted if whole else None,
        "documents_counted": counted,
        "collections": collections,
        "shards": [_shard(report) for report in state.reports],
        "missing": state.missing,
        **({} if state.error is None else {"error": state.error.to_json()}),
    }


def _seen_by(identity: Identity, index: dict[str, Any]) -> dict[str, Any]:
    if identity.collections is None:
        return index
    collections = visible(index["collections"], identity)
    shards = []
    for each in index["shards"]:
        graphs = [line for line in each.get("graphs") or () if identity.sees(line["collection"])]
        shards.append(each | {"documents": sum(line["documents"] for line in graphs), "graphs": graphs})
    counted = sum(each.get("documents") or each.get("documents_counted") or 0 for each in collections)
    whole = index["documents"] is not None
    seen = {
        "collections": collections,
        "shards": shards,
        "documents": counted if whole else None,
        "documents_counted": counted,
    }
    return index | seen


def _is_counted(state: IndexState) -> bool:
    """Whether the counts are those of the whole index; a silent replica changes nothing, as another has the same index."""
    return state.error is None or state.error.code == "unavailable"


def _shard(report: dict[str, Any]) -> dict[str, Any]:
    hidden = ("shard", "number", "collections", "configured_shards")
    return {"shard": report["number"], **{key: value for key, value in report.items() if key not in hidden}}


async def _stage(service: SearchService, stage: str, within_s: float) -> dict[str, Any]:
    reports = await answer_or_error(replica_reports(service.stages, stage), stage, within_s)
    if isinstance(reports, VisualSearchError):
        return {"error": reports.to_json(), "silent": reports.details.get("silent", [])}
    return reports.to_json()
