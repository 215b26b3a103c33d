"""The rules of versions: the effect of a write, given what a store holds under its id. Pure, and the same for every
store.

Under an id a store holds a document, or a tombstone of the write that removed it, or neither, never both. For each
write it reads what it holds (`Held`), asks the rule of that write, and carries out the effect before anything else can
change what was read. A tombstone also keeps the result of its write, so that a repetition gets the same answer.

In all rules `held` is None if the store has no record of the id, and `dropped` is the version of the last drop of a
collection of that name, empty if none is remembered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from executors.errors import VisualSearchError
from executors.index.encoding import EncodedRecord, document_digest
from executors.index.outcomes import refusal, stale, updated_tags
from executors.index.records import DocumentKey, Superseded, Tags, TagUpdate, WriteOutcome, WriteResult

# `put` and `update` leave a document, the other two a tombstone.
Operation: TypeAlias = Literal["put", "update", "deleted", "superseded"]


@dataclass(frozen=True, slots=True)
class Held:
    """The record under an id: a document (`live`), or a tombstone.

    Attributes:
        version, operation, result: the last write of the id, and its answer.
        digest, content: digests of the document in hexadecimal: of all its content, and of all but the tags (see
            `encoding`). Empty for a tombstone.
    """

    live: bool
    version: str
    operation: Operation
    result: WriteResult
    digest: str = ""
    content: str = ""


class Effect(NamedTuple):
    """The change that the store has to make.

    Attributes:
        kind: `insert` a document if there is none, in place of a tombstone if there is one; `replace` the document;
            `touch` it: only `held` changes; `retag` it: also its tags; `bury` it, if there is one, and leave a
            tombstone.
        held: the record under the id afterwards.
        tags: for `retag`, the new ones.
    """

    kind: Literal["insert", "replace", "touch", "retag", "bury"]
    held: Held
    tags: Tags | None = None


class Decision(NamedTuple):
    """The answer to a write, valid once its effect (None: there is none) is carried out."""

    outcome: WriteOutcome
    effect: Effect | None = None


def decide_put(held: Held | None, record: EncodedRecord, dropped: str) -> Decision:
    """See `Store.put`, for a record that fits its collection."""
    if (answer := _answer_without_effect(held, record, "put", dropped)) is not None:
        return Decision(answer)
    digest = record.digest.hex()
    kind: Literal["insert", "replace", "touch"] = "insert"
    result: WriteResult = "created"
    if held is not None and held.live:
        kind, result = ("touch", "unchanged") if held.digest == digest else ("replace", "replaced")
    after = Held(True, record.version, "put", result, digest, record.content_digest.hex())
    return Decision(WriteOutcome(result, record.version, digest), Effect(kind, after))


def decide_update(held: Held | None, update: TagUpdate, dropped: str, tags: Tags | VisualSearchError) -> Decision:
    """See `Store.update`.

    Args:
        tags: those of the document, or the error if they can't be read; ignored if there is no document.
    """
    if (answer := _answer_without_effect(held, update, "update", dropped)) is not None:
        return Decision(answer)
    if held is None or not held.live:
        return Decision(WriteOutcome("not_found", update.version))
    stored = None if isinstance(tags, VisualSearchError) else tags
    if isinstance(tags, VisualSearchError) and update.mode == "merge":
        return Decision(refusal(tags))
    try:
        new = updated_tags(stored, update)
    except VisualSearchError as error:
        return Decision(refusal(error))
    digest = document_digest(bytes.fromhex(held.content), new).hex()
    # Unreadable tags are replaced even if the new tags have the same digest.
    same = digest == held.digest and stored is not None
    after = Held(True, update.version, "update", "unchanged" if same else "updated", digest, held.content)
    effect = Effect("touch", after) if same else Effect("retag", after, new)
    return Decision(WriteOutcome(after.result, update.version, digest), effect)


def decide_delete(held: Held | None, key: DocumentKey, dropped: str) -> Decision:
    """See `Store.delete`, for the document itself. Its descendants are removed also when the delete is executed again."""
    if (answer := _answer_without_effect(held, key, "deleted", dropped)) is not None:
        return Decision(answer)
    result: WriteResult = "deleted" if held is not None and held.live else "not_found"
    return _burial(key.version, "deleted", result)


def decide_removal(held: Held | None, version: str) -> Decision:
    """Remove a document that was found by its parent or its tags: `deleted`, or `not_found` if it is gone or newer by
    now.
    """
    if held is None or not held.live or version <= held.version:
        return Decision(WriteOutcome("not_found", version))
    return _burial(version, "deleted", "deleted")


def decide_supersede(held: Held | None, write: Superseded, dropped: str) -> Decision:
    """See `Store.supersede`."""
    result: WriteResult = "not_found"
    if held is not None and held.live:
        if held.version > write.version:
            return Decision(stale(write.id, held.version))
        result = "unchanged" if held.digest == write.digest else "replaced"
    elif write.version <= dropped:
        return Decision(WriteOutcome("not_found", write.version, write.digest))
    elif held is not None and write.version <= held.version:
        # There is no copy to remove, and the tombstone refuses this write already.
        if (held.version, held.operation) == (write.version, "superseded"):
            result = held.result
        return Decision(WriteOutcome(result, write.version, write.digest))
    return _burial(write.version, "superseded", result, write.digest)


def _answer_without_effect(
    held: Held | None, write: EncodedRecord | TagUpdate | DocumentKey, operation: Operation, dropped: str
) -> WriteOutcome | None:
    """The answer to a write that is too late, or executed again; None if it is neither."""
    if write.version <= dropped:
        return stale(write.id, dropped)
    if held is None or write.version > held.version:
        return None
    if (write.version, operation) == (held.version, held.operation):
        return WriteOutcome(held.result, held.version, held.digest)
    return stale(write.id, held.version)


def _burial(
    version: str, operation: Literal["deleted", "superseded"], result: WriteResult, digest: str = ""
) -> Decision:
    """The decision that no document stays under the id; `digest` of the write, for its answer."""
    return Decision(WriteOutcome(result, version, digest), Effect("bury", Held(False, version, operation, result)))
