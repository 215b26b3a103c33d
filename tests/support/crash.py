"""A shard under load that is killed, and the proof that nothing acknowledged was lost.

Run as a program it is the child: several lanes write their own ids, each line of its output says what is about to be
written or has been acknowledged. The contents follow from the id and the version, so the parent can tell what must be
there from the lines alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from executors.index.embedded.store import EmbeddedStore
from executors.index.records import DocumentKey, Record, Superseded, TagUpdate, WriteOutcome
from executors.index.store import Store
from executors.index.versions import HybridClock
from tests.support.records import (
    DIMENSION,
    IDENTITY,
    IMAGES,
    MODEL,
    found,
    ids_of,
    unit,
)

LANES = 5
IDS_A_LANE = 12


def content_of(document_id: str, version: str) -> tuple[dict[str, Any], NDArray[np.float32], bytes]:
    """Tags, vector and thumbnail of the put of this version."""
    seed = zlib.crc32(f"{document_id} {version}".encode())
    rng = np.random.default_rng(seed)
    return {"put": version, "seed": seed}, unit(rng.standard_normal(DIMENSION)), rng.bytes(seed % 3000)


@dataclass
class Known:
    """What the lines tell of one id: the state after its last acknowledged write, and the write in flight, if any.

    A state is None (no document) or (version of the put, version of the last write). Writes up to `newest` are stale.
    """

    state: tuple[str, str] | None = None
    newest: str = ""
    pending: tuple[str, str] | None = None

    def after(self, operation: str, version: str) -> tuple[str, str] | None:
        if operation == "put":
            return version, version
        if operation == "update":
            return None if self.state is None else (self.state[0], version)
        return None


@dataclass
class Ledger:
    """What the child said, over all its lives."""

    ids: dict[str, Known] = field(default_factory=dict)
    acknowledged: int = 0

    def note(self, line: str) -> None:
        event = json.loads(line)
        for document_id in event["ids"]:
            known = self.ids.setdefault(document_id, Known())
            if event["event"] == "begin":
                known.pending = event["operation"], event["version"]
            else:
                assert known.pending is not None
                assert event["errors"] == [], event
                operation, version = known.pending
                # An update of an id without document leaves no trace.
                if operation != "update" or known.state is not None:
                    known.newest = version
                known.state, known.pending = known.after(operation, version), None
                self.acknowledged += 1

    async def check(self, store: Store) -> None:
        """Compare everything; a write in flight may have happened or not, and is known afterwards."""
        report = await store.verify()
        assert list(report.faults) == []
        names = sorted(self.ids)
        stored = dict(zip(names, await store.get(IMAGES.name, names, embedding=True, thumbnail=True), strict=True))
        for name, known in self.ids.items():
            document = stored[name]
            allowed = [known.state] + ([known.after(*known.pending)] if known.pending else [])
            state = None if document is None else (document.tags["put"], document.version)
            assert state in allowed, (name, state, known)
            if document is not None:
                tags, vector, thumbnail = content_of(name, document.tags["put"])
                updated = {} if state is None or state[0] == state[1] else {"updated": state[1]}
                kept = {key: value for key, value in document.tags.items() if key != "updated"}
                assert kept == tags
                assert document.tags.get("updated") == updated.get("updated")
                np.testing.assert_array_equal(document.embedding, vector)
                assert document.thumbnail == thumbnail
                hits = await found(store, vector, limit=1)
                assert (hits.ids, hits.scores) == ([name], [1.0])
            if known.pending and state == known.after(*known.pending) != known.state:
                known.newest = known.pending[1]
            known.state, known.pending = state, None
        present = [name for name, known in self.ids.items() if known.state is not None]
        assert await ids_of(store) == sorted(present), "a document that nobody wrote, or one twice"
        hits = await found(store, unit(np.ones(DIMENSION)), limit=10_000)
        assert sorted(hits.ids) == sorted(present)

    async def check_late_retries(self, store: Store) -> None:
        """A write that is no newer than what removed a document must not bring it back."""
        for name, known in self.ids.items():
            if known.state is None and known.newest:
                (outcome,) = await store.put([put_of(name, known.newest)])
                assert outcome.error is not None, name
                assert outcome.error.code == "stale_version"


def put_of(document_id: str, version: str) -> Record:
    """The put of this version."""
    tags, vector, thumbnail = content_of(document_id, version)
    return Record(IMAGES.name, document_id, version, MODEL, vector, tags, thumbnail=thumbnail)


def say(**event: Any) -> None:
    """One line that reaches the parent even if the next instruction is never executed."""
    os.write(1, (json.dumps(event) + "\n").encode())


async def write(store: Store, operation: str, ids: list[str], version: str) -> list[WriteOutcome]:
    if operation == "put":
        return await store.put([put_of(each, version) for each in ids])
    if operation == "update":
        return await store.update([TagUpdate(IMAGES.name, each, version, {"updated": version}) for each in ids])
    if operation == "delete":
        return await store.delete([DocumentKey(IMAGES.name, each, version) for each in ids])
    return await store.supersede([Superseded(IMAGES.name, each, version, "") for each in ids])


async def lane(store: Store, number: int, clock: HybridClock, chance: random.Random) -> None:
    """One write after the other, on ids of its own, for ever."""
    names = [f"lane {number} document {each}" for each in range(IDS_A_LANE)]
    while True:
        ids = chance.sample(names, chance.choice([1, 1, 1, 3, IDS_A_LANE]))
        operation = chance.choices(["put", "update", "delete", "supersede"], [5, 2, 2, 1])[0]
        version = clock.next()
        say(event="begin", operation=operation, version=version, ids=ids)
        outcomes = await write(store, operation, ids, version)
        say(event="acknowledged", ids=ids, errors=[str(each.error) for each in outcomes if each.error])


async def child(folder: Path, seed: int) -> None:
    """Open and write until killed."""
    # Checkpoints often enough that some are killed, too.
    store = EmbeddedStore(folder, checkpoint_every=150)
    await store.open()
    await store.adopt(IDENTITY)
    await store.ensure_collection(IMAGES)
    clock = HybridClock("crash")
    clock.observe((await store.status()).last_version)
    chance = random.Random(seed)
    say(event="ready", ids=[])
    await asyncio.gather(*[lane(store, number, clock, random.Random(chance.random())) for number in range(LANES)])


if __name__ == "__main__":
    asyncio.run(child(Path(sys.argv[1]), int(sys.argv[2])))
