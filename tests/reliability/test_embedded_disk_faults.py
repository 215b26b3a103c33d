"""A disk that is full or read-only: a coded error, no acknowledgement, searches go on, and writes work again with room."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.stores.embedded import FIRST_GRAPH, filled, opened, saved, settled
from tests.support.stores.records import found, record, results, vector_of

ROOT = Path(__file__).resolve().parents[2]

OPEN = """
import asyncio, sys
from pathlib import Path
from executors.index.embedded.store import EmbeddedStore
try:
    asyncio.run(EmbeddedStore(Path(sys.argv[1])).open())
except Exception as error:
    print(error.code, error.message)
"""


DELETE_ON_A_FULL_DISK = """
import asyncio, json, sys
from pathlib import Path
from executors.errors import VisualSearchError
from executors.index.embedded.store import EmbeddedStore
from tests.support.stores.embedded import SMALL_GRAPH
from tests.support.stores.records import IDENTITY, IMAGES, ids_of, key, record, results

THUMBNAIL = b"t" * 8_000

async def main(folder):
    store = EmbeddedStore(folder, graph=SMALL_GRAPH)
    await store.open()
    await store.adopt(IDENTITY)
    await store.ensure_collection(IMAGES)
    before = (await store.status()).details["storage_error"]
    stored = []
    for number in range(10_000):
        ids = [f"{number:05d}-{each}" for each in range(8)]
        try:
            await store.put([record(each, seed=number, thumbnail=THUMBNAIL) for each in ids])
        except VisualSearchError as error:
            refused = error
            break
        stored += ids
    while_full = (await store.status()).details["storage_error"]
    deleted = []
    for position in range(0, len(stored) // 2, 8):
        deleted += results(await store.delete([key(each, 10**6) for each in stored[position : position + 8]]))
    await store.drop_collection("nothing there", "9")
    written = results(await store.put([record(f"after {n}", seed=n, thumbnail=THUMBNAIL) for n in range(20)]))
    kept = sorted([*stored[len(deleted):], *(f"after {n}" for n in range(20))])
    whole = await ids_of(store) == kept
    after = (await store.status()).details["storage_error"]
    await store.close()
    await store.open()
    print(json.dumps({
        "before": before, "refused": [refused.code, str(folder) in refused.message], "while_full": while_full,
        "deleted": sorted(set(deleted)), "written": sorted(set(written)), "whole": whole and await ids_of(store) == kept,
        "after": after, "faults": list((await store.verify()).faults),
    }))
    await store.close()

asyncio.run(main(Path(sys.argv[1])))
"""


def run(command: list[str], prefix: list[str] | None = None) -> str:
    done = subprocess.run(
        [*(prefix or []), sys.executable, *command],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def small_disk(folder: Path, options: str) -> list[str]:
    """Run a command in a mount namespace of its own with a small file system on the folder; it goes with the command."""
    return in_a_namespace(f'mount -t tmpfs -o {options} none "$0" && exec "$@"', folder)


def in_a_namespace(script: str, folder: Path) -> list[str]:
    """Return the prefix of a command that makes it run in its own mount namespace, after the script."""
    prefix = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, str(folder)]
    try:
        able = subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        able = False
    if not able:
        pytest.skip("this machine does not allow a mount namespace")
    return prefix


def expect_refused_and_recovered(answer: dict[str, Any]) -> None:
    assert answer["code"] == "storage_unavailable"
    assert answer["codes"] == ["storage_unavailable"] * 4
    assert answer["acknowledged"] > 10
    assert answer["while_full"] == {
        "found": True, "near": True, "listed": True, "count": True, "first": {"n": 1}, "faults": [],
    }  # fmt: skip
    assert answer["after"] == ["created"]
    assert answer["saved"] is True
    assert answer["reopened"] is True
    assert answer["faults"] == []


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    answer = json.loads(run(["-m", "tests.support.stores.disk_fault", str(tmp_path / "shard"), "limit"]))
    expect_refused_and_recovered(answer)


def test_a_full_file_system(tmp_path: Path) -> None:
    prefix = small_disk(tmp_path, "size=3m")
    answer = json.loads(run(["-m", "tests.support.stores.disk_fault", str(tmp_path / "shard"), "ballast"], prefix))
    expect_refused_and_recovered(answer)


def test_deletes_make_room_on_a_full_file_system(tmp_path: Path) -> None:
    folder = tmp_path / "shard"
    answer = json.loads(run(["-c", DELETE_ON_A_FULL_DISK, str(folder)], small_disk(tmp_path, "size=24m")))
    assert answer["before"] is None
    assert answer["refused"] == ["storage_unavailable", True]
    assert answer["while_full"]["code"] == "storage_unavailable"
    assert answer["while_full"]["message"].count(str(folder)) == 1
    assert answer["deleted"] == ["deleted"]
    assert answer["written"] == ["created"]
    assert answer["whole"] is True
    assert answer["faults"] == []


def test_a_read_only_file_system(tmp_path: Path) -> None:
    out = run(["-c", OPEN, str(tmp_path / "shard")], small_disk(tmp_path, "ro"))
    assert out.startswith("storage_unavailable ")
    assert str(tmp_path) in out


def test_an_index_on_a_file_system_that_became_read_only(tmp_path: Path) -> None:
    """It can't be opened without writing; the error says so, and what is in it stays as it was."""
    shard = tmp_path / "shard"
    asyncio.run(_fill(shard))
    before = {path.name: path.read_bytes() for path in shard.iterdir()}
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    out = run(["-c", OPEN, str(shard)], in_a_namespace(script, shard))
    assert out.startswith("storage_unavailable ")
    assert str(tmp_path) in out
    assert {path.name: path.read_bytes() for path in shard.iterdir()} == before


async def test_a_graph_that_can_not_be_saved_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Something stands where its file is written: writes and searches go on, and the next start builds it anew."""
    shard = tmp_path / "shard"
    store = await opened(shard)
    (shard / f"{FIRST_GRAPH}.tmp").mkdir()
    for n in range(0, 90, 30):
        records = [record(f"{n + each:03d}", seed=n + each) for each in range(30)]
        assert results(await store.put(records)) == ["created"] * 30
        await settled(store)
        hits = await found(store, vector_of(n + 5), limit=3)
        assert (hits.ids[0], hits.plan["plan"]) == (f"{n + 5:03d}", "graph")
    assert list((await store.verify()).faults) == []
    assert not (shard / FIRST_GRAPH).exists()
    assert any("could not be saved" in each.getMessage() for each in caplog.records)
    await store.close()
    (shard / f"{FIRST_GRAPH}.tmp").rmdir()
    store = await opened(shard)
    await saved(store, shard)
    assert (await found(store, vector_of(65), limit=1)).ids == ["065"]
    await store.close()


async def _fill(shard: Path) -> None:
    await (await filled(shard)).close()
