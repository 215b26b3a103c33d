"""What each write means for what is held under its id: the rules of versions. Pure.

The same rules as those of the embedded store; the tests of the contract hold both to them. `dropped` is the version of the
last drop of the collection's name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from executors.errors import VisualSearchError
from executors.index.encoding import EncodedRecord, document_digest
from executors.index.opensearch.sources import (
    Source,
    State,
    document_source,
    tags_of,
    tombstone_source,
    updated_source,
)
from executors.index.outcomes import refused, stale, updated_tags
from executors.index.records import DocumentKey, Superseded, TagUpdate, WriteOutcome, WriteResult


@dataclass(frozen=True, slots=True)
class Decision:
    """What a write is answered, once `source` (None: nothing) has taken the place of what was held."""

    outcome: WriteOutcome
    source: Source | None = None


# From what is held under the id (None: nothing) to what becomes of it.
Decide: TypeAlias = Callable[[State | None], Decision]


def decide_put(state: State | None, record: EncodedRecord, dropped: str, known: frozenset[str]) -> Decision:
    """See `Store.put`."""
    if record.version <= dropped:
        return Decision(stale(record.id, dropped))
    result: WriteResult = "created"
    if state is not None:
        if state.live and (state.version, state.operation) == (record.version, "put"):
            return Decision(WriteOutcome(state.result, record.version, state.digest))
        if record.version <= state.version:
            return Decision(stale(record.id, state.version))
        if state.live:
            result = "unchanged" if state.digest == record.digest.hex() else "replaced"
    outcome = WriteOutcome(result, record.version, record.digest.hex())
    return Decision(outcome, document_source(record, result, known))


def decide_update(state: State | None, update: TagUpdate, dropped: str, known: frozenset[str]) -> Decision:
    """See `Store.update`; the state has to hold the whole source."""
    if update.version <= dropped:
        return Decision(stale(update.id, dropped))
    if state is None or not state.live:
        if state is not None and update.version <= state.version:
            return Decision(stale(update.id, state.version))
        return Decision(WriteOutcome("not_found", update.version))
    if (state.version, state.operation) == (update.version, "update"):
        return Decision(WriteOutcome(state.result, state.version, state.digest))
    if update.version <= state.version:
        return Decision(stale(update.id, state.version))
    try:
        stored = tags_of(state.source)
    except VisualSearchError as error:
        if update.mode == "merge":
            return Decision(refused(error))
        stored = None
    try:
        tags = updated_tags(stored, update)
    except VisualSearchError as error:
        return Decision(refused(error))
    digest = document_digest(bytes.fromhex(state.content), tags).hex()
    result: WriteResult = "unchanged" if digest == state.digest and stored is not None else "updated"
    kept = stored if result == "unchanged" and stored is not None else tags
    source = updated_source(state.source, update.version, result, kept, digest, known)
    return Decision(WriteOutcome(result, update.version, digest), source)


def decide_delete(
    state: State | None, key: DocumentKey, dropped: str, now_ms: int, collection: str | None = None
) -> Decision:
    """See `Store.delete`, for the document itself; `collection` where no index tells it."""
    if key.version <= dropped:
        return Decision(stale(key.id, dropped))
    result: WriteResult = "not_found"
    if state is not None:
        if not state.live and (state.version, state.operation) == (key.version, "deleted"):
            return Decision(WriteOutcome(state.result, key.version))
        if key.version <= state.version:
            return Decision(stale(key.id, state.version))
        if state.live:
            result = "deleted"
    source = tombstone_source(key.id, key.version, "deleted", result, now_ms, collection)
    return Decision(WriteOutcome(result, key.version), source)


def decide_removal(state: State | None, document_id: str, version: str, now_ms: int) -> Decision:
    """Remove a document that was found, unless it is newer by now: `deleted`, else `not_found`."""
    if state is None or not state.live or version <= state.version:
        return Decision(WriteOutcome("not_found", version))
    source = tombstone_source(document_id, version, "deleted", "deleted", now_ms)
    return Decision(WriteOutcome("deleted", version), source)


def decide_supersede(
    state: State | None, write: Superseded, dropped: str, now_ms: int, collection: str | None = None
) -> Decision:
    """See `Store.supersede`."""
    result: WriteResult = "not_found"
    if write.version <= dropped and (state is None or not state.live):
        return Decision(WriteOutcome(result, write.version, write.digest))
    if state is not None and not state.live and write.version <= state.version:
        # There is no copy to remove, and what is remembered refuses this write already.
        if (state.version, state.operation) == (write.version, "superseded"):
            result = state.result
        return Decision(WriteOutcome(result, write.version, write.digest))
    if state is not None and state.live:
        if state.version > write.version:
            return Decision(stale(write.id, state.version))
        result = "unchanged" if state.digest == write.digest else "replaced"
    source = tombstone_source(write.id, write.version, "superseded", result, now_ms, collection)
    return Decision(WriteOutcome(result, write.version, write.digest), source)
