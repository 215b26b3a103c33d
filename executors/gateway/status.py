"""What `/status` shows: the index, the model, the stages, this gateway. Additive changes only (`"api": 1`)."""

from __future__ import annotations

import asyncio
from typing import Any

from executors import __version__
from executors.errors import VisualSearchError
from executors.gateway.collections import collections_of
from executors.gateway.health import Health
from executors.gateway.replicas import stage_report
from executors.gateway.service import SearchService

API_VERSION = 1


async def status_report(service: SearchService, health: Health) -> dict[str, Any]:
    """Ask every stage for its status; one that does not answer is named with its error, and costs no other."""
    preprocess, embed, shards = await asyncio.gather(
        _or_error(service.stage_status("preprocess")),
        _or_error(service.embed_reports()),
        _or_error(service.index_client.shard_reports()),
    )
    reports = shards if isinstance(shards, list) else []
    membership = service.index_client.membership
    return {
        "api": API_VERSION,
        "version": __version__,
        "ready": health.ready,
        "reason": health.reason.to_json() if health.reason else None,
        "index": {
            "uuid": membership.uuid if membership else None,
            "documents": sum(report["documents"] for report in reports),
            "collections": collections_of(reports),
            "shards": [_shard(report) for report in reports],
            "missing": _missing(reports, membership.shards if membership else 0),
            **({} if isinstance(shards, list) else shards),
        },
        "model": {key: service.model.get(key) for key in ("model_id", "name", "dimension", "text")},
        "stages": {"preprocess": preprocess, "embed": stage_report(embed) if isinstance(embed, list) else embed},
        "gateway": {"in_flight": service.gate.in_flight, "max_concurrency": service.gate.limit},
    }


def _missing(reports: list[dict[str, Any]], known: int) -> list[int]:
    """Numbers of the shards that did not answer."""
    total = max([known, *(int(report["configured_shards"]) for report in reports)])
    return sorted(set(range(total)) - {int(report["number"]) for report in reports})


def _shard(report: dict[str, Any]) -> dict[str, Any]:
    hidden = ("shard", "number", "collections", "configured_shards")
    return {"shard": report["number"], **{key: value for key, value in report.items() if key not in hidden}}


async def _or_error(question: Any) -> Any:
    try:
        async with asyncio.timeout(5):
            return await question
    except VisualSearchError as error:
        return {"error": error.to_json()}
    except TimeoutError:
        return {"error": VisualSearchError("deadline_exceeded", "no answer in time").to_json()}
