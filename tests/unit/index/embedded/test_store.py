"""Promises of the embedded store beyond the contract: its files, its lock, one moment for a search, cancelled callers."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from executors.errors import VisualSearchError
from executors.index.embedded.disk.database import ReadConnections, database_path, was_stopped_uncleanly
from executors.index.embedded.disk.folder_lock import make_folder
from executors.index.embedded.disk.schema import FORMAT_VERSION
from executors.index.embedded.search.search import search_once
from executors.index.embedded.store import EmbeddedStore
from executors.index.records import SearchRequest
from tests.data import make_index_fixture as fixtures
from tests.support.stores.embedded import code_of
from tests.support.stores.records import (
    IDENTITY,
    IMAGES,
    MODEL,
    found,
    ids_of,
    key,
    record,
    results,
    vector_of,
    version,
)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- files and lock


async def test_a_second_store_on_the_folder_is_refused_and_takes_nothing(store: EmbeddedStore, folder: Path) -> None:
    await store.put([record("a")])
    other = EmbeddedStore(folder)
    assert await code_of(other.open()) == "store_locked"
    assert await code_of(store.open()) == "store_locked"
    await other.close()
    assert results(await store.put([record("b", seed=1)])) == ["created"]
    await store.close()
    await other.open()
    assert await ids_of(other) == ["a", "b"]
    await other.close()


async def test_another_process_is_refused_while_this_one_holds_the_folder(store: EmbeddedStore, folder: Path) -> None:
    script = (
        "import asyncio, sys; from pathlib import Path\n"
        "from executors.index.embedded.store import EmbeddedStore\n"
        "try: asyncio.run(EmbeddedStore(Path(sys.argv[1])).open())\n"
        "except Exception as error: print(error.code, error.details['holder'])"
    )
    command = [sys.executable, "-c", script, str(folder)]
    run = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert run.stdout.split() == ["store_locked", str(os.getpid())]


async def test_a_clean_close_leaves_one_file_the_lock_and_the_room_for_deletes(
    store: EmbeddedStore, folder: Path
) -> None:
    await store.put([record("a")])
    assert was_stopped_uncleanly(folder)
    await asyncio.gather(*[found(store, vector_of(n)) for n in range(20)], store.verify(), store.get("images", ["a"]))
    await store.close()
    assert names_in(folder) == ["LOCK", "index.sqlite3", "reserve"]
    await store.open()
    assert (await store.status()).details["stopped_uncleanly"] is False


async def test_a_failed_open_holds_nothing(store: EmbeddedStore, folder: Path) -> None:
    await store.close()
    with sqlite3.connect(database_path(folder)) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION + 1}")
    connection.close()
    newer = EmbeddedStore(folder)
    assert await code_of(newer.open()) == "store_invalid"
    assert newer.identity is None
    with sqlite3.connect(database_path(folder)) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
    connection.close()
    await store.open()


@pytest.mark.parametrize("number", range(1, FORMAT_VERSION + 1))
async def test_a_file_of_every_format_is_opened_with_everything_in_it(folder: Path, number: int) -> None:
    make_folder(folder)
    shutil.copy(fixtures.fixture(number), database_path(folder))
    store = EmbeddedStore(folder)
    await store.open()
    assert store.identity == fixtures.IDENTITY
    status = await store.status()
    assert status.format_version == FORMAT_VERSION
    assert status.last_version == version(9)
    assert [(each, count) for each, count in status.collections] == [
        (fixtures.COLLECTIONS[1], 1), (fixtures.COLLECTIONS[0], 5),
    ]  # fmt: skip
    for expected in fixtures.KEPT:
        (document,) = await store.get(expected.collection, [expected.id], embedding=True, thumbnail=True)
        assert document is not None
        for name in (each.name for each in fields(document)):
            np.testing.assert_array_equal(getattr(document, name), getattr(expected, name), name)
        assert list(document.tags.items()) == list(expected.tags.items())
    late = [record("gone", 5), record("gone", 6), record("moved", 7)]
    assert results(await store.put(late)) == ["stale_version"] * 3
    assert results(await store.put([fixtures.KEPT[0]])) == ["created"], "the repetition of a write is recognised"
    report = await store.verify()
    assert (list(report.faults), report.documents) == ([], len(fixtures.KEPT))
    await store.close()


async def test_the_committed_fixture_of_the_present_format_is_what_the_script_writes(tmp_path: Path) -> None:
    await fixtures.write(tmp_path)
    made, kept = sqlite3.connect(database_path(tmp_path)), sqlite3.connect(fixtures.fixture(FORMAT_VERSION))
    schema = "SELECT type, name, sql FROM sqlite_master ORDER BY name"
    documents = "SELECT * FROM documents JOIN vectors USING (row) LEFT JOIN thumbnails USING (row) ORDER BY row"
    for query in (schema, documents, "SELECT * FROM tombstones", "SELECT * FROM collections"):
        assert made.execute(query).fetchall() == kept.execute(query).fetchall()
    made.close()
    kept.close()


async def test_nothing_of_a_closed_store_works_and_nothing_hangs(store: EmbeddedStore) -> None:
    await store.close()
    for call in (
        store.put([record("a")]), store.delete([]), store.get("images", ["a"]), store.scroll("images"), store.count("images"),
        store.status(), store.verify(), found(store, vector_of(0)), store.adopt(IDENTITY), store.ensure_collection(IMAGES),
    ):  # fmt: skip
        assert await code_of(call) == "storage_unavailable"


async def test_a_close_beside_running_calls_answers_every_one_of_them(store: EmbeddedStore) -> None:
    await store.put([record(f"{n}", seed=n) for n in range(50)])
    calls = [asyncio.ensure_future(store.put([record(f"x{n}", seed=n)])) for n in range(40)]
    calls += [asyncio.ensure_future(found(store, vector_of(n))) for n in range(40)]  # type: ignore[arg-type]  # mixed
    await asyncio.sleep(0)
    await store.close()
    answers = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 20)
    failures = [each for each in answers if isinstance(each, BaseException)]
    assert all(isinstance(each, VisualSearchError) and each.code == "storage_unavailable" for each in failures)
    acknowledged = {f"x{n}" for n, each in enumerate(answers[:40]) if not isinstance(each, BaseException)}
    await store.open()
    assert acknowledged <= set(await ids_of(store))


# --- one moment


async def test_a_search_of_an_older_moment_shows_that_moment_in_hits_and_tags(
    store: EmbeddedStore, folder: Path
) -> None:
    await store.put([record(f"{n:02d}", 1, seed=n) for n in range(20)])
    reading = ReadConnections(folder)
    request = SearchRequest(IMAGES.name, vector_of(3)[np.newaxis], MODEL, 5)
    assert store._running is not None
    memory = store._running.memory
    loop = asyncio.get_running_loop()

    def read(connection: sqlite3.Connection) -> object:
        before = search_once(connection, memory, request)
        change = asyncio.run_coroutine_threadsafe(store.put([record("03", 2, seed=50), record("99", 2, seed=3)]), loop)
        assert results(change.result(20)) == ["replaced", "created"]
        assert search_once(connection, memory, request) == before
        return before

    old = await asyncio.to_thread(reading.run, read)
    reading.close()
    new = await store.search(request)
    assert (old[0].ids[0], new[0].ids[0]) == ("03", "99")  # type: ignore[index]  # what search_once returns


async def test_a_moment_that_memory_has_dropped_is_asked_for_again(store: EmbeddedStore, folder: Path) -> None:
    await store.put([record(f"{n:03d}", 1, seed=n) for n in range(200)])
    reading = ReadConnections(folder)
    request = SearchRequest(IMAGES.name, vector_of(3)[np.newaxis], MODEL, 5)
    assert store._running is not None
    memory = store._running.memory
    loop = asyncio.get_running_loop()

    def read(connection: sqlite3.Connection) -> object:
        assert search_once(connection, memory, request)
        change = asyncio.run_coroutine_threadsafe(store.delete([key(f"{n:03d}", 2) for n in range(199)]), loop)
        change.result(20)
        return search_once(connection, memory, request)

    assert await asyncio.to_thread(reading.run, read) is None
    reading.close()
    assert (await found(store, vector_of(3))).ids == ["199"]


async def test_cancelled_callers_leave_nothing_half_applied(store: EmbeddedStore) -> None:
    rng = np.random.default_rng(5)
    for turn in range(30):
        tasks = [
            asyncio.create_task(store.put([record(f"{turn}-{n}-{each}", seed=n) for each in range(3)]))
            for n in range(4)
        ]
        tasks.append(asyncio.create_task(store.delete([key(f"{turn - 1}-0-0", 9)])))
        await asyncio.sleep(float(rng.choice([0, 0, 0.0005, 0.001, 0.003])))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert results(await store.put([record("last")])) == ["created"]
    ids = await ids_of(store)
    assert sorted((await found(store, vector_of(0), limit=10_000)).ids) == ids
    groups = {name.rsplit("-", 1)[0]: 0 for name in ids}
    for name in ids:
        groups[name.rsplit("-", 1)[0]] += 1
    assert set(groups.values()) <= {1, 2, 3}
    assert [name for name, count in groups.items() if count != 3 and not name.endswith("-0") and name != "last"] == []
    report = await store.verify()
    assert (list(report.faults), report.documents) == ([], len(ids))


async def test_the_room_that_is_kept_for_deletes_does_not_count_as_the_index(
    store: EmbeddedStore, folder: Path
) -> None:
    sizes = {name: (folder / name).stat().st_size for name in names_in(folder)}
    assert sizes.pop("reserve") > 0
    assert (await store.status()).bytes_on_disk == sum(sizes.values())
