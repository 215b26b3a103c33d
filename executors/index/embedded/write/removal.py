"""Deletes: of documents with their descendants, of everything that a filter matches, or of a whole collection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from executors.errors import VisualSearchError
from executors.index.embedded.disk.meta import KnownCollection
from executors.index.embedded.disk.transaction import Transaction
from executors.index.filters import And, Filter
from executors.index.outcomes import refusal, require_identity
from executors.index.records import DocumentKey, WriteOutcome
from executors.index.write_rules import Held, decide_delete

_EVERYTHING: Final = And(())


def delete(transaction: Transaction, keys: Sequence[DocumentKey | VisualSearchError]) -> list[WriteOutcome]:
    """See `Store.delete`."""
    require_identity(transaction.identity)
    return [refusal(each) if isinstance(each, VisualSearchError) else _delete(transaction, each) for each in keys]


def _delete(transaction: Transaction, key: DocumentKey) -> WriteOutcome:
    held = transaction.held(key.collection, key.id)
    outcome, effect = decide_delete(held, key, transaction.removals.dropped_at(key.collection))
    if effect is not None:
        transaction.bury(key.collection, key.id, held, effect.held)
    collection = transaction.collection(key.collection)
    if collection is None or outcome.error is not None:
        return outcome
    # This also runs when the delete is executed again: a descendant may have arrived late.
    descendants = _remove_descendants(transaction, collection, [key.id], key.version)
    return replace(outcome, descendants=tuple(descendants))


def delete_children(transaction: Transaction, collection: str, parents: Sequence[str], version: str) -> list[str]:
    """See `Store.delete_children`."""
    require_identity(transaction.identity)
    known = transaction.collection(collection)
    return [] if known is None else _remove_descendants(transaction, known, parents, version)


def delete_matching(transaction: Transaction, collection: str, where: Filter, version: str, most: int) -> list[str]:
    """See `Store.delete_matching`."""
    require_identity(transaction.identity)
    known = transaction.collection(collection)
    if known is None:
        return []
    removed = []
    for document_id, row in transaction.matching(known, where, version, most):
        _remove(transaction, known, document_id, row, version)
        removed.append(document_id)
    return removed + _remove_descendants(transaction, known, removed, version)


def drop_collection(transaction: Transaction, name: str, version: str, documents: int) -> int | None:
    """See `Store.drop_collection`; `documents` is how many there are."""
    require_identity(transaction.identity)
    known, before = transaction.collection(name), transaction.removals.dropped_at(name)
    if version <= before:
        # Executed again, or too late: documents created since are kept.
        return 0 if version == before else None
    transaction.removals.note_drop(name, version)
    late = version < transaction.last_version
    transaction.accept(version)
    if known is None:
        return None
    if late and transaction.has_newer(known, version):
        older = transaction.matching(known, _EVERYTHING, version, documents)
        for document_id, row in older:
            _remove(transaction, known, document_id, row, version)
        return len(older)
    transaction.drop_collection(known, version)
    return documents


def _remove_descendants(
    transaction: Transaction, collection: KnownCollection, parents: Sequence[str], version: str
) -> list[str]:
    """Remove the documents derived from these ids, and those derived from them; a parent may be its own descendant."""
    removed: list[str] = []
    waiting, seen = list(parents), set(parents)
    while waiting:
        for document_id, row, written in transaction.children(collection, waiting.pop()):
            if written < version and document_id not in seen:
                seen.add(document_id)
                _remove(transaction, collection, document_id, row, version)
                removed.append(document_id)
                waiting.append(document_id)
    return removed


def _remove(transaction: Transaction, collection: KnownCollection, document_id: str, row: int, version: str) -> None:
    transaction.remove(collection, row)
    transaction.removals.remember(collection.collection.name, document_id, Held(False, version, "deleted", "deleted"))
    transaction.accept(version)
