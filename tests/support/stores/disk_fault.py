"""A store on a disk that runs full while graphs are built and saved, as a program: what it answered and holds, as JSON.

Arguments: the folder, and how the room ends: `limit` (the largest size of a file, by setrlimit) or `ballast` (a file in the
folder above takes the room; the folder is on a small file system of its own).
"""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from executors.errors import VisualSearchError
from executors.index.embedded.graph.graph_file import GraphFileInvalid, read_stamp
from executors.index.embedded.store import EmbeddedStore
from executors.index.embedded.upkeep import maintenance
from executors.index.store import Store
from tests.support.stores.embedded import FIRST_GRAPH, SMALL_GRAPH, settled
from tests.support.stores.records import IDENTITY, IMAGES, found, ids_of, key, record, results, tag_update, vector_of

BALLAST_BYTES = 1_500_000
THUMBNAIL = b"t" * 8_000


class SaveFailures(logging.Handler):
    """Counts the graphs that could not be saved."""

    count = 0

    def emit(self, line: logging.LogRecord) -> None:
        self.count += "could not be saved" in line.getMessage()


def full_by_limit(_: Path) -> Callable[[], None]:
    """No file may grow beyond 400 kB; the returned function takes the limit away."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, before[1]))
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)


def full_by_ballast(folder: Path) -> Callable[[], None]:
    """The returned function removes what takes the room."""
    ballast = folder.parent / "ballast"
    ballast.write_bytes(bytes(BALLAST_BYTES))
    return ballast.unlink


async def refusals(store: Store) -> list[str]:
    """Return the answer to every kind of write."""
    codes = []
    for write in (
        store.put([record(f"refused {n}", thumbnail=THUMBNAIL) for n in range(20)]),
        store.put([record("first", 50, seed=9, thumbnail=THUMBNAIL * 20)]),
        store.update([tag_update("first", 60, {"long": "x" * 300_000}, "replace")]),
        store.delete([key(f"nobody {n} {'x' * 400}", 60) for n in range(600)]),
    ):
        try:
            codes.append(str(results(await write)))
        except VisualSearchError as error:
            codes.append(error.code)
    return codes


async def graph_saved(folder: Path, documents: int) -> bool:
    """Return whether the graph's file comes to cover (nearly) this many documents."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            if read_stamp(folder, FIRST_GRAPH).count > documents - SMALL_GRAPH.save_every:
                return True
        except GraphFileInvalid:
            pass
        await asyncio.sleep(0.05)
    return False


async def main(folder: Path, how: str) -> dict[str, Any]:
    failures = SaveFailures()
    logging.getLogger(maintenance.__name__).addHandler(failures)
    # A minute is too long for a test.
    maintenance._SAVE_RETRY_S = 0.2  # type: ignore[misc]
    store = EmbeddedStore(folder, checkpoint_every=50, graph=SMALL_GRAPH)
    await store.open()
    await store.adopt(IDENTITY)
    await store.ensure_collection(IMAGES)
    acknowledged = ["first"]
    await store.put([record("first", seed=1)])
    give_room = full_by_limit(folder) if how == "limit" else full_by_ballast(folder)
    code = ""
    for number in range(1000):
        names = [f"{number:04d}-{each}" for each in range(3)]
        try:
            await store.put([record(name, seed=number, thumbnail=THUMBNAIL) for name in names])
        except VisualSearchError as error:
            code = error.code
            break
        acknowledged += names
    codes = await refusals(store)
    await settled(store)
    hits = await found(store, vector_of(1), limit=10_000)
    near = await found(store, vector_of(1), limit=2)
    report = await store.verify()
    while_full = {
        "found": sorted(hits.ids) == sorted(acknowledged),
        "near": near.plan["plan"] == "graph" and sorted([*near.ids, "first"])[-1] == "first",
        "listed": await ids_of(store) == sorted(acknowledged),
        "count": await store.count(IMAGES.name) == len(acknowledged),
        "first": (await store.get(IMAGES.name, ["first"]))[0].tags,  # type: ignore[union-attr]  # it is there
        "faults": list(report.faults),
    }
    give_room()
    after = results(await store.put([record("after", seed=2, thumbnail=THUMBNAIL)]))
    saved = await graph_saved(folder, len(acknowledged))
    await store.close()
    await store.open()
    reopened = await ids_of(store)
    faults = list((await store.verify()).faults)
    await store.close()
    return {
        "code": code,
        "acknowledged": len(acknowledged),
        "codes": codes,
        "while_full": while_full,
        "after": after,
        "save_failures": failures.count,
        "saved": saved,
        "reopened": reopened == sorted([*acknowledged, "after"]),
        "faults": faults,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))))
