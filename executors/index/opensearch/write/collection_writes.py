"""Writes to one collection: into its index, or, if it does not exist, into the tombstones of missing collections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from executors.errors import VisualSearchError, collection_not_found
from executors.index.encoding import EncodedRecord, decode_tags
from executors.index.opensearch.cluster.catalog import Entry
from executors.index.opensearch.cluster.collection_access import Access
from executors.index.opensearch.cluster.typed_fields import Fields
from executors.index.opensearch.documents.document_sources import TOMBSTONE_FIELDS
from executors.index.opensearch.write.conditional_writes import Change, Target, Writer
from executors.index.opensearch.write.decisions import plan_delete, plan_put, plan_supersede, plan_update
from executors.index.opensearch.write.orphan_tombstones import Attic, attic_key
from executors.index.opensearch.write.removal import Removal
from executors.index.outcomes import check_binding, refusal
from executors.index.records import DocumentKey, Superseded, TagUpdate, WriteOutcome


class Writes:
    """`Store.put`, `update`, `supersede` and `delete` for one collection, which is the first argument."""

    def __init__(
        self,
        access: Access,
        writer: Writer,
        fields: Fields,
        removal: Removal,
        attic: Attic,
        now_ms: Callable[[], int],
    ) -> None:
        self._access, self._writer, self._fields = access, writer, fields
        self._removal, self._attic, self._now_ms = removal, attic, now_ms

    async def put(self, name: str, records: Sequence[EncodedRecord], *, refresh: bool) -> list[WriteOutcome]:
        """Insert or replace."""

        async def in_index(target: Target, entry: Entry) -> list[WriteOutcome]:
            assert entry.collection is not None
            outcomes: dict[int, WriteOutcome] = {}
            for n, each in enumerate(records):
                try:
                    check_binding(entry.collection, each.model_id, len(each.embedding) // 4)
                except VisualSearchError as error:
                    outcomes[n] = refusal(error)
            sound = [n for n in range(len(records)) if n not in outcomes]
            known = await self._fields.ensure(target.alias, [decode_tags(records[n].tags) for n in sound])
            changes = [
                Change(records[n].id, partial(plan_put, record=records[n], dropped=entry.dropped, known=known))
                for n in sound
            ]
            written = await self._writer.apply(target, changes, refresh=refresh, expect_new=True)
            outcomes.update(zip(sound, written, strict=True))
            return [outcomes[n] for n in range(len(records))]

        outcomes = await self._access.run(name, in_index)
        return [refusal(collection_not_found(name))] * len(records) if outcomes is None else outcomes

    async def update(self, name: str, updates: Sequence[TagUpdate], *, refresh: bool) -> list[WriteOutcome]:
        """Change tags."""

        async def in_index(target: Target, entry: Entry) -> list[WriteOutcome]:
            known = await self._fields.ensure(target.alias, [each.tags for each in updates])
            plan = partial(plan_update, dropped=entry.dropped, known=known)
            changes = [Change(each.id, partial(plan, update=each)) for each in updates]
            return await self._writer.apply(target, changes, whole=True, refresh=refresh)

        outcomes = await self._access.run(name, in_index)
        if outcomes is not None:
            return outcomes
        keys = [attic_key(name, each.id) for each in updates]
        states = await self._writer.states(self._attic.alias, keys, TOMBSTONE_FIELDS)
        dropped = await self._access.dropped(name)
        return [
            plan_update(state, each, dropped, frozenset()).outcome for state, each in zip(states, updates, strict=True)
        ]

    async def supersede(self, name: str, writes: Sequence[Superseded]) -> list[WriteOutcome]:
        """Remove copies that are not newer than a write to another shard."""
        plan = partial(plan_supersede, now_ms=self._now_ms())

        async def in_index(target: Target, entry: Entry) -> list[WriteOutcome]:
            here = partial(plan, dropped=entry.dropped)
            return await self._writer.apply(target, [Change(each.id, partial(here, write=each)) for each in writes])

        outcomes = await self._access.run(name, in_index)
        if outcomes is not None:
            return outcomes
        plan = partial(plan, dropped=await self._access.dropped(name), collection=name)
        changes = [Change(attic_key(name, each.id), partial(plan, write=each)) for each in writes]
        return await self._writer.apply(Target(self._attic.alias), changes)

    async def delete(self, name: str, keys: Sequence[DocumentKey]) -> list[WriteOutcome]:
        """Remove documents and their descendants."""
        outcomes = await self._access.run(name, lambda target, entry: self._removal.delete(target, keys, entry.dropped))
        if outcomes is not None:
            return outcomes
        dropped = await self._access.dropped(name)
        plan = partial(plan_delete, dropped=dropped, now_ms=self._now_ms(), collection=name)
        changes = [Change(attic_key(name, each.id), partial(plan, key=each)) for each in keys]
        return await self._writer.apply(Target(self._attic.alias), changes)
