"""What every replica of a stage says of itself: Jina gives a request to one of them, in turn."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from executors.documents import ImageDoc
from executors.errors import VisualSearchError
from executors.gateway.stages import Stages
from executors.index.merge import unpack

# Other requests take turns, too: a few rounds reach all of them.
_ROUNDS: Final = 4


async def replica_reports(stages: Stages, stage: str) -> list[dict[str, Any]]:
    """Ask until every replica has answered once; each report says in `replica_count` how many there are.

    Returns:
        The reports in the order of the replicas' names; one that did not answer is left out.

    Raises:
        VisualSearchError: `unavailable` or `deadline_exceeded` when none answered.
    """
    first = await _ask(stages, stage)
    expected = int(first.get("replica_count", 1))
    reports = {str(first.get("replica")): first}
    for _ in range(_ROUNDS):
        missing = expected - len(reports)
        if missing <= 0:
            break
        answers = await asyncio.gather(*(_ask(stages, stage) for _ in range(expected)), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, dict):
                reports[str(answer.get("replica"))] = answer
            elif not isinstance(answer, VisualSearchError):
                raise answer
    return [reports[name] for name in sorted(reports)]


def check_replicas_ready(reports: Sequence[Mapping[str, Any]]) -> None:
    """Whether every replica answered, and can do its work.

    Raises:
        VisualSearchError: `unavailable`, or the only reason that the replicas give; `details.replicas` names them.
    """
    total = int(reports[0].get("replica_count", 1))
    waiting = [each for each in reports if each.get("ready") is False]
    errors = [{"replica": each.get("replica"), "error": each.get("error")} for each in waiting]
    state = {"stage": "embed", "replicas": {"total": total, "answered": len(reports), "not_ready": errors}}
    if len(reports) < total:
        message = f"{total - len(reports)} of {total} replicas of the stage 'embed' do not answer"
        raise VisualSearchError("unavailable", message, **state)
    if waiting:
        reason = waiting[0].get("error") or {}
        code = str(reason.get("code", "unavailable"))
        message = str(reason.get("message", "the model is not loaded yet"))
        raise VisualSearchError(code, f"{waiting[0].get('replica')}: {message}", **state)


def check_endpoints(reports: Sequence[Mapping[str, Any]]) -> None:
    """Whether every server that a replica calls is fit to be called.

    Raises:
        VisualSearchError: `unavailable`; `details.endpoints` names those that are not.
    """
    down = [
        {"replica": report.get("replica"), "url": endpoint["url"], "model": name, **fault}
        for report in reports
        for endpoint in report.get("endpoints", [])
        for name, fault in _faults(endpoint)
    ]
    if down:
        message = f"{down[0]['replica']}: the Triton server {down[0]['url']} is not used now ({down[0]['state']})"
        raise VisualSearchError("unavailable", message, stage="embed", endpoints=down)


def _faults(endpoint: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The models that may not be called there, each with its state and the reason. One that is being checked may be fine."""
    for name, model in endpoint["models"].items():
        if model["state"] not in ("ready", "checking"):
            yield name, {"state": model["state"], "error": model["error"] or endpoint.get("last_error")}


def stage_report(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The first replica's report, and all of them in `replicas`."""
    return {**reports[0], "replicas": list(reports)}


async def _ask(stages: Stages, stage: str) -> dict[str, Any]:
    answer = await stages.post("/status", [ImageDoc.from_values(id="status")], target=f"^{stage}$")
    return unpack(answer.documents[0])
