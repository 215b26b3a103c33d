"""Conditional writes, safe beside other processes: read what is held, decide, and write if nothing changed in between.

Every write names the sequence number of the document that it replaces (or that there must be none). So a repetition, a
late write, or a writer in another process can neither restore nor overwrite a document that it has not seen.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from executors.errors import VisualSearchError
from executors.index.opensearch.cluster.bulk import Action, BulkQueue, Item
from executors.index.opensearch.cluster.connection import Connection, IndexGoneError, ReadOnlyError, is_turned_away
from executors.index.opensearch.documents.document_sources import STATE_FIELDS, State, state_of
from executors.index.opensearch.search.reading import read_by_id
from executors.index.opensearch.write.decisions import MakePlan, Plan
from executors.index.outcomes import refusal
from executors.index.records import WriteOutcome

_AT_ONCE: Final = 500
_PAUSE_S: Final = 0.02
_CONFLICT: Final = 409


_BUSY: Final = VisualSearchError(
    "storage_unavailable",
    "OpenSearch turns the write away (overload, or a shard is missing), or others keep writing the same documents",
)


class UnknownFieldError(Exception):
    """The index lacks a typed field that this process believes to exist."""


@dataclass(frozen=True, slots=True)
class Change:
    """One write: the `_id`, and a function from the held document to the new one."""

    key: str
    plan: MakePlan


@dataclass(frozen=True, slots=True)
class Target:
    """Where writes go: an alias, and the alias of the index that is being filled to replace it, if there is one."""

    alias: str
    also: str | None = None


class Writer:
    """Applies changes; see `apply`."""

    def __init__(self, connection: Connection, bulk: BulkQueue) -> None:
        self._connection = connection
        self._bulk = bulk

    async def apply(
        self,
        target: Target,
        changes: Sequence[Change],
        *,
        refresh: bool = True,
        expect_new: bool = False,
        whole: bool = False,
    ) -> list[WriteOutcome]:
        """Make the changes; outcomes in their order, including the errors of single ones.

        Args:
            refresh: searches that start after this returned see them.
            expect_new: most ids are new: write first, and read only if a document exists.
            whole: plans need the whole existing document.

        Raises:
            IndexGoneError: the target does not exist (any more).
            UnknownFieldError: the mapping lacks a field; doing everything again is safe.
            VisualSearchError: `storage_unavailable`, `storage_denied`.
        """
        outcomes: dict[int, WriteOutcome] = {}
        for wave in _waves(changes):
            chunks = [wave[at : at + _AT_ONCE] for at in range(0, len(wave), _AT_ONCE)]
            options = {"refresh": refresh, "expect_new": expect_new, "whole": whole}
            done = await asyncio.gather(*(self._apply(target, chunk, **options) for chunk in chunks))
            for each in done:
                outcomes.update(each)
        return [outcomes[n] for n in range(len(changes))]

    async def states(self, alias: str, keys: Sequence[str], fields: Sequence[str] | None) -> list[State | None]:
        """The state under each key; it also sees writes that searches do not see yet.

        Args:
            fields: of the source, or None for all.

        Raises:
            IndexGoneError: there is no such alias.
        """
        if not keys:
            return []
        docs = [{"_index": alias, "_id": key, "_source": True if fields is None else list(fields)} for key in keys]
        return [state_of(each) for each in await read_by_id(self._connection, docs)]

    async def _apply(
        self, target: Target, chunk: Sequence[tuple[int, Change]], *, refresh: bool, expect_new: bool, whole: bool
    ) -> dict[int, WriteOutcome]:
        outcomes: dict[int, WriteOutcome] = {}
        waiting = list(chunk)
        unread = expect_new
        deadline = time.monotonic() + self._connection.timeout_s
        turn = 0
        while True:
            states: Sequence[State | None] = [None] * len(waiting)
            if not unread:
                fields = None if whole else STATE_FIELDS
                states = await self.states(target.alias, [change.key for _, change in waiting], fields)
            unread = False
            plans = [change.plan(state) for (_, change), state in zip(waiting, states, strict=True)]
            rows = list(zip(waiting, states, plans, strict=True))
            outcomes |= {n: plan.outcome for (n, _), _, plan in rows if plan.source is None}
            rows = [row for row in rows if row[2].source is not None]
            items = await self._bulk.submit(
                [_action(target.alias, change.key, state, plan) for (_, change), state, plan in rows],
                refresh=refresh,
            )
            waiting = []
            written = []
            for ((n, change), _, plan), item in zip(rows, items, strict=True):
                error = _error_of(item)
                if error is None:
                    outcomes[n] = plan.outcome
                    written.append((change, plan))
                elif item["status"] == _CONFLICT or is_turned_away(item):
                    waiting.append((n, change))
                else:
                    outcomes[n] = refusal(error)
            if target.also is not None:
                await self._copy(target.also, written, refresh)
            if not waiting:
                return outcomes
            if time.monotonic() > deadline:
                return outcomes | {n: refusal(_BUSY) for n, _ in waiting}
            await asyncio.sleep(_PAUSE_S * min(turn, 20) * random.random())
            turn += 1

    async def _copy(self, alias: str, written: Iterable[tuple[Change, Plan]], refresh: bool) -> None:
        """Write the same into the index that is being filled; the newest version wins in any order of arrival."""
        actions = [
            Action(alias, change.key, plan.source, version=external_version(plan.source["version"]))
            for change, plan in written
            if plan.source is not None
        ]
        try:
            for item in await self._bulk.submit(actions, refresh=refresh):
                # On a conflict, the index holds a newer one. All other failures are found and repaired before the
                # switch.
                _error_of(item)
        except (IndexGoneError, UnknownFieldError):
            return


def external_version(version: str) -> int:
    """A version as a number in the same order: 47 bits of milliseconds, 16 of the counter (see `versions.HybridClock`)."""
    milliseconds, counter, _ = version.split("-", 2)
    return (int(milliseconds, 16) << 16 | int(counter, 16)) & (2**63 - 1)


def _waves(changes: Sequence[Change]) -> list[list[tuple[int, Change]]]:
    """The changes in groups in which each key occurs at most once; the order for each key is kept."""
    waves: list[list[tuple[int, Change]]] = []
    times: dict[str, int] = {}
    for n, change in enumerate(changes):
        wave = times.get(change.key, 0)
        times[change.key] = wave + 1
        if wave == len(waves):
            waves.append([])
        waves[wave].append((n, change))
    return waves


def _action(alias: str, key: str, state: State | None, plan: Plan) -> Action:
    assert plan.source is not None
    return Action(alias, key, plan.source, None if state is None else state.place)


def _error_of(item: Item) -> VisualSearchError | None:
    """The error of one write; an error of the whole index is raised."""
    error = item.get("error")
    if error is None:
        return None
    kind, reason = error.get("type", ""), str(error.get("reason", ""))
    if kind == "index_not_found_exception" or "require_alias" in reason:
        raise IndexGoneError(reason)
    if kind == "strict_dynamic_mapping_exception":
        raise UnknownFieldError(reason)
    if kind == "cluster_block_exception":
        raise ReadOnlyError(reason)
    return VisualSearchError("storage_unavailable", f"OpenSearch refuses the document: {kind}", reason=reason)
