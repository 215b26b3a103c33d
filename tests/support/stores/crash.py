"""A shard under load that is killed: the child. What it is about to do, and what was acknowledged, is in its output.

Several lanes write ids of their own: put, update, delete, supersede, deletes by filter and of whole families; one fills a
collection and drops it; and graphs are built anew all the time. The contents follow from the id and the version, so the
parent (crash_ledger.py) can tell what must be there from the lines alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from executors.index.embedded.memory.collection_memory import GraphOptions
from executors.index.embedded.store import EmbeddedStore
from executors.index.filters import And, In
from executors.index.records import DocumentKey, Record, Superseded, TagUpdate, WriteOutcome
from executors.index.store import Store
from executors.index.versions import HybridClock
from tests.support.stores.records import DIMENSION, IDENTITY, IMAGES, MODEL, unit

LANES = 4
IDS_A_LANE = 30
# The first id of a lane is the parent of some others.
CHILDREN = range(1, 8)
GROUPS = 3
BRIEF = replace(IMAGES, name="brief")
GRAPH = GraphOptions(graph_from=8, save_every=8)


def name_of(lane: str, number: int) -> str:
    return f"lane {lane} document {number}"


def content_of(document_id: str, version: str) -> tuple[dict[str, Any], NDArray[np.float32], bytes]:
    """Tags, vector and thumbnail of the put of this version."""
    seed = zlib.crc32(f"{document_id} {version}".encode())
    rng = np.random.default_rng(seed)
    tags = {"put": version, "seed": seed} | _place(document_id)
    thumbnail = rng.bytes(seed % 3000)
    # Some are copies of two pictures.
    vectors = np.random.default_rng(seed % 2) if seed % 5 == 0 else rng
    return tags, unit(vectors.standard_normal(DIMENSION)), thumbnail


def put_of(document_id: str, version: str, collection: str = IMAGES.name) -> Record:
    """The put of this version."""
    tags, vector, thumbnail = content_of(document_id, version)
    place = _place(document_id)
    parent = name_of(place["lane"], 0) if place.get("number") in CHILDREN else None
    return Record(collection, document_id, version, MODEL, vector, tags, parent=parent, thumbnail=thumbnail)


def _place(document_id: str) -> dict[str, Any]:
    """The lane and the number that an id tells."""
    words = document_id.split()
    if len(words) != 4:
        return {}
    return {"lane": words[1], "number": int(words[3]), "group": int(words[3]) % GROUPS}


def say(event: str, collection: str, version: str = "", **fields: Any) -> None:
    """One line that reaches the parent even if the next instruction is never executed."""
    line = json.dumps({"event": event, "collection": collection, "version": version, **fields}) + "\n"
    os.write(1, line.encode())


async def write(store: Store, operation: str, ids: Sequence[str], version: str) -> list[WriteOutcome]:
    """One operation of a lane."""
    if operation == "put":
        return await store.put([put_of(each, version) for each in ids])
    if operation == "update":
        return await store.update([TagUpdate(IMAGES.name, each, version, {"updated": version}) for each in ids])
    if operation == "supersede":
        return await store.supersede([Superseded(IMAGES.name, each, version, "") for each in ids])
    return await store.delete([DocumentKey(IMAGES.name, each, version) for each in ids])


async def lane(store: Store, name: str, clock: HybridClock, chance: random.Random) -> None:
    """One write after the other, on ids of its own, for ever."""
    names = [name_of(name, number) for number in range(IDS_A_LANE)]
    while True:
        operation = chance.choices(["put", "update", "delete", "supersede", "matching"], [6, 2, 2, 1, 1])[0]
        version = clock.next()
        if operation == "matching":
            await remove_group(store, name, names, version, chance)
            continue
        ids = chance.sample(names, chance.choice([1, 1, 1, 3, 12, IDS_A_LANE]))
        operations = dict.fromkeys(ids, operation)
        if operation == "delete" and names[0] in ids:
            operations = {names[number]: "remove" for number in CHILDREN} | operations
        say("begin", IMAGES.name, version, operations=operations)
        outcomes = await write(store, operation, ids, version)
        errors = [str(each.error) for each in outcomes if each.error]
        say("acknowledged", IMAGES.name, version, ids=list(operations), errors=errors)


async def remove_group(store: Store, name: str, names: list[str], version: str, chance: random.Random) -> None:
    """A delete by filter, at once or in rounds; what came from the first document goes with it."""
    group = chance.randrange(GROUPS)
    ids = {each for number, each in enumerate(names) if number % GROUPS == group}
    if group == 0:
        ids |= {names[number] for number in CHILDREN}
    say("begin", IMAGES.name, version, operations=dict.fromkeys(sorted(ids), "remove"))
    where = And((In("lane", (name,)), In("group", (group,))))
    limit = chance.choice([2, 100])
    while removed := await store.delete_matching(IMAGES.name, where, version, limit):
        assert set(removed) <= ids
    # A child goes with its parent only if this was there: those of other groups may have stayed.
    certain = {each for number, each in enumerate(names) if number % GROUPS == group}
    say("acknowledged", IMAGES.name, version, ids=sorted(certain), errors=[])
    left = sorted(ids - certain)
    there = await store.get(IMAGES.name, left)
    say(
        "seen",
        IMAGES.name,
        version,
        gone=[each for each, one in zip(left, there, strict=True) if one is None],
        ids=left,
    )


async def dropping(store: Store, clock: HybridClock, chance: random.Random) -> None:
    """A collection that comes, is filled, and goes, for ever."""
    names = [name_of("brief", number) for number in range(8, 68)]
    while True:
        await store.ensure_collection(BRIEF)
        for _ in range(chance.randrange(1, 6)):
            ids, version = chance.sample(names, chance.choice([1, 5, 40])), clock.next()
            say("begin", BRIEF.name, version, operations=dict.fromkeys(ids, "put"))
            outcomes = await store.put([put_of(each, version, BRIEF.name) for each in ids])
            errors = [str(each.error) for each in outcomes if each.error]
            say("acknowledged", BRIEF.name, version, ids=ids, errors=errors)
        version = clock.next()
        say("begin", BRIEF.name, version, operations=dict.fromkeys(names, "drop"))
        await store.drop_collection(BRIEF.name, version)
        say("acknowledged", BRIEF.name, version, ids=names, errors=[])


async def rebuilding(store: Store, chance: random.Random) -> None:
    """Graphs built anew, for ever."""
    while True:
        await asyncio.sleep(chance.uniform(0.0, 0.1))
        await store.reindex(IMAGES.name)


async def child(folder: Path, seed: int) -> None:
    """Open and write until killed."""
    # Checkpoints often enough that some are killed, too.
    store = EmbeddedStore(folder, checkpoint_every=150, graph=GRAPH)
    await store.open()
    await store.adopt(IDENTITY)
    await store.ensure_collection(IMAGES)
    clock = HybridClock("crash")
    clock.observe((await store.status()).last_version)
    chance = random.Random(seed)
    say("ready", "")
    lanes = [lane(store, str(number), clock, random.Random(chance.random())) for number in range(LANES)]
    await asyncio.gather(
        *lanes,
        dropping(store, clock, random.Random(chance.random())),
        rebuilding(store, random.Random(chance.random())),
    )


if __name__ == "__main__":
    asyncio.run(child(Path(sys.argv[1]), int(sys.argv[2])))
