"""The file format: the tables of a new file, the files that are refused, and the upgrade of older formats."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.index.embedded.disk.database import connect_writer, database_path
from executors.index.embedded.disk.schema import APPLICATION_ID, FORMAT_VERSION, MIGRATIONS, prepare
from executors.index.embedded.tags.query import matching_rows
from executors.index.embedded.upkeep.verify import tag_faults
from executors.index.encoding import decode_tags
from executors.index.filters import matches, parse_filter

FORMAT_1 = Path(__file__).parents[4] / "data" / "index-format-1.sqlite3"


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = connect_writer(tmp_path)
    yield connection
    connection.close()


def pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def code_of(connection: sqlite3.Connection, **arguments: object) -> VisualSearchError:
    with pytest.raises(VisualSearchError) as refused:
        prepare(connection, **arguments)  # type: ignore[arg-type]  # given by name
    return refused.value


def test_a_new_file_says_what_it_is(connection: sqlite3.Connection) -> None:
    prepare(connection)
    assert pragma(connection, "application_id") == APPLICATION_ID
    assert pragma(connection, "user_version") == FORMAT_VERSION
    meta = dict(connection.execute("SELECT key, value FROM meta"))
    assert meta["format_version"] == FORMAT_VERSION
    before = dict(meta)
    prepare(connection)
    assert dict(connection.execute("SELECT key, value FROM meta")) == before


def test_an_interrupted_creation_leaves_nothing_half_made(tmp_path: Path) -> None:
    connection = connect_writer(tmp_path)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("CREATE TABLE meta (key TEXT)")
    connection.close()
    connection = connect_writer(tmp_path)
    prepare(connection)
    assert pragma(connection, "user_version") == FORMAT_VERSION
    connection.close()


def test_a_newer_format_is_refused_and_left_as_it_is(connection: sqlite3.Connection) -> None:
    prepare(connection)
    connection.execute(f"PRAGMA user_version = {FORMAT_VERSION + 1}")
    error = code_of(connection)
    assert error.code == "store_invalid"
    assert error.details == {"found": FORMAT_VERSION + 1, "known": FORMAT_VERSION}
    assert pragma(connection, "user_version") == FORMAT_VERSION + 1


def test_a_database_of_something_else_is_refused(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE theirs (x)")
    assert code_of(connection).code == "store_invalid"
    assert [row[0] for row in connection.execute("SELECT name FROM sqlite_master")] == ["theirs"]


def test_something_that_is_no_database_is_refused(tmp_path: Path) -> None:
    database_path(tmp_path).write_bytes(b"no database at all, but long enough to be one" * 100)
    with pytest.raises(VisualSearchError) as refused:
        connect_writer(tmp_path)
    assert refused.value.code == "store_invalid"


def test_there_is_a_migration_from_every_older_format() -> None:
    assert sorted(MIGRATIONS) == list(range(1, FORMAT_VERSION))


def test_migrations_run_in_order_each_in_a_transaction_of_its_own(connection: sqlite3.Connection) -> None:
    prepare(connection)

    def first(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE documents ADD COLUMN added TEXT")

    def second(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE documents SET added = 'x'")
        raise sqlite3.OperationalError("the disk is full")

    steps = {FORMAT_VERSION: first, FORMAT_VERSION + 1: second}
    with pytest.raises(sqlite3.OperationalError, match="full"):
        prepare(connection, steps, FORMAT_VERSION + 2)
    assert pragma(connection, "user_version") == FORMAT_VERSION + 1
    assert not connection.in_transaction
    steps[FORMAT_VERSION + 1] = lambda connection: None
    prepare(connection, steps, FORMAT_VERSION + 2)
    assert pragma(connection, "user_version") == FORMAT_VERSION + 2
    stored = connection.execute("SELECT value FROM meta WHERE key = 'format_version'").fetchone()
    assert stored == (FORMAT_VERSION + 2,)
    assert "added" in [row[1] for row in connection.execute("PRAGMA table_info (documents)")]


def test_a_format_without_a_way_forward_is_refused(connection: sqlite3.Connection) -> None:
    prepare(connection)
    error = code_of(connection, migrations={}, target=FORMAT_VERSION + 1)
    assert error.code == "store_invalid"
    assert pragma(connection, "user_version") == FORMAT_VERSION


def test_a_file_of_format_1_becomes_what_a_new_file_is(tmp_path: Path) -> None:
    connection = opened_format_1(tmp_path)
    before = contents(connection)
    prepare(connection)
    assert pragma(connection, "user_version") == FORMAT_VERSION
    assert pragma(connection, "application_id") == APPLICATION_ID
    (tmp_path / "new").mkdir()
    new = connect_writer(tmp_path / "new")
    prepare(new)
    assert shape(connection) == shape(new)
    after = contents(connection)
    before["meta"] = [(key, FORMAT_VERSION if key == "format_version" else value) for key, value in before["meta"]]
    before["collections"] = [(*row, None) for row in before["collections"]]
    assert {name: after[name] for name in before} == before, "everything else stays"
    assert tag_faults(connection) == []
    new.close()
    connection.close()


def test_the_documents_of_format_1_are_found_by_their_tags(tmp_path: Path) -> None:
    connection = opened_format_1(tmp_path)
    prepare(connection)
    tags = {row: decode_tags(text) for row, text in connection.execute("SELECT row, tags FROM documents")}
    numbers = dict(connection.execute("SELECT row, collection FROM documents"))
    wheres = [
        {"n": 2**53},
        {"list": None},
        {"list.a": "b"},
        {"x": {"$lt": 1}},
        {"kept": 1, "new": "x"},
        {"n": {"$ne": 1}},
        {},
    ]
    for collection in set(numbers.values()):
        mine = [row for row in sorted(tags) if numbers[row] == collection]
        for where in map(parse_filter, wheres):
            expected = [row for row in mine if matches(where, tags[row])]
            assert matching_rows(connection, collection, where).tolist() == expected
    assert any(matching_rows(connection, number, parse_filter({"n": 2**53})).size for number in set(numbers.values()))
    connection.close()


def test_an_interrupted_migration_leaves_format_1(tmp_path: Path) -> None:
    connection = opened_format_1(tmp_path)
    before, was = contents(connection), shape(connection)

    def fails_late(connection: sqlite3.Connection) -> None:
        MIGRATIONS[1](connection)
        raise sqlite3.OperationalError("the disk is full")

    with pytest.raises(sqlite3.OperationalError, match="full"):
        prepare(connection, {**MIGRATIONS, 1: fails_late})
    assert (contents(connection), shape(connection), pragma(connection, "user_version")) == (before, was, 1)
    prepare(connection)
    assert pragma(connection, "user_version") == FORMAT_VERSION
    connection.close()


def opened_format_1(folder: Path) -> sqlite3.Connection:
    shutil.copy(FORMAT_1, database_path(folder))
    connection = connect_writer(folder)
    assert pragma(connection, "user_version") == 1
    return connection


def contents(connection: sqlite3.Connection) -> dict[str, list[tuple[object, ...]]]:
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in names}


def shape(connection: sqlite3.Connection) -> dict[str, list[object]]:
    """Columns and indexes of every table, as SQLite understands them, however they were declared."""
    names = [
        name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    ]
    found: dict[str, list[object]] = {}
    for name in names:
        columns = connection.execute(f"PRAGMA table_info ({name})").fetchall()
        indexes = sorted(row[1:] for row in connection.execute(f"PRAGMA index_list ({name})"))
        keys = [connection.execute(f"PRAGMA index_info ({index[0]})").fetchall() for index in indexes]
        found[name] = [columns, indexes, keys]
    return found
