"""Makes index-format-N.sqlite3, a shard as the present format N writes it, for the test that later formats open it.

A committed file stays as it is; a new format gets a file of its own before the one after it exists. Run with:
python tests/data/make_index_fixture.py
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from executors.index.embedded.disk.database import DATABASE_NAME  # noqa: E402  # the path has to be set first
from executors.index.embedded.disk.schema import FORMAT_VERSION  # noqa: E402
from executors.index.embedded.store import EmbeddedStore  # noqa: E402
from executors.index.records import Collection, Record, ShardIdentity  # noqa: E402
from tests.support.stores.records import DIMENSION, MODEL, key, record, superseded, tag_update, vector_of  # noqa: E402


def fixture(number: int) -> Path:
    """The committed file of a format."""
    return Path(__file__).with_name(f"index-format-{number}.sqlite3")


IDENTITY = ShardIdentity("c0ffee" * 5 + "00", 1, 3, populated=True)
COLLECTIONS = [Collection("images", MODEL, DIMENSION), Collection("faces", "model-f@1", 3)]

TAGS = {"n": 2**53, "x": 0.1, "list": [None, True, {"a": "b"}]}

# What the file holds in the end. `u` was updated, `r` replaced, `gone` deleted, `moved` superseded by another shard.
KEPT: list[Record] = [
    record("photos/ü \U0001f431.jpg", 1, 1, tags=TAGS, thumbnail=b"\xff\xd8jpeg"),
    record("a\x00b", 2, 2, tags={}, uri=None, parent="photos/1", box=(0.5, 1.0, 2.0, 3.5), text="wörds"),
    record("u", 9, 3, tags={"kept": 1, "new": "x"}),
    record("r", 8, 4),
    record("same id", 3, collection="faces", model_id="model-f@1", embedding=vector_of(5, 3)),
    record("same id", 4, 6),
]
GONE = key("gone", 6)
MOVED = superseded("moved", 7)


async def write(folder: Path) -> None:
    """Fill a new shard by way of every kind of write."""
    store = EmbeddedStore(folder, now_ms=lambda: 1_800_000_000_000)
    await store.open()
    await store.adopt(IDENTITY)
    for collection in COLLECTIONS:
        await store.ensure_collection(collection)
    outcomes = await store.put([record("gone", 1), record("moved", 1), record("r", 1)])
    outcomes += await store.put([record("u", 1, 3, tags={"kept": 1, "dropped": 2})])
    outcomes += await store.put([each for each in KEPT if each.id != "u"])
    outcomes += await store.update([tag_update("u", 9, {"dropped": None, "new": "x"})])
    outcomes += await store.delete([GONE])
    outcomes += await store.supersede([MOVED])
    assert all(outcome.error is None for outcome in outcomes), outcomes
    await store.close()


def main() -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(write(Path(folder)))
        target = fixture(FORMAT_VERSION)
        target.write_bytes((Path(folder) / DATABASE_NAME).read_bytes())
    print(f"{target.name}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
