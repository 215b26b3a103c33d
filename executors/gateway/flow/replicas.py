"""Collects the reports of all replicas of a stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from executors.errors import VisualSearchError, error_from_json
from executors.gateway.flow.stages import Stages
from executors.index.wire.columns import unpack


@dataclass(frozen=True, slots=True)
class ReplicaReports:
    """The reports of the replicas that answered, and the names and errors of those that did not, in the order of the replicas."""

    answered: list[dict[str, Any]]
    silent: dict[str, VisualSearchError] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the first replica's report, with all reports in `replicas` and the names of the silent replicas in `silent`."""
        return {**self.answered[0], "replicas": self.answered, "silent": list(self.silent)}


async def replica_reports(stages: Stages, stage: str) -> ReplicaReports:
    """Ask every replica of a stage for its report.

    Raises:
        VisualSearchError: `unavailable` or `deadline_exceeded` if none answered; `details.silent` names them.
    """
    answers = await stages.ask_each(stage, "/status")
    silent = {each.name: each.error for each in answers if each.error is not None}
    reports = [{"replica": each.name, **unpack(each.document)} for each in answers if each.document is not None]
    if not reports:
        code = next(iter(silent.values())).code if silent else "unavailable"
        raise VisualSearchError(code, f"the stage {stage!r} does not answer", stage=stage, silent=list(silent))
    return ReplicaReports(reports, silent)


def check_replicas_ready(stage: str, reports: ReplicaReports) -> None:
    """Check that every replica answered and is ready.

    Raises:
        VisualSearchError: `unavailable` if a replica is silent, else the reason that the first unready replica gives;
            `details.replicas` names all of them.
    """
    answered, silent = len(reports.answered), list(reports.silent)
    waiting = [each for each in reports.answered if each.get("ready") is False]
    errors = [{"replica": each.get("replica"), "error": each.get("error")} for each in waiting]
    counts = {"total": answered + len(silent), "answered": answered, "silent": silent, "not_ready": errors}
    state = {"stage": stage, "replicas": counts}
    if silent:
        verb = "does" if len(silent) == 1 else "do"
        message = f"{' and '.join(silent)} {verb} not answer ({len(silent)} of {answered + len(silent)} replicas)"
        raise VisualSearchError("unavailable", message, **state)
    if waiting:
        reason = waiting[0].get("error") or {}
        found = error_from_json({"code": "unavailable", "message": "the model is not loaded yet", **reason})
        raise VisualSearchError(found.code, f"{waiting[0].get('replica')}: {found.message}", **state)


def check_endpoints(stage: str, reports: Sequence[Mapping[str, Any]]) -> None:
    """Check that the replicas can use every Triton server that they call.

    Raises:
        VisualSearchError: `unavailable`; `details.endpoints` names the servers that can't be used.
    """
    down = [
        {"replica": report.get("replica"), "url": endpoint["url"], "model": name, **fault}
        for report in reports
        for endpoint in report.get("endpoints", [])
        for name, fault in _faults(endpoint)
    ]
    if down:
        message = f"{down[0]['replica']}: the Triton server {down[0]['url']} is not used now ({down[0]['state']})"
        raise VisualSearchError("unavailable", message, stage=stage, endpoints=down)


def _faults(endpoint: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the models that the server can't be used for, with state and reason. A model in state `checking` may be fine."""
    for name, model in endpoint["models"].items():
        if model["state"] not in ("ready", "checking"):
            yield name, {"state": model["state"], "error": model["error"] or endpoint.get("last_error")}
