"""Writes applied to the tables in one transaction: read what is held, decide by the rules of versions, carry out."""

from __future__ import annotations

from collections.abc import Sequence

from executors.errors import VisualSearchError, collection_not_found
from executors.index.embedded.disk.reads import damaged_tags
from executors.index.embedded.disk.transaction import LiveDocument, Transaction
from executors.index.encoding import EncodedRecord
from executors.index.outcomes import check_binding, identity_after, refusal, require_identity
from executors.index.records import Collection, ShardIdentity, Superseded, TagUpdate, WriteOutcome
from executors.index.write_rules import decide_put, decide_supersede, decide_update


def adopt(transaction: Transaction, identity: ShardIdentity, *, proposed: bool = False) -> None:
    """See `Store.adopt`."""
    transaction.set_identity(identity_after(transaction.identity, identity, proposed=proposed))


def ensure_collection(transaction: Transaction, collection: Collection) -> None:
    """See `Store.ensure_collection`."""
    known = transaction.collection(collection.name)
    if known is None:
        transaction.create_collection(collection)
    else:
        check_binding(known.collection, collection.model_id, collection.dimension)


def put(transaction: Transaction, records: Sequence[EncodedRecord | VisualSearchError]) -> list[WriteOutcome]:
    """See `Store.put`; a record that could not be encoded is given as its error."""
    identity = require_identity(transaction.identity)
    outcomes = [refusal(each) if isinstance(each, VisualSearchError) else _put(transaction, each) for each in records]
    if not identity.populated and any(outcome.error is None for outcome in outcomes):
        transaction.set_identity(ShardIdentity(identity.index_uuid, identity.shard, identity.shards, True))
    return outcomes


def _put(transaction: Transaction, record: EncodedRecord) -> WriteOutcome:
    collection = transaction.collection(record.collection)
    if collection is None:
        return refusal(collection_not_found(record.collection))
    try:
        check_binding(collection.collection, record.model_id, len(record.embedding) // 4)
    except VisualSearchError as error:
        return refusal(error)
    held = transaction.held(record.collection, record.id)
    outcome, effect = decide_put(held, record, transaction.removals.dropped_at(record.collection))
    if effect is None:
        return outcome
    transaction.accept(record.version)
    created_at = transaction.now_ms
    if isinstance(held, LiveDocument):
        if effect.kind == "touch" and not transaction.is_damaged(collection, held.row):
            transaction.set_write(held.row, effect.held)
            return outcome
        # Putting the same content again repairs a damaged vector.
        created_at = held.created_at
        transaction.remove(collection, held.row)
    elif held is not None:
        transaction.removals.forget(record.collection, record.id)
    transaction.insert(collection, record, effect.held.result, created_at)
    return outcome


def supersede(transaction: Transaction, writes: Sequence[Superseded | VisualSearchError]) -> list[WriteOutcome]:
    """See `Store.supersede`."""
    require_identity(transaction.identity)
    return [refusal(each) if isinstance(each, VisualSearchError) else _supersede(transaction, each) for each in writes]


def _supersede(transaction: Transaction, write: Superseded) -> WriteOutcome:
    held = transaction.held(write.collection, write.id)
    outcome, effect = decide_supersede(held, write, transaction.removals.dropped_at(write.collection))
    if effect is not None:
        transaction.bury(write.collection, write.id, held, effect.held)
    return outcome


def update(transaction: Transaction, updates: Sequence[TagUpdate | VisualSearchError]) -> list[WriteOutcome]:
    """See `Store.update`."""
    require_identity(transaction.identity)
    return [refusal(each) if isinstance(each, VisualSearchError) else _update(transaction, each) for each in updates]


def _update(transaction: Transaction, update: TagUpdate) -> WriteOutcome:
    held = transaction.held(update.collection, update.id)
    tags = transaction.tags(held.row) if isinstance(held, LiveDocument) else {}
    readable = damaged_tags(update.id) if tags is None else tags
    outcome, effect = decide_update(held, update, transaction.removals.dropped_at(update.collection), readable)
    if effect is None:
        return outcome
    assert isinstance(held, LiveDocument)
    if effect.tags is not None:
        transaction.set_tags(held.collection, held.row, tags, effect.tags, bytes.fromhex(effect.held.digest))
    transaction.set_write(held.row, effect.held)
    transaction.accept(update.version)
    return outcome
