"""A shard under load that is killed: what its lines say, and the proof that nothing acknowledged was lost."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from executors.index.records import StoredDocument
from executors.index.store import Store
from tests.support.stores.crash import content_of, put_of
from tests.support.stores.records import DIMENSION, found, ids_of, results, unit, where

# None (no document), or the version of its put and of its last write.
State: TypeAlias = tuple[str, str] | None


@dataclass
class Known:
    """One id: the state after its last acknowledged write, and the write in flight, if any. Writes up to `newest` are stale."""

    state: State = None
    newest: str = ""
    pending: tuple[str, str] | None = None

    def after(self, operation: str, version: str) -> State:
        """The state once a write has happened."""
        if operation == "put":
            return version, version
        if operation == "update":
            return None if self.state is None else (self.state[0], version)
        return None

    def accept(self) -> None:
        """The write in flight has happened."""
        assert self.pending is not None
        operation, version = self.pending
        # What changes nothing of an id without document leaves no trace.
        if operation in ("put", "delete", "supersede", "drop") or self.state is not None:
            self.newest = version
        self.state, self.pending = self.after(operation, version), None


@dataclass
class Ledger:
    """The reports of the child over all its lives, by collection and id.

    `saved` and `half_saved` count the files of graphs that were found after kills: whole ones, and begun ones.
    """

    known: defaultdict[str, defaultdict[str, Known]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(Known))
    )
    acknowledged: int = 0
    saved: int = 0
    half_saved: int = 0

    def note(self, line: str) -> None:
        """Take in one line."""
        event = json.loads(line)
        ids = self.known[event["collection"]]
        if event["event"] == "begin":
            for document_id, operation in event["operations"].items():
                ids[document_id].pending = operation, event["version"]
        elif event["event"] == "acknowledged":
            assert event["errors"] == [], event
            for document_id in event["ids"]:
                ids[document_id].accept()
                self.acknowledged += 1
        elif event["event"] == "seen":
            for document_id in event["ids"]:
                if document_id in event["gone"]:
                    ids[document_id].accept()
                ids[document_id].pending = None

    async def check(self, store: Store) -> None:
        """Compare the whole store with the ledger. A write in flight may have been applied or not; the ledger learns which."""
        report = await store.verify()
        assert list(report.faults) == []
        there = {collection.name for collection, _ in (await store.status()).collections}
        for collection, ids in self.known.items():
            names = sorted(ids)
            stored = await store.get(collection, names, embedding=True, thumbnail=True)
            for name, document in zip(names, stored, strict=True):
                _check_one(name, ids[name], document)
            present = [name for name in names if ids[name].state is not None]
            assert await ids_of(store, collection) == present, "a document that was not written, or one twice"
            assert collection in there or not present
            if collection in there:
                await self.check_searches(store, collection, present)

    async def check_searches(self, store: Store, collection: str, present: list[str]) -> None:
        """Every document is found by its own vector, by its tags, and among all."""
        alike: defaultdict[bytes, list[str]] = defaultdict(list)
        for name in present:
            state = self.known[collection][name].state
            assert state is not None
            alike[content_of(name, state[0])[1].tobytes()].append(name)
        for encoded, names in alike.items():
            hits = await found(store, np.frombuffer(encoded, np.float32), limit=len(names), collection=collection)
            assert hits.ids == names, hits.plan
            assert hits.scores == [1.0] * len(names)
            states = [self.known[collection][name].state for name in names]
            assert [tags["put"] for tags in hits.tags] == [state[0] for state in states if state]
        for exact in (True, False):
            hits = await found(store, unit(np.ones(DIMENSION)), limit=10_000, collection=collection, exact=exact)
            assert sorted(hits.ids) == present
        for group in range(3):
            kept = where({"group": group})
            expected = [name for name in present if int(name.split()[-1]) % 3 == group]
            assert [each.id for each in await store.scroll(collection, where=kept)] == expected
            hits = await found(store, unit(np.ones(DIMENSION)), limit=10_000, collection=collection, where=kept)
            assert sorted(hits.ids) == expected

    async def check_late_retries(self, store: Store) -> None:
        """Check that a write not newer than a delete does not bring the document back."""
        for collection, ids in self.known.items():
            for name, known in ids.items():
                if known.state is None and known.newest:
                    outcomes = await store.put([put_of(name, known.newest, collection)])
                    assert results(outcomes)[0] in ("stale_version", "collection_not_found"), name


def _check_one(name: str, known: Known, document: StoredDocument | None) -> None:
    allowed: list[State] = [known.state] + ([known.after(*known.pending)] if known.pending else [])
    state = None if document is None else (document.tags["put"], document.version)
    assert state in allowed, (name, state, known)
    if document is not None and state is not None:
        tags, vector, thumbnail = content_of(name, state[0])
        updated: dict[str, Any] = {} if state[0] == state[1] else {"updated": state[1]}
        assert document.tags == tags | updated
        np.testing.assert_array_equal(document.embedding, vector)
        assert document.thumbnail == thumbnail
    if known.pending and state == known.after(*known.pending) != known.state:
        known.accept()
    known.pending = None
