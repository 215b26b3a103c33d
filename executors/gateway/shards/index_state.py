"""Asks all processes of the index for their reports, and finds those that don't answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from executors.errors import SILENT, VisualSearchError, error_from_json
from executors.gateway.flow.questions import answer_or_error
from executors.gateway.operations.service import SearchService

# The head needs two seconds to notice that a shard is silent.
_ANSWER_S: Final = 4.0


@dataclass(frozen=True, slots=True)
class IndexState:
    """The reports of the shards that answered, the names of the silent processes, and the first error."""

    stage: str
    reports: list[dict[str, Any]]
    total: int
    silent: list[str]
    error: VisualSearchError | None

    @property
    def missing(self) -> list[int]:
        """The numbers of the shards that did not answer; empty if the head or the merge, which would know, is silent itself."""
        if any(name == _head_of(self.stage) or "/uses_" in name for name in self.silent):
            return []
        return sorted(set(range(self.total)) - {int(report["number"]) for report in self.reports})

    def counts(self) -> dict[str, Any]:
        """Return how many shards there are, how many answered, and which are missing."""
        return {"total": self.total, "answered": len(self.reports), "missing": self.missing}


async def index_state(service: SearchService, within_s: float = _ANSWER_S) -> IndexState:
    """Ask every shard, and the head if there is one, for at most so many seconds."""
    stage = service.stages.topology.index
    asked = answer_or_error(service.index_client.shard_reports(), stage, within_s)
    silent, answer = await asyncio.gather(service.stages.silent_replicas(stage), asked)
    reports = answer if isinstance(answer, list) else []
    membership = service.index_client.membership
    total = max([membership.shards if membership else 1, *(int(each["configured_shards"]) for each in reports)])
    if service.stages.calls_shards(stage):
        silent = []  # the reports tell which shards are missing
    elif total > 1:
        # With several shards, the gateway speaks only to their head.
        silent = [_head_of(stage) for _ in silent]
    failure = answer if isinstance(answer, VisualSearchError) else None
    # If the merge does not answer, the head names it; of the shards it knows only the numbers.
    silent += [name for name in (failure.details.get("silent", []) if failure else []) if "/uses_" in name]
    state = IndexState(stage, reports, total, silent, None)
    shards = [shard_name(state.stage, number) for number in state.missing] if total > 1 else []
    error = _error(state, failure)
    return IndexState(stage, reports, total, silent + shards, error)


def shard_name(stage: str, number: int) -> str:
    """Return Jina's name of a shard's process, without the replica."""
    return f"{stage}/shard-{number}"


def _head_of(stage: str) -> str:
    return f"{stage}/head"


def _error(state: IndexState, failure: VisualSearchError | None) -> VisualSearchError | None:
    if state.silent:
        verb = "does" if len(state.silent) == 1 else "do"
        message = f"{' and '.join(state.silent)} {verb} not answer"
        return VisualSearchError("unavailable", message, stage=state.stage, silent=state.silent)
    if failure is not None and failure.code not in SILENT:
        return failure
    if state.missing and (state.reports or failure is None or failure.status == 503):
        names = " and ".join(str(number) for number in state.missing)
        verb = "shard {} does" if len(state.missing) == 1 else "shards {} do"
        silent = [shard_name(state.stage, number) for number in state.missing]
        message = f"{verb.format(names)} not answer"
        return VisualSearchError("shard_missing", message, shards=state.counts(), silent=silent)
    return failure or _storage_error(state.reports)


def _storage_error(reports: Sequence[dict[str, Any]]) -> VisualSearchError | None:
    """Return the storage error of the shards, such as a full disk: the first shard's code, with the messages of all."""
    faults = [(report["number"], report["storage_error"]) for report in reports if report.get("storage_error")]
    if not faults:
        return None
    number, first = faults[0]
    message = "; ".join(f"shard {shard}: {error['message']}" for shard, error in faults)
    error = error_from_json(first)
    return VisualSearchError(error.code, message, shard=number, **error.details)
