"""Deletes of several documents at once: descendants of a document, and everything that a filter matches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from executors.index.filters import Filter, matches
from executors.index.opensearch.documents.document_sources import State, tags_of
from executors.index.opensearch.search.queries import LIVE, children_of, live_query, older_than
from executors.index.opensearch.search.reading import Reader
from executors.index.opensearch.write.conditional_writes import Change, Target, Writer
from executors.index.opensearch.write.decisions import Plan, plan_delete, plan_removal
from executors.index.records import DocumentKey, WriteOutcome

# The maximum number of parents in one query.
_AT_ONCE: Final = 1_000
_EVERY: Final = 10_000


class Removal:
    """Removes documents of one collection."""

    def __init__(self, writer: Writer, reader: Reader, now_ms: Callable[[], int]) -> None:
        self._writer = writer
        self._reader = reader
        self._now_ms = now_ms

    async def delete(self, target: Target, keys: Sequence[DocumentKey], dropped: str) -> list[WriteOutcome]:
        """See `Store.delete`, in one collection; `dropped` is the version of the last drop of its name."""
        await self._reader.refresh(target.alias)
        if not await self._children(target, [key.id for key in keys], None):
            return await self._delete_alone(target, keys, dropped)
        # One after the other: each delete removes documents that others would find.
        outcomes = []
        for key in keys:
            (outcome,) = await self._delete_alone(target, [key], dropped)
            descendants: list[str] = []
            if outcome.error is None:
                descendants = await self.delete_children(target, [key.id], key.version)
            outcomes.append(WriteOutcome(outcome.result, outcome.version, "", outcome.error, tuple(descendants)))
        return outcomes

    async def delete_children(self, target: Target, parents: Sequence[str], version: str) -> list[str]:
        """See `Store.delete_children`, in one collection."""
        await self._reader.refresh(target.alias)
        seen = set(parents)
        found: list[str] = []
        generation = list(parents)
        while generation:
            children = [each for each in await self._children(target, generation, version) if each not in seen]
            seen.update(children)
            found += children
            generation = children
        return await self._remove(target, found, version, still=lambda state: state.source.get("parent") in seen)

    async def delete_matching(self, target: Target, where: Filter, version: str, limit: int) -> list[str]:
        """See `Store.delete_matching`, in one collection."""
        await self._reader.refresh(target.alias)
        removed: list[str] = []
        after = ""
        while not removed:
            hits = await self._reader.page(
                target.alias, live_query(where, older_than(version)), ["id"], after, max(1, limit)
            )
            if not hits:
                return []
            ids = [hit["_source"]["id"] for hit in hits]
            removed = await self._remove(
                target, ids, version, still=lambda state: matches(where, tags_of(state.source))
            )
            # All of the documents may have changed since.
            after = ids[-1]
        return removed + await self.delete_children(target, removed, version)

    async def delete_older(self, target: Target, version: str) -> int:
        """Remove every document that is older than this version; returns how many there were."""
        removed = 0
        async for hits in self._reader.scan(target.alias, {"bool": {"filter": [LIVE, older_than(version)]}}, ["id"]):
            ids = [hit["_source"]["id"] for hit in hits]
            removed += len(await self._remove(target, ids, version, still=lambda _: True))
        return removed

    async def _delete_alone(self, target: Target, keys: Sequence[DocumentKey], dropped: str) -> list[WriteOutcome]:
        plan = partial(plan_delete, dropped=dropped, now_ms=self._now_ms())
        changes = [Change(key.id, partial(plan, key=key)) for key in keys]
        return await self._writer.apply(target, changes)

    async def _remove(
        self, target: Target, ids: Sequence[str], version: str, *, still: Callable[[State], bool]
    ) -> list[str]:
        """Remove the documents that were found, if they are not newer and still match; returns the ids of those
        removed.
        """
        now = self._now_ms()

        def plan(state: State | None, document_id: str) -> Plan:
            if state is not None and state.live and not still(state):
                state = None
            return plan_removal(state, document_id, version, now)

        changes = [Change(each, partial(plan, document_id=each)) for each in ids]
        outcomes = await self._writer.apply(target, changes, whole=True)
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
        return [each for each, outcome in zip(ids, outcomes, strict=True) if outcome.result == "deleted"]

    async def _children(self, target: Target, parents: Sequence[str], version: str | None) -> list[str]:
        """The ids of documents derived from these, older than the version."""
        wanted = set(parents)
        children: list[str] = []
        for at in range(0, len(parents), _AT_ONCE):
            conditions = [LIVE, children_of(parents[at : at + _AT_ONCE])]
            if version is not None:
                conditions.append(older_than(version))
            async for hits in self._reader.scan(
                target.alias, {"bool": {"filter": conditions}}, ["id", "parent"], _EVERY
            ):
                children += [hit["_source"]["id"] for hit in hits if hit["_source"].get("parent") in wanted]
        return children
