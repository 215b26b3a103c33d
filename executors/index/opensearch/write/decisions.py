"""The rules of versions (`write_rules`) for documents in OpenSearch: each decision with the resulting source. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from executors.errors import VisualSearchError
from executors.index.encoding import EncodedRecord
from executors.index.opensearch.documents.document_sources import (
    Source,
    State,
    document_source,
    tags_of,
    tombstone_source,
    updated_source,
)
from executors.index.records import DocumentKey, Superseded, Tags, TagUpdate, WriteOutcome
from executors.index.write_rules import (
    Decision,
    decide_delete,
    decide_put,
    decide_removal,
    decide_supersede,
    decide_update,
)


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer to a write, valid once `source` (None: nothing) has replaced the held document."""

    outcome: WriteOutcome
    source: Source | None = None


# A function from the state under the id (None: nothing) to the plan.
MakePlan: TypeAlias = Callable[[State | None], Plan]


def plan_put(state: State | None, record: EncodedRecord, dropped: str, known: frozenset[str]) -> Plan:
    """See `decide_put`; `known` are the typed fields of the index."""
    outcome, effect = decide_put(state, record, dropped)
    return Plan(outcome, None if effect is None else document_source(record, effect.held, known))


def plan_update(state: State | None, update: TagUpdate, dropped: str, known: frozenset[str]) -> Plan:
    """See `decide_update`; the state has to hold the whole source of a document."""
    stored = _readable_tags(state)
    outcome, effect = decide_update(state, update, dropped, stored)
    if effect is None:
        return Plan(outcome)
    assert state is not None
    return Plan(outcome, updated_source(state.source, effect.held, effect.tags, known))


def plan_delete(
    state: State | None, key: DocumentKey, dropped: str, now_ms: int, collection: str | None = None
) -> Plan:
    """See `decide_delete`; `collection` if the index does not imply it."""
    return _burial(decide_delete(state, key, dropped), key.id, now_ms, collection)


def plan_removal(state: State | None, document_id: str, version: str, now_ms: int) -> Plan:
    """See `decide_removal`."""
    return _burial(decide_removal(state, version), document_id, now_ms)


def plan_supersede(
    state: State | None, write: Superseded, dropped: str, now_ms: int, collection: str | None = None
) -> Plan:
    """See `decide_supersede`; `collection` if the index does not imply it."""
    return _burial(decide_supersede(state, write, dropped), write.id, now_ms, collection)


def _burial(decision: Decision, document_id: str, now_ms: int, collection: str | None = None) -> Plan:
    outcome, effect = decision
    return Plan(outcome, None if effect is None else tombstone_source(document_id, effect.held, now_ms, collection))


def _readable_tags(state: State | None) -> Tags | VisualSearchError:
    """The tags of the document, if there is one, or the error if they can't be read."""
    if state is None or not state.live:
        return {}
    try:
        return tags_of(state.source)
    except VisualSearchError as error:
        return error
