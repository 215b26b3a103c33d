"""What each write means: the rules of versions, in one transaction, one outcome for each write.

An id has a live copy, or a tombstone, or neither, never both. A tombstone remembers the write that removed the copy, or
would have removed it, with the result that this write was given, so that a repetition gets the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from executors.errors import VisualSearchError
from executors.index.embedded.reads import damaged_tags
from executors.index.embedded.remembered import Tombstone
from executors.index.embedded.transaction import Transaction
from executors.index.encoding import EncodedRecord, document_digest
from executors.index.outcomes import (
    adopted,
    check_binding,
    collection_not_found,
    refused,
    require_identity,
    stale,
    updated_tags,
)
from executors.index.records import (
    Collection,
    ShardIdentity,
    Superseded,
    TagUpdate,
    WriteOutcome,
    WriteResult,
)


def adopt(transaction: Transaction, identity: ShardIdentity, *, proposed: bool = False) -> None:
    """See `Store.adopt`."""
    transaction.set_identity(adopted(transaction.identity, identity, proposed=proposed))


def ensure_collection(transaction: Transaction, collection: Collection) -> None:
    """See `Store.ensure_collection`."""
    known = transaction.collection(collection.name)
    if known is None:
        transaction.create_collection(collection)
    else:
        check_binding(known.collection, collection.model_id, collection.dimension)


def put(transaction: Transaction, records: Sequence[EncodedRecord | VisualSearchError]) -> list[WriteOutcome]:
    """See `Store.put`; what could not be encoded comes as its error."""
    identity = require_identity(transaction.identity)
    outcomes = [refused(each) if isinstance(each, VisualSearchError) else _put(transaction, each) for each in records]
    if not identity.populated and any(outcome.error is None for outcome in outcomes):
        transaction.set_identity(ShardIdentity(identity.index_uuid, identity.shard, identity.shards, True))
    return outcomes


def _put(transaction: Transaction, record: EncodedRecord) -> WriteOutcome:
    collection = transaction.collection(record.collection)
    if collection is None:
        return refused(collection_not_found(record.collection))
    try:
        check_binding(collection.collection, record.model_id, len(record.embedding) // 4)
    except VisualSearchError as error:
        return refused(error)
    version = record.version
    if version <= (dropped := transaction.removals.dropped_at(record.collection)):
        return stale(record.id, dropped)
    live = transaction.live(collection, record.id)
    result: WriteResult
    if live is None:
        tombstone = transaction.removals.tombstone(record.collection, record.id)
        if tombstone is not None:
            if version <= tombstone.version:
                return stale(record.id, tombstone.version)
            transaction.removals.forget(record.collection, record.id)
        result = "created"
        transaction.insert(collection, record, result, transaction.now_ms)
    elif version == live.version and live.operation == "put":
        return WriteOutcome(live.result, version, live.digest.hex())
    elif version <= live.version:
        return stale(record.id, live.version)
    elif record.digest == live.digest and not transaction.is_damaged(collection, live.row):
        result = "unchanged"
        transaction.set_version(live.row, version, "put", result)
    else:
        # The same content again is how a damaged vector is repaired.
        result = "unchanged" if record.digest == live.digest else "replaced"
        transaction.remove(collection, live.row)
        transaction.insert(collection, record, result, live.created_at)
    transaction.accept(version)
    return WriteOutcome(result, version, record.digest.hex())


def supersede(transaction: Transaction, writes: Sequence[Superseded | VisualSearchError]) -> list[WriteOutcome]:
    """See `Store.supersede`."""
    require_identity(transaction.identity)
    return [refused(each) if isinstance(each, VisualSearchError) else _supersede(transaction, each) for each in writes]


def _supersede(transaction: Transaction, write: Superseded) -> WriteOutcome:
    collection = transaction.collection(write.collection)
    live = transaction.live(collection, write.id) if collection else None
    result: WriteResult = "not_found"
    if live is None:
        if write.version <= transaction.removals.dropped_at(write.collection):
            return WriteOutcome("not_found", write.version, write.digest)
        tombstone = transaction.removals.tombstone(write.collection, write.id)
        if tombstone is not None and write.version <= tombstone.version:
            # There is no copy to remove, and what is remembered refuses this write already. A repetition is answered
            # like the first time.
            if tombstone[:2] == (write.version, "superseded"):
                result = tombstone.result
            return WriteOutcome(result, write.version, write.digest)
    else:
        assert collection is not None
        if live.version > write.version:
            return stale(write.id, live.version)
        result = "unchanged" if live.digest.hex() == write.digest else "replaced"
        transaction.remove(collection, live.row)
    transaction.removals.bury(write.collection, write.id, Tombstone(write.version, "superseded", result))
    transaction.accept(write.version)
    return WriteOutcome(result, write.version, write.digest)


def update(transaction: Transaction, updates: Sequence[TagUpdate | VisualSearchError]) -> list[WriteOutcome]:
    """See `Store.update`."""
    require_identity(transaction.identity)
    return [refused(each) if isinstance(each, VisualSearchError) else _update(transaction, each) for each in updates]


def _update(transaction: Transaction, update: TagUpdate) -> WriteOutcome:
    if update.version <= (dropped := transaction.removals.dropped_at(update.collection)):
        return stale(update.id, dropped)
    collection = transaction.collection(update.collection)
    live = transaction.live(collection, update.id) if collection else None
    if live is None:
        tombstone = transaction.removals.tombstone(update.collection, update.id)
        if tombstone is not None and update.version <= tombstone.version:
            return stale(update.id, tombstone.version)
        return WriteOutcome("not_found", update.version)
    if update.version == live.version and live.operation == "update":
        return WriteOutcome(live.result, live.version, live.digest.hex())
    if update.version <= live.version:
        return stale(update.id, live.version)
    assert collection is not None
    stored, content = transaction.tags_and_content(live.row)
    if stored is None and update.mode == "merge":
        return refused(damaged_tags(update.id))
    try:
        tags = updated_tags(stored, update)
    except VisualSearchError as error:
        return refused(error)
    digest = document_digest(content, tags)
    result: WriteResult = "unchanged" if digest == live.digest and stored is not None else "updated"
    if result == "updated":
        transaction.set_tags(collection, live.row, stored, tags, digest)
    transaction.set_version(live.row, update.version, "update", result)
    transaction.accept(update.version)
    return WriteOutcome(result, update.version, digest.hex())
