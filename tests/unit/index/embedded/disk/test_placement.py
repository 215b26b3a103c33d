"""A shard whose folder is moved, replaced or removed while it runs acknowledges nothing any more."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.index.embedded.disk.database import DATABASE_NAME, connect_writer
from executors.index.embedded.disk.placement import Placement
from executors.index.embedded.disk.schema import prepare
from executors.index.embedded.store import EmbeddedStore
from executors.index.store import Store
from tests.support.stores.embedded import opened
from tests.support.stores.records import IDENTITY, IMAGES, found, ids_of, key, record, results, tag_update, vector_of


def move(folder: Path) -> None:
    folder.rename(folder.parent / "moved")


def move_parent(folder: Path) -> None:
    folder.parent.rename(folder.parent.parent / "moved")


def delete(folder: Path) -> None:
    shutil.rmtree(folder)


def replace_by_a_copy(folder: Path) -> None:
    shutil.copytree(folder, folder.parent / "copy")
    folder.rename(folder.parent / "moved")
    folder.parent.joinpath("copy").rename(folder)


def replace_one_file(folder: Path) -> None:
    copy = folder / "copy"
    shutil.copy2(folder / DATABASE_NAME, copy)
    copy.rename(folder / DATABASE_NAME)


def delete_the_log(folder: Path) -> None:
    (folder / f"{DATABASE_NAME}-wal").unlink()


def copy_over_the_files(folder: Path) -> None:
    time.sleep(0.05)  # file times advance every few milliseconds
    for name in (DATABASE_NAME, f"{DATABASE_NAME}-wal"):
        content = (folder / name).read_bytes()
        with (folder / name).open("r+b") as file:
            file.write(content)


CHANGES: list[Callable[[Path], None]] = [
    move, move_parent, delete, replace_by_a_copy, replace_one_file, delete_the_log, copy_over_the_files,
]  # fmt: skip


async def codes(store: Store) -> set[str]:
    """The answer to each kind of write."""
    answered: set[str] = set()
    for write in (
        store.put([record("new", 5)]),
        store.update([tag_update("a", 6, {"x": 1})]),
        store.delete([key("a", 7)]),
        store.drop_collection(IMAGES.name, "9"),
    ):
        with pytest.raises(VisualSearchError) as refused:
            await write
        answered.add(refused.value.code)
    return answered


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
async def test_nothing_is_acknowledged_once_the_files_are_elsewhere(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    folder = tmp_path / "workspace" / "shard-0"
    store = await opened(folder)
    assert results(await store.put([record("a", 1)])) == ["created"]
    change(folder)
    assert await codes(store) == {"storage_unavailable"}
    with pytest.raises(VisualSearchError, match="restart"):
        await found(store, vector_of(1))
    with pytest.raises(VisualSearchError, match="storage_unavailable"):
        await store.verify()
    error = (await store.status()).details["storage_error"]
    assert error["code"] == "storage_unavailable"
    assert str(folder) in error["message"]
    await store.close()


def write_as_another_program(folder: Path) -> None:
    time.sleep(0.05)  # file times advance every few milliseconds
    with sqlite3.connect(folder / DATABASE_NAME) as other:
        other.execute("DELETE FROM documents")
    other.close()


@pytest.mark.parametrize("change", [*CHANGES, write_as_another_program], ids=lambda change: change.__name__)
async def test_it_is_told_without_a_write_and_once_in_the_log(
    tmp_path: Path, change: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "workspace" / "shard-0"
    store = await opened(folder)
    await store.put([record("a", 1)])
    change(folder)
    for _ in range(3):
        error = (await store.status()).details["storage_error"]
        assert error["code"] == "storage_unavailable"
    for read in (found(store, vector_of(1)), store.verify()):
        with pytest.raises(VisualSearchError, match="restart"):
            await read
    assert sum(str(folder) in line for line in caplog.messages) == 1
    await store.close()


async def test_looks_beside_writes_find_no_fault(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "shard-0", checkpoint_every=8)
    await store.open()
    await store.adopt(IDENTITY)
    await store.ensure_collection(IMAGES)
    ended = False

    async def look() -> None:
        while not ended:
            assert (await store.status()).details["storage_error"] is None

    looking = [asyncio.create_task(look()) for _ in range(3)]
    for number in range(300):
        assert results(await store.put([record(f"id {number}", number + 1)])) == ["created"]
    ended = True
    await asyncio.gather(*looking)
    await store.close()


async def test_it_is_so_for_good(tmp_path: Path) -> None:
    folder = tmp_path / "shard-0"
    store = await opened(folder)
    folder.rename(tmp_path / "moved")
    assert await codes(store) == {"storage_unavailable"}
    (tmp_path / "moved").rename(folder)
    assert await codes(store) == {"storage_unavailable"}
    await store.close()
    await store.open()
    assert results(await store.put([record("a", 10)])) == ["created"]
    await store.close()


async def test_a_backup_that_was_put_in_place_stays_as_it_is(tmp_path: Path) -> None:
    folder, backup = tmp_path / "shard-0", tmp_path / "backup"
    store = await opened(folder)
    await store.put([record("in the backup", 1)])
    shutil.copytree(folder, backup)
    await store.put([record("after the backup", 2)])
    for file in folder.iterdir():
        file.unlink()
    shutil.copytree(backup, folder, dirs_exist_ok=True)
    before = {file.name: file.read_bytes() for file in folder.iterdir() if file.name != f"{DATABASE_NAME}-shm"}
    assert await codes(store) == {"storage_unavailable"}
    await store.close()
    after = {file.name: file.read_bytes() for file in folder.iterdir() if file.name != f"{DATABASE_NAME}-shm"}
    assert before == after
    restored = EmbeddedStore(folder)
    await restored.open()
    assert await ids_of(restored) == ["in the backup"]
    await restored.close()


async def test_a_backup_that_was_copied_over_the_files_is_not_mixed_with_the_log(tmp_path: Path) -> None:
    folder, backup = tmp_path / "shard-0", tmp_path / "backup.sqlite3"
    store = await opened(folder)
    await store.put([record("in the backup", 1)])
    with sqlite3.connect(f"file:{folder / DATABASE_NAME}?mode=ro", uri=True) as source, sqlite3.connect(backup) as copy:
        source.backup(copy)
    copy.close()
    await store.put([record("after the backup", 2)])
    await asyncio.sleep(0.05)  # file times advance every few milliseconds
    (folder / DATABASE_NAME).write_bytes(backup.read_bytes())
    before = (folder / DATABASE_NAME).read_bytes()
    await store.close()
    assert (folder / DATABASE_NAME).read_bytes() == before


async def test_a_start_says_when_it_found_no_index(tmp_path: Path) -> None:
    folder = tmp_path / "shard-0"
    store = await opened(folder)
    assert [note for note in store.start_notes if "begins empty" in note and str(folder) in note]
    await store.put([record("a", 1)])
    await store.close()
    await store.open()
    assert not [note for note in store.start_notes if "begins empty" in note]
    await store.close()
    shutil.rmtree(folder)
    await store.open()
    assert [note for note in store.start_notes if "begins empty" in note]
    await store.close()


def test_a_write_that_ended_elsewhere_is_told_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "shard"
    folder.mkdir()
    connection = connect_writer(folder)
    prepare(connection)
    placement = Placement(folder)
    placement.begin_writing()
    connection.execute("UPDATE meta SET value = 7 WHERE key = 'sequence'")
    placement.check_written()
    placement.check()
    placement.begin_writing()
    move(folder)
    with pytest.raises(VisualSearchError, match="was moved"):
        placement.check_written()
    connection.close()
