from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from executors.cli.journal import Journal, Sent, tags_digest

A = Sent("a.jpg", 10, 111, "", "a.jpg")
B = Sent("sub/b.jpg", 20, 222, "", "sub/b.jpg")


def test_what_was_recorded_is_there_for_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "new" / "sent.sqlite"
    with closing(Journal(path)) as journal:
        journal.scope("uuid", "images", "/photos", "path").record([A, B])
    with closing(Journal(path)) as journal:
        scope = journal.scope("uuid", "images", "/photos", "path")
        assert [scope.find(each) for each in ("a.jpg", "sub/b.jpg", "c.jpg")] == [A, B, None]


def test_a_file_is_remembered_as_it_was_last(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "sent.sqlite")) as journal:
        scope = journal.scope("uuid", "images", "/photos", "path")
        scope.record([A])
        newer = Sent("a.jpg", 11, 112, "tags", "a.jpg")
        scope.record([newer])
        assert scope.find("a.jpg") == newer


@pytest.mark.parametrize(
    "other",
    [
        ("another", "images", "/photos", "path"),
        ("uuid", "products", "/photos", "path"),
        ("uuid", "images", "/other", "path"),
        ("uuid", "images", "/photos", "sha256"),
    ],
)
def test_indexes_collections_folders_and_kinds_of_ids_are_kept_apart(
    tmp_path: Path, other: tuple[str, str, str, str]
) -> None:
    with closing(Journal(tmp_path / "sent.sqlite")) as journal:
        journal.scope("uuid", "images", "/photos", "path").record([A])
        assert journal.scope(*other).find("a.jpg") is None


def test_names_and_folders_need_not_be_utf8(tmp_path: Path) -> None:
    name, folder = os.fsdecode(b"caf\xe9.jpg"), os.fsdecode(b"/f\xff")
    with closing(Journal(tmp_path / "sent.sqlite")) as journal:
        sent = Sent(name, 1, 2, "", "5eb1")
        journal.scope("uuid", "images", folder, "sha256").record([sent])
        assert journal.scope("uuid", "images", folder, "sha256").find(name) == sent


def test_deleted_documents_are_forgotten_in_their_index_and_collection_only(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "sent.sqlite")) as journal:
        keys = [("uuid", "images", "/1"), ("uuid", "images", "/2"), ("uuid", "other", "/1"), ("x", "images", "/1")]
        scopes = [journal.scope(*key, "path") for key in keys]
        for scope in scopes:
            scope.record([A, B])
        journal.forget("uuid", "images", ["a.jpg", "never there"])
        assert [scope.find("a.jpg") for scope in scopes] == [None, None, A, A]
        assert all(scope.find("sub/b.jpg") == B for scope in scopes)


def test_what_was_recorded_survives_a_kill(tmp_path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from executors.cli.journal import Journal, Sent
scope = Journal(Path({str(tmp_path / "sent.sqlite")!r})).scope("uuid", "images", "/photos", "path")
for n in range(50):
    scope.record([Sent(f"{{n}}.jpg", n, n, "", f"{{n}}.jpg")])
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    with closing(Journal(tmp_path / "sent.sqlite")) as journal:
        scope = journal.scope("uuid", "images", "/photos", "path")
        assert all(scope.find(f"{n}.jpg") for n in range(50))


def test_two_processes_may_record_at_once(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "sent.sqlite")) as one, closing(Journal(tmp_path / "sent.sqlite")) as two:
        first = one.scope("uuid", "images", "/photos", "path")
        second = two.scope("uuid", "images", "/photos", "path")
        first.record([A])
        second.record([B])
        assert first.find(B.name) == B
        assert second.find(A.name) == A


def test_a_damaged_journal_is_set_aside_and_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "sent.sqlite"
    path.write_bytes(b"not a database, " * 1000)
    with closing(Journal(path)) as journal:
        scope = journal.scope("uuid", "images", "/photos", "path")
        scope.record([A])
        assert scope.find("a.jpg") == A
    assert (tmp_path / "sent.sqlite.damaged").read_bytes().startswith(b"not a database")


def test_a_journal_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "sent.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(sqlite3.OperationalError, match="newer version"):
        Journal(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
        assert connection.execute("PRAGMA user_version").fetchone() == (99,)
    assert len(before) == len(path.read_bytes())


def test_tags_have_one_digest_whatever_their_order() -> None:
    assert tags_digest({}) == ""
    assert tags_digest({"a": 1, "b": [2]}) == tags_digest({"b": [2], "a": 1})
    assert tags_digest({"a": 1}) != tags_digest({"a": 2})


FORMAT_1 = """
CREATE TABLE scope (
    number INTEGER PRIMARY KEY, index_uuid TEXT NOT NULL, collection TEXT NOT NULL, folder BLOB NOT NULL,
    id_mode TEXT NOT NULL, UNIQUE (index_uuid, collection, folder, id_mode));
CREATE TABLE sent (
    scope INTEGER NOT NULL, name BLOB NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    tags TEXT NOT NULL, document_id TEXT NOT NULL, PRIMARY KEY (scope, name)) WITHOUT ROWID;
CREATE INDEX sent_by_id ON sent (document_id);
CREATE TABLE imports (
    index_uuid TEXT NOT NULL, collection TEXT NOT NULL, path BLOB NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, state TEXT NOT NULL, PRIMARY KEY (index_uuid, collection, path)) WITHOUT ROWID;
PRAGMA user_version = 1;
INSERT INTO scope VALUES (1, 'uuid', 'images', CAST('/one' AS BLOB), 'path'), (2, 'uuid', 'images', CAST('/two' AS BLOB), 'path');
INSERT INTO sent VALUES (1, CAST('a.jpg' AS BLOB), 10, 111, '', 'a.jpg'), (1, CAST('both.jpg' AS BLOB), 1, 2, '', 'both.jpg'),
    (2, CAST('both.jpg' AS BLOB), 3, 4, '', 'both.jpg');
"""


def test_a_journal_of_format_1_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "sent.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(FORMAT_1)
    os.utime(path, (1_000_000, 1_000_000))
    before, after = f"{999_999_999:012x}-0000-n", f"{1_000_000_001:012x}-0000-n"
    for _ in range(2):
        with closing(Journal(path)) as journal:
            one = journal.scope("uuid", "images", "/one", "path")
            known, both = one.find("a.jpg"), one.find("both.jpg")
            assert known is not None
            assert (known.size, known.mtime_ns, known.document_id) == (10, 111, "a.jpg")
            # A document that was in the index then is the one that was sent; a later one is not, nor one of two files.
            assert (known.stands(before), known.stands(after)) == (True, False)
            assert both is not None
            assert not both.stands(before)
            assert [claim.folder for claim in one.claims("both.jpg")] == ["/one", "/two"]


def test_two_processes_bring_a_journal_up_to_date_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "sent.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(FORMAT_1)
    code = "import sys; from pathlib import Path; from executors.cli.journal import Journal; Journal(Path(sys.argv[1]))"
    running = [subprocess.Popen([sys.executable, "-c", code, str(path)], stderr=subprocess.PIPE) for _ in range(4)]
    assert [(each.communicate(timeout=60)[1], each.returncode) for each in running] == [(b"", 0)] * 4
