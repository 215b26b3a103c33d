"""The log is moved into the file, and does not grow forever."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

import pytest

from executors.index.embedded.disk.checkpoints import Checkpointer
from executors.index.embedded.disk.database import ReadConnections, connect_writer, database_path
from executors.index.embedded.disk.schema import prepare


def log_frames(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1])


def write(connection: sqlite3.Connection, times: int) -> None:
    for number in range(times):
        connection.execute("INSERT OR REPLACE INTO thumbnails VALUES (?, ?)", (number % 7, b"t" * 9000))


@pytest.fixture
def writer(tmp_path: Path) -> sqlite3.Connection:
    connection = connect_writer(tmp_path)
    prepare(connection)
    return connection


def run_if_due(checkpointer: Checkpointer) -> None:
    if checkpointer.is_due:
        checkpointer.run()


def test_nothing_is_moved_before_enough_has_changed(writer: sqlite3.Connection, tmp_path: Path) -> None:
    size = database_path(tmp_path).stat().st_size
    checkpointer = Checkpointer(writer, every_changes=50)
    write(writer, 20)
    run_if_due(checkpointer)
    assert database_path(tmp_path).stat().st_size == size
    write(writer, 50)
    run_if_due(checkpointer)
    assert database_path(tmp_path).stat().st_size > size
    writer.close()


def test_searches_without_a_gap_do_not_let_the_log_grow(writer: sqlite3.Connection, tmp_path: Path) -> None:
    """Without `most_frames` the log reaches about 1,800 pages here."""
    done = threading.Event()
    reading = ReadConnections(tmp_path)

    def search(delay: float) -> None:
        def read(connection: sqlite3.Connection) -> None:
            connection.execute("SELECT count(*) FROM meta").fetchone()
            time.sleep(0.03)

        time.sleep(delay)
        while not done.is_set():
            reading.run(read)

    readers = [threading.Thread(target=search, args=(delay,)) for delay in (0.0, 0.01, 0.02)]
    for reader in readers:
        reader.start()
    checkpointer = Checkpointer(writer, every_changes=20, most_frames=100)
    largest = 0
    try:
        for _ in range(30):
            write(writer, 10)
            run_if_due(checkpointer)
            largest = max(largest, log_frames(writer))
    finally:
        done.set()
        for reader in readers:
            reader.join()
        reading.close()
    assert largest < 1000
    writer.close()


def test_a_checkpoint_that_fails_is_tried_again(writer: sqlite3.Connection, caplog: pytest.LogCaptureFixture) -> None:
    checkpointer = Checkpointer(writer, every_changes=10)
    write(writer, 10)
    writer.execute("BEGIN IMMEDIATE")
    run_if_due(checkpointer)
    assert "could not be moved" in caplog.text
    writer.execute("COMMIT")
    write(writer, 10)
    caplog.clear()
    run_if_due(checkpointer)
    assert caplog.text == ""
    writer.close()
