"""The state of a shard as dictionaries, and the effect of each write on it (see `Store` for the rules)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields, replace
from typing import Literal, NamedTuple

from executors.document_values import MAX_TAGS_BYTES
from executors.errors import ErrorCode, VisualSearchError
from executors.index.records import (
    Collection,
    DocumentKey,
    Record,
    ShardIdentity,
    Superseded,
    Tags,
    TagUpdate,
    WriteOutcome,
    WriteResult,
)

_NO_CONTENT = ("collection", "id", "version", "model_id")


class Live(NamedTuple):
    """A document that is there, with the write that left it so."""

    record: Record
    operation: Literal["put", "update"]
    result: WriteResult


class Gone(NamedTuple):
    """The record that is kept of an id without a document."""

    version: str = ""
    reason: Literal["never", "deleted", "superseded"] = "never"
    result: WriteResult = "not_found"


@dataclass
class Shard:
    """Live documents and removed ones by (collection, id); versions of drops by collection."""

    identity: ShardIdentity | None = None
    last_version: str = ""
    collections: dict[str, Collection] = field(default_factory=dict)
    documents: dict[tuple[str, str], Live] = field(default_factory=dict)
    removed: dict[tuple[str, str], Gone] = field(default_factory=dict)
    drops: dict[str, str] = field(default_factory=dict)

    def adopt(self, identity: ShardIdentity, proposed: bool) -> None:
        mine = self.identity or identity
        if proposed and mine.shard == identity.shard:
            self.identity = mine
            return
        if not mine.populated:
            self.identity = identity
            return
        same = (mine.index_uuid, mine.shard) == (identity.index_uuid, identity.shard)
        if not same or identity.shards < mine.shards:
            raise VisualSearchError("shard_identity", f"this is {mine}, not {identity}")
        self.identity = replace(identity, populated=True)

    def drop(self, name: str, version: str) -> int | None:
        before = self.drops.get(name, "")
        if version <= before:
            return 0 if version == before else None
        self.drops[name] = version
        self._accept(version)
        if name not in self.collections:
            return None
        mine = [key for key in self.documents if key[0] == name]
        if any(self.documents[key].record.version > version for key in mine):
            older = [key[1] for key in mine if self.documents[key].record.version < version]
            for each in older:
                self._remove((name, each), Gone(version, "deleted", "deleted"))
            return len(older)
        del self.collections[name]
        for key in mine:
            del self.documents[key]
        return len(mine)

    def put(self, record: Record) -> WriteOutcome:
        collection = self.collections.get(record.collection)
        if collection is None:
            return _refused("collection_not_found")
        try:
            check_binding(collection, record.model_id, len(record.embedding))
        except VisualSearchError as error:
            return WriteOutcome(error=error)
        if self._is_dropped(record.collection, record.version):
            return _refused("stale_version")
        record = replace(record, tags=deepcopy(record.tags), embedding=record.embedding.copy())
        key = record.collection, record.id
        live = self.documents.get(key)
        result: WriteResult = "created"
        if live is None:
            if record.version <= self._gone(*key).version:
                return _refused("stale_version")
        elif record.version <= live.record.version:
            if (record.version, "put") == (live.record.version, live.operation):
                return WriteOutcome(live.result, record.version, digest_of(live.record))
            return _refused("stale_version")
        else:
            result = "unchanged" if digest_of(record) == digest_of(live.record) else "replaced"
        assert self.identity is not None
        self.identity = replace(self.identity, populated=True)
        # The last put is the last of the dictionary.
        self.documents.pop(key, None)
        return self._store(key, Live(record, "put", result))

    def update(self, update: TagUpdate) -> WriteOutcome:
        if self._is_dropped(update.collection, update.version):
            return _refused("stale_version")
        key = update.collection, update.id
        live = self.documents.get(key)
        if live is None:
            if update.version <= self._gone(*key).version:
                return _refused("stale_version")
            return WriteOutcome("not_found", update.version)
        if (update.version, "update") == (live.record.version, live.operation):
            return WriteOutcome(live.result, update.version, digest_of(live.record))
        if update.version <= live.record.version:
            return _refused("stale_version")
        tags = deepcopy(update.tags)
        if update.mode == "merge":
            tags = merged(live.record.tags, tags)
            if MAX_TAGS_BYTES < _json_bytes(tags) > _json_bytes(live.record.tags):
                return _refused("invalid_tags")
        record = replace(live.record, version=update.version, tags=tags)
        result: WriteResult = "unchanged" if digest_of(record) == digest_of(live.record) else "updated"
        if result == "unchanged":
            # Also the order of the keys stays as it was.
            record = replace(record, tags=live.record.tags)
        return self._store(key, Live(record, "update", result))

    def supersede(self, write: Superseded) -> WriteOutcome:
        key = write.collection, write.id
        live = self.documents.get(key)
        result: WriteResult = "not_found"
        if live is None:
            gone = self._gone(*key)
            if self._is_dropped(write.collection, write.version):
                return WriteOutcome("not_found", write.version, write.digest)
            if write.version <= gone.version:
                repeated = (gone.version, gone.reason) == (write.version, "superseded")
                return WriteOutcome(gone.result if repeated else "not_found", write.version, write.digest)
        elif write.version < live.record.version:
            return _refused("stale_version")
        else:
            result = "unchanged" if digest_of(live.record) == write.digest else "replaced"
        self._remove(key, Gone(write.version, "superseded", result))
        return WriteOutcome(result, write.version, write.digest)

    def delete(self, key: DocumentKey) -> WriteOutcome:
        if self._is_dropped(key.collection, key.version):
            return _refused("stale_version")
        name = key.collection, key.id
        live = self.documents.get(name)
        result: WriteResult = "not_found"
        if live is None:
            gone = self._gone(*name)
            if (gone.version, gone.reason) == (key.version, "deleted"):
                result = gone.result
            elif key.version <= gone.version:
                return _refused("stale_version")
        elif key.version <= live.record.version:
            return _refused("stale_version")
        else:
            result = "deleted"
        self._remove(name, Gone(key.version, "deleted", result))
        descendants = self.remove_descendants(key.collection, [key.id], key.version)
        return WriteOutcome(result, key.version, descendants=tuple(descendants))

    def remove_descendants(self, collection: str, parents: Sequence[str], version: str) -> list[str]:
        """Remove what came from the parents, generation by generation; what is newer stays, with what came from it."""
        asked = set(parents)
        removed: list[str] = []
        generation = set(parents)
        while generation:
            children = [
                key[1]
                for key, live in sorted(self.documents.items(), key=lambda item: item[0])
                if key[0] == collection
                and live.record.parent in generation
                and live.record.version < version
                and key[1] not in asked
            ]
            for child in children:
                self._remove((collection, child), Gone(version, "deleted", "deleted"))
            removed += children
            generation = set(children)
        return removed

    def remove_matching(self, collection: str, ids: Sequence[str], version: str) -> list[str]:
        """Remove these documents and what came from them."""
        for each in ids:
            self._remove((collection, each), Gone(version, "deleted", "deleted"))
        return [*ids, *self.remove_descendants(collection, ids, version)]

    def _is_dropped(self, collection: str, version: str) -> bool:
        return version <= self.drops.get(collection, "")

    def _gone(self, collection: str, document_id: str) -> Gone:
        """Return the error that says why there is no document."""
        return self.removed.get((collection, document_id), Gone())

    def _store(self, key: tuple[str, str], live: Live) -> WriteOutcome:
        self.documents[key] = live
        self.removed.pop(key, None)
        self._accept(live.record.version)
        return WriteOutcome(live.result, live.record.version, digest_of(live.record))

    def _remove(self, key: tuple[str, str], gone: Gone) -> None:
        self.documents.pop(key, None)
        self.removed[key] = gone
        self._accept(gone.version)

    def _accept(self, version: str) -> None:
        self.last_version = max(self.last_version, version)


def merged(stored: Tags, changes: Tags) -> Tags:
    """The stored tags with the named keys changed; null removes a key."""
    removed = {key for key, value in changes.items() if value is None}
    return {key: value for key, value in (stored | changes).items() if key not in removed}


def digest_of(record: Record) -> str:
    """Return a text that is equal for equal content: all fields but the version; the order of keys in tags does not count."""
    box = None if record.box is None else [float(each) for each in record.box]
    content = {each.name: getattr(record, each.name) for each in fields(record) if each.name not in _NO_CONTENT}
    content |= {"tags": json.dumps(record.tags, sort_keys=True), "box": box, "embedding": record.embedding.tobytes()}
    return hashlib.sha256(repr(content).encode()).hexdigest()


def check_binding(collection: Collection, model_id: str, dimension: int) -> None:
    """Refuse vectors of another model or dimension."""
    if model_id != collection.model_id:
        raise VisualSearchError("model_mismatch", f"{collection.name} is bound to {collection.model_id}")
    if dimension != collection.dimension:
        raise VisualSearchError("dimension_mismatch", f"{collection.name} holds vectors of {collection.dimension}")


def _refused(code: ErrorCode) -> WriteOutcome:
    return WriteOutcome(error=VisualSearchError(code, "refused"))


def _json_bytes(tags: Tags) -> int:
    return len(json.dumps(tags, ensure_ascii=False, separators=(",", ":")).encode())
