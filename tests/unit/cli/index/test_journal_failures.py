"""If the journal fails, the run continues with a warning."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from executors.cli import main
from executors.cli.journal_file import journal_path
from tests.support.flows.wire_service import WireService

MakeFiles = Callable[..., Path]


REFUSED = "BEGIN SELECT RAISE(FAIL, 'disk is full'); END"


def damage_journal(statement: str) -> None:
    """Have the journal refuse what a full disk or a lock would."""
    with closing(sqlite3.connect(journal_path())) as connection, connection:
        connection.execute(statement)


def test_a_journal_that_fails_at_the_start_costs_a_warning(
    service: WireService, make_files: MakeFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_files("a.jpg")
    command = ["index", "--url", service.url, "--prune", "--yes"]
    assert main([*command, str(folder)]) == 0
    damage_journal(f"CREATE TRIGGER full BEFORE INSERT ON scope {REFUSED}")
    other = make_files("b.jpg", folder="other")
    capsys.readouterr()
    assert main([*command, str(other)]) == 1
    captured = capsys.readouterr()
    assert "1 created" in captured.out
    assert "a later run will send some files again: disk is full" in captured.err
    assert "--prune: without the journal of earlier runs" in captured.err
    assert len(service.documents) == 2


def test_a_journal_that_fails_after_the_run_costs_a_warning(
    service: WireService, make_files: MakeFiles, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("database is locked")

    folder = make_files("a.jpg")
    monkeypatch.setattr("executors.cli.index.command.find_gone", fail)
    assert main(["index", str(folder), "--url", service.url]) == 0
    captured = capsys.readouterr()
    assert "1 created" in captured.out
    assert "it is not known which indexed files are gone: database is locked" in captured.err
    assert main(["index", str(folder), "--url", service.url, "--prune", "--yes"]) == 1


def test_a_journal_that_fails_while_it_prunes_costs_a_warning(
    service: WireService, make_files: MakeFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_files("a.jpg", "b.jpg")
    command = ["index", str(folder), "--url", service.url, "--prune", "--yes"]
    assert main(command) == 0
    (folder / "a.jpg").unlink()
    damage_journal(f"CREATE TRIGGER full BEFORE DELETE ON sent {REFUSED}")
    capsys.readouterr()
    assert main(command) == 0
    captured = capsys.readouterr()
    assert "1 document removed" in captured.out
    assert "a later run will list these documents again: disk is full" in captured.err
    assert list(service.documents) == [("images", "b.jpg")]
    damage_journal("DROP TRIGGER full")
    assert main(command) == 0
