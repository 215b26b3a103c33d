"""Connections: durable, read-only where they should be, and errors that mean something."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.index.embedded.disk.database import (
    PAGE_SIZE,
    ReadConnections,
    as_visual_search_error,
    connect_reader,
    connect_writer,
    database_errors,
    database_path,
    in_batches,
    structural_faults,
    was_stopped_uncleanly,
)
from executors.index.embedded.disk.schema import prepare


def test_every_commit_is_flushed_to_disk_before_it_returns(tmp_path: Path) -> None:
    connection = connect_writer(tmp_path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,), "FULL"
    assert connection.execute("PRAGMA fullfsync").fetchone() == (1,)
    connection.close()


def test_the_file_is_made_as_the_format_says(tmp_path: Path) -> None:
    connection = connect_writer(tmp_path)
    prepare(connection)
    assert connection.execute("PRAGMA page_size").fetchone() == (PAGE_SIZE,)
    assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,), "incremental"
    assert connection.execute("PRAGMA encoding").fetchone() == ("UTF-8",)
    connection.close()


def test_a_clean_close_leaves_no_log_and_anything_else_does(tmp_path: Path) -> None:
    assert was_stopped_uncleanly(tmp_path) is False
    connection = connect_writer(tmp_path)
    prepare(connection)
    assert was_stopped_uncleanly(tmp_path) is True
    connection.close()
    assert was_stopped_uncleanly(tmp_path) is False


def test_a_reader_can_not_write(tmp_path: Path) -> None:
    folder = tmp_path / "with space, % and ? and #"
    folder.mkdir()
    writer = connect_writer(folder)
    prepare(writer)
    reader = connect_reader(folder)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("DELETE FROM meta")
    reader.close()
    writer.close()


def test_a_read_is_of_one_moment(tmp_path: Path) -> None:
    writer = connect_writer(tmp_path)
    prepare(writer)
    reading = ReadConnections(tmp_path)

    def read(connection: sqlite3.Connection) -> list[int]:
        query = "SELECT value FROM meta WHERE key = 'sequence'"
        before = connection.execute(query).fetchone()[0]
        writer.execute("UPDATE meta SET value = 7 WHERE key = 'sequence'")
        return [before, connection.execute(query).fetchone()[0]]

    assert reading.run(read) == [0, 0]
    assert reading.run(read) == [7, 7]
    reading.close()
    writer.close()


def test_a_read_that_fails_does_not_spoil_the_next(tmp_path: Path) -> None:
    writer = connect_writer(tmp_path)
    prepare(writer)
    reading = ReadConnections(tmp_path)
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        reading.run(lambda connection: connection.execute("SELECT * FROM absent"))
    assert reading.run(lambda connection: connection.execute("SELECT 1").fetchone()) == (1,)
    reading.close()
    writer.close()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_FULL, "storage_unavailable"),
        (sqlite3.SQLITE_READONLY, "storage_unavailable"),
        (sqlite3.SQLITE_IOERR_WRITE, "storage_unavailable"),
        (sqlite3.SQLITE_IOERR_FSYNC, "storage_unavailable"),
        (sqlite3.SQLITE_CANTOPEN, "storage_unavailable"),
        (sqlite3.SQLITE_BUSY, "storage_unavailable"),
        (sqlite3.SQLITE_CORRUPT, "store_invalid"),
        (sqlite3.SQLITE_CORRUPT_INDEX, "store_invalid"),
        (sqlite3.SQLITE_NOTADB, "store_invalid"),
    ],
)
def test_what_sqlite_says_becomes_a_code(code: int, expected: str) -> None:
    error = sqlite3.OperationalError("what happened")
    error.sqlite_errorcode = code
    assert as_visual_search_error(error).code == expected
    with pytest.raises(VisualSearchError) as refused, database_errors():
        raise error
    assert refused.value.code == expected


def test_a_defect_is_not_taken_for_a_failing_disk(tmp_path: Path) -> None:
    connection = connect_writer(tmp_path)
    prepare(connection)
    with pytest.raises(sqlite3.OperationalError), database_errors():
        connection.execute("SELEKT 1")
    with pytest.raises(sqlite3.IntegrityError), database_errors():
        connection.execute("INSERT INTO meta (key, value) VALUES ('sequence', 1)")
    connection.close()


def test_text_that_is_no_text_is_damage(tmp_path: Path) -> None:
    connection = connect_writer(tmp_path)
    prepare(connection)
    connection.execute("UPDATE meta SET value = CAST(X'ff' AS TEXT) WHERE key = 'store_id'")
    with pytest.raises(VisualSearchError) as refused, database_errors():
        connection.execute("SELECT value FROM meta").fetchall()
    assert refused.value.code == "store_invalid"
    connection.close()


@pytest.mark.parametrize("full", [False, True])
def test_a_damaged_page_is_found(tmp_path: Path, full: bool) -> None:
    connection = connect_writer(tmp_path)
    prepare(connection)
    assert structural_faults(connection, full=full) == []
    connection.close()
    with database_path(tmp_path).open("r+b") as file:
        file.seek(2 * PAGE_SIZE)
        file.write(b"\x55" * PAGE_SIZE)
    connection = connect_writer(tmp_path)
    assert structural_faults(connection, full=full)
    connection.close()


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1_700])
def test_any_number_of_values_can_be_asked_for(count: int) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE numbers (number INTEGER, kind TEXT)")
    connection.executemany("INSERT INTO numbers VALUES (?, ?)", [(n, "ab"[n % 2]) for n in range(2_000)])
    wanted = list(range(count))
    query = "SELECT number FROM numbers WHERE number IN ({marks})"
    assert list(in_batches(connection, query, wanted)) == [(n,) for n in wanted]
    # Fixed values, and the others twice.
    both = f"{query} AND kind = ?1 UNION ALL {query} AND kind = ?2 ORDER BY number"
    assert list(in_batches(connection, both, wanted, "a", "b")) == [(n,) for n in wanted]
    assert list(in_batches(connection, both, wanted, "a", "a")) == [(n,) for n in wanted if n % 2 == 0 for _ in "12"]
