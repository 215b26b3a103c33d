"""Damage on disk and in memory is found, named, never served silently, and repairable."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from executors.errors import VisualSearchError
from executors.index.embedded.disk.database import PAGE_SIZE, database_path
from executors.index.embedded.store import EmbeddedStore
from executors.index.records import Collection
from tests.support.stores.embedded import code_of
from tests.support.stores.records import MODEL, found, ids_of, key, record, results, vector_of


def flip(folder: Path, content: bytes) -> None:
    """Flip one bit of the only place in the closed file that has this content."""
    file = database_path(folder)
    data = bytearray(file.read_bytes())
    assert data.count(content) == 1
    data[data.index(content) + len(content) // 2] ^= 1
    file.write_bytes(data)


async def damaged_vector(store: EmbeddedStore, folder: Path) -> None:
    await store.ensure_collection(Collection("other", MODEL, 8))
    await store.put([record("sound", seed=1), record("bad", seed=2), record("elsewhere", collection="other")])
    await store.close()
    flip(folder, vector_of(2).tobytes())
    await store.open()


async def test_a_flipped_bit_in_a_vector_is_named_and_never_served(
    store: EmbeddedStore, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await damaged_vector(store, folder)
    assert "bad" in caplog.text
    assert (await store.status()).details["damaged"] == 1
    with pytest.raises(VisualSearchError) as refused:
        await found(store, vector_of(1))
    assert (refused.value.code, refused.value.details["ids"]) == ("store_invalid", ["bad"])
    assert await code_of(store.get("images", ["bad"], embedding=True)) == "store_invalid"
    assert [each.id for each in await store.get("images", ["bad", "sound"]) if each] == ["bad", "sound"]
    assert (await found(store, vector_of(0), collection="other")).ids == ["elsewhere"]
    assert await store.count("images") == 2
    report = await store.verify()
    assert list(report.faults) == ["document 'bad' of 'images': its vector does not match its checksum",
                                   "document 'bad' of 'images': its content does not match its digest"]  # fmt: skip


@pytest.mark.parametrize("repair", ["put", "delete"])
async def test_a_damaged_document_is_repaired_by_writing_or_deleting_it(
    store: EmbeddedStore, folder: Path, repair: str
) -> None:
    await damaged_vector(store, folder)
    if repair == "put":
        assert results(await store.put([record("bad", 2, seed=2, tags={"new": 1})])) == ["replaced"]
    else:
        assert results(await store.delete([key("bad", 2)])) == ["deleted"]
    expected = ["bad", "sound"] if repair == "put" else ["sound"]
    assert sorted((await found(store, vector_of(1))).ids) == expected
    assert await store.count("images") == len(expected)
    assert list((await store.verify()).faults) == []


async def test_the_same_content_written_again_heals_a_damaged_vector(store: EmbeddedStore, folder: Path) -> None:
    await damaged_vector(store, folder)
    assert results(await store.put([record("bad", 2, seed=2, tags={"n": 1})])) == ["unchanged"]
    assert sorted((await found(store, vector_of(1))).ids) == ["bad", "sound"]
    assert list((await store.verify()).faults) == []


async def verified_after(store: EmbeddedStore, folder: Path, change: Callable[[Path], None]) -> list[str]:
    await store.put([record("a", tags={"brand": "acme"}, text="what was read", thumbnail=b"thumbnail of a", seed=3)])
    await store.close()
    change(folder)
    await store.open()
    return list((await store.verify()).faults)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b'{"brand":"acme"}', "its tags do not match its digest"),
        (b"what was read", "its content does not match its digest"),
        (b"thumbnail of a", "its content does not match its digest"),
    ],
)
async def test_verify_finds_a_flipped_bit_anywhere_in_a_document(
    store: EmbeddedStore, folder: Path, content: bytes, fault: str
) -> None:
    faults = await verified_after(store, folder, lambda folder: flip(folder, content))
    assert faults == [f"document 'a' of 'images': {fault}"]


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("DELETE FROM vectors", "document 'a' of 'images': its vector is missing"),
        ("INSERT INTO vectors VALUES (77, 0, x'00')", "row 77: a vector without a document"),
        ("INSERT INTO thumbnails VALUES (78, x'00')", "row 78: a thumbnail without a document"),
        ("UPDATE meta SET value = 1 WHERE key = 'next_row'", "row 1: a row number that would be reused"),
        (
            "INSERT INTO tombstones VALUES ('images', 'a', 'v', 'deleted', 'deleted', 0)",
            "row 1: a document with a tombstone",
        ),
        ("UPDATE documents SET collection = 9", "document 'a' of None: its collection is missing"),
    ],
)
async def test_verify_finds_what_does_not_fit_together(
    store: EmbeddedStore, folder: Path, statement: str, fault: str
) -> None:
    def change(folder: Path) -> None:
        connection = sqlite3.connect(database_path(folder))
        connection.execute(statement)
        connection.commit()
        connection.close()

    assert fault in await verified_after(store, folder, change)


async def test_verify_finds_memory_that_is_not_the_truth(store: EmbeddedStore) -> None:
    await store.put([record("a", seed=1), record("b", seed=2), record("c", seed=3)])
    assert store._running is not None
    (held,) = store._running.memory.held.values()
    cache = held.flat
    (block,) = cache._layout.blocks
    block.vectors[0, 0] += 1
    block.ids[1] = "x"
    cache.remove(1, [3])
    cache.add(1, [99], ["extra"], vector_of(4)[np.newaxis])
    assert list((await store.verify()).faults) == [
        "document 'a' of 'images': memory has another vector",
        "document 'b' of 'images': memory has it as 'x'",
        "document 'c' of 'images': it is not in memory",
        "row 99: in memory, but not on disk",
    ]


async def test_a_damaged_page_is_found_at_the_open_after_an_unclean_stop(
    store: EmbeddedStore, folder: Path, tmp_path: Path
) -> None:
    await store.put([record(f"{n}", seed=n, thumbnail=b"t" * 5000) for n in range(100)])
    await store.close()
    await store.open()
    await store.put([record("one more", seed=7)])
    # By another process: this one must not open and close the files of a database that is in use.
    copy = tmp_path / "as after a power cut"
    await asyncio.to_thread(subprocess.run, ["cp", "-r", str(folder), str(copy)], check=True)
    with database_path(copy).open("r+b") as file:
        file.seek(20 * PAGE_SIZE)
        file.write(b"\x99" * PAGE_SIZE)
    with pytest.raises(VisualSearchError) as refused:
        await EmbeddedStore(copy).open()
    assert refused.value.code == "store_invalid"
    assert refused.value.details["faults"]


async def test_an_unclean_stop_is_seen_and_loses_nothing(store: EmbeddedStore, folder: Path, tmp_path: Path) -> None:
    await store.put([record(f"{n}", seed=n) for n in range(10)])
    copy = tmp_path / "as after a power cut"
    await asyncio.to_thread(subprocess.run, ["cp", "-r", str(folder), str(copy)], check=True)
    again = EmbeddedStore(copy)
    await again.open()
    assert (await again.status()).details["stopped_uncleanly"] is True
    assert len(await ids_of(again)) == 10
    await again.close()
