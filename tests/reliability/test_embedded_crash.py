"""kill -9 under load, and torn logs: every acknowledged document is there, no deleted one is back, none is doubled.

Graphs are in use from a few documents on, and are saved and built anew all the time.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from executors.index.embedded.disk.database import DATABASE_NAME
from executors.index.embedded.store import EmbeddedStore
from tests.support.stores.crash import GRAPH, content_of, put_of
from tests.support.stores.crash_ledger import Ledger
from tests.support.stores.records import IDENTITY, IMAGES, found, ids_of, key, results, version

ROOT = Path(__file__).resolve().parents[2]


def run_until_killed(folder: Path, seed: int, seconds: float, ledger: Ledger, *, saving: bool) -> None:
    """Start the child, let it write for a while, kill it at once, and read all that it said before.

    Args:
        saving: after that while, wait for a graph that is being saved.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.support.stores.crash", str(folder), str(seed)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    lines: list[bytes] = []
    ready = threading.Event()

    def read() -> None:
        for line in process.stdout or ():
            lines.append(line)
            ready.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert ready.wait(30), "the child did not start"
        time.sleep(seconds)
        end = time.monotonic() + 1.0
        while saving and time.monotonic() < end and not list(folder.glob("*.tmp")):
            pass
        assert process.poll() is None, "the child ended by itself"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        reader.join()
        process.stdout.close()
    for line in lines:
        # The last line may have been cut by the kill: what it tells never reached anyone.
        if line.endswith(b"\n"):
            ledger.note(line.decode())


async def check(folder: Path, ledger: Ledger, *, retries: bool) -> None:
    store = EmbeddedStore(folder, graph=GRAPH)
    await store.open()
    try:
        assert (await store.status()).details["stopped_uncleanly"] is True
        await ledger.check(store)
        if retries:
            await ledger.check_late_retries(store)
    finally:
        await store.close()


def crash_cycles(folder: Path, cycles: int, seed: int) -> Ledger:
    """Start, kill and check, again and again; every second kill hits the saving of a graph."""
    chance = random.Random(seed)
    ledger = Ledger()
    for cycle in range(cycles):
        run_until_killed(folder, chance.randrange(2**32), chance.uniform(0.0, 0.6), ledger, saving=cycle % 2 == 1)
        ledger.half_saved += len(list(folder.glob("*.tmp")))
        ledger.saved += len(list(folder.glob("graph-*[0-9]")))
        asyncio.run(check(folder, ledger, retries=cycle % 3 == 1))
    return ledger


def test_nothing_acknowledged_is_lost_by_kill_9(tmp_path: Path) -> None:
    ledger = crash_cycles(tmp_path / "shard", cycles=20, seed=11)
    assert ledger.acknowledged
    assert ledger.saved
    assert ledger.half_saved


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_acknowledged_is_lost_by_kill_9_a_hundred_times(tmp_path: Path) -> None:
    ledgers = [crash_cycles(tmp_path / f"shard {part}", cycles=10, seed=100 + part) for part in range(10)]
    assert all(ledger.acknowledged for ledger in ledgers)
    assert sum(ledger.half_saved for ledger in ledgers) > 10


def copy_as_cut(folder: Path) -> None:
    """Copy the open files as they would be found after a power cut, to `<folder> cut`.

    By another process, because this one must not open and close the files of a database that is in use. A graph's file that
    is renamed meanwhile may be missing from the copy.
    """
    cut = folder.with_name(f"{folder.name} cut")
    subprocess.run(["cp", "-r", str(folder), str(cut)], check=False)
    assert {each.name for each in folder.glob("index.sqlite3*")} <= {each.name for each in cut.iterdir()}


async def prefix_of_puts(folder: Path, writes: int) -> None:
    """One acknowledged write after the other: put n for odd n, delete of put n-1 for every fourth."""
    store = EmbeddedStore(folder, graph=GRAPH)
    await store.open()
    await store.adopt(IDENTITY)
    await store.ensure_collection(IMAGES)
    for number in range(1, writes + 1):
        if number % 4 == 0:
            await store.delete([key(f"{number - 1:03d}", number)])
        else:
            await store.put([put_of(f"{number:03d}", version(number))])
    await asyncio.to_thread(copy_as_cut, folder)
    await store.close()


def ids_after(writes: int) -> list[str]:
    ids: list[str] = []
    for number in range(1, writes + 1):
        if number % 4 == 0:
            ids.remove(f"{number - 1:03d}")
        else:
            ids.append(f"{number:03d}")
    return ids


async def length_of_the_prefix(folder: Path, writes: int) -> int:
    """How many of the writes are there; fails unless it is a prefix, with every document whole."""
    store = EmbeddedStore(folder, graph=GRAPH)
    await store.open()
    try:
        newest = (await store.status()).last_version
        length = int(newest.split("-")[0], 16) if newest else 0
        assert length <= writes
        assert await ids_of(store) == ids_after(length)
        report = await store.verify()
        assert list(report.faults) == []
        for name in ids_after(length):
            tags, vector, thumbnail = content_of(name, version(int(name)))
            (document,) = await store.get(IMAGES.name, [name], embedding=True, thumbnail=True)
            assert document is not None
            assert (document.tags, document.thumbnail) == (tags, thumbnail)
            np.testing.assert_array_equal(document.embedding, vector)
            assert (await found(store, vector, limit=1)).ids == [name]
        if length and length % 4 == 0:
            assert results(await store.put([put_of(f"{length - 1:03d}", version(length - 1))])) == ["stale_version"]
        await store.adopt(IDENTITY)
        await store.ensure_collection(IMAGES)
        assert results(await store.put([put_of("after", version(9999))])) == ["created"]
        return length
    finally:
        await store.close()


@pytest.mark.parametrize("damage", ["torn", "flipped", "zeroed"])
def test_a_torn_log_leaves_a_whole_beginning_of_the_writes(tmp_path: Path, damage: str) -> None:
    """A disk that lies about its flushes may leave a log whose end is missing or garbage.

    The store opens, and holds the first n writes for some n, each as it was acknowledged.
    """
    writes = 40
    asyncio.run(prefix_of_puts(tmp_path / "shard", writes))
    cut = tmp_path / "shard cut"
    size = (cut / f"{DATABASE_NAME}-wal").stat().st_size
    chance = random.Random(len(damage))
    lengths = set()
    for turn, place in enumerate([0, 31, 32, size - 1, size, *(chance.randrange(size) for _ in range(8))]):
        folder = tmp_path / f"{damage} {turn}"
        shutil.copytree(cut, folder)
        # The index of the log is rebuilt from it; after a power cut it is gone or stale.
        (folder / f"{DATABASE_NAME}-shm").unlink()
        log = folder / f"{DATABASE_NAME}-wal"
        data = bytearray(log.read_bytes())
        if damage == "torn":
            data = data[:place]
        elif place < size:
            end = place + 1 if damage == "flipped" else min(size, place + 4096)
            data[place:end] = (
                bytes(each ^ 0x40 for each in data[place:end]) if damage == "flipped" else bytes(end - place)
            )
        log.write_bytes(data)
        lengths.add(asyncio.run(length_of_the_prefix(folder, writes)))
    assert max(lengths) == writes
    assert len(lengths) > 3
