"""`collections`, `count`, and `delete` by a filter."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from executors.cli import main
from tests.support.flows.commands import run_process, wait_for
from tests.support.flows.library_service import LibraryService, library_service

Output = pytest.CaptureFixture[str]


@pytest.fixture
def service() -> Iterator[LibraryService]:
    with library_service() as running:
        for n in range(10):
            running.put("images", f"{n}", tags={"n": n})
        running.put("other", "a", tags={"n": 1})
        yield running


@pytest.mark.parametrize("typed", [["collections"], ["collections", "list"]])
def test_collections_are_listed_with_their_models_and_counts(
    typed: list[str], service: LibraryService, capsys: Output
) -> None:
    assert main([*typed, "--url", service.url]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["name", "documents", "model", "dimension"]
    assert rows[2:] == [["images", "10", "tiny@1", "4"], ["other", "1", "tiny@1", "4"]]


@pytest.mark.parametrize("position", [1, 2])
def test_options_may_stand_before_and_after_the_action(position: int, service: LibraryService, capsys: Output) -> None:
    typed = ["collections", "list"]
    typed[position:position] = ["--json", "--url", service.url]
    assert main(typed) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == {"name": "images", "model_id": "tiny@1", "dimension": 4, "documents": 10}


def test_an_index_without_collections_says_so(capsys: Output) -> None:
    with library_service() as empty:
        assert main(["collections", "--url", empty.url]) == 0
    assert "no collection" in capsys.readouterr().out


def test_a_collection_is_created_for_a_model_and_once(service: LibraryService, capsys: Output) -> None:
    create = ["collections", "create", "new", "--url", service.url]
    assert main([*create, "--model-id", "ours@1", "--dimension", "7"]) == 0
    assert "new: created (ours@1, dimension 7)" in capsys.readouterr().out
    assert main([*create, "--model-id", "ours@1", "--dimension", "7", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"] == "unchanged"
    assert main(create) == 1
    assert "model_mismatch" in capsys.readouterr().err
    assert main(["collections", "create", "plain", "--url", service.url]) == 0
    assert service.requests[-1] == ("/collections/create", [], {"collection": "plain"})


def test_one_collection_is_shown_and_an_unknown_one_is_an_error(service: LibraryService, capsys: Output) -> None:
    assert main(["collections", "show", "other", "--url", service.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["documents"] == 1
    assert main(["collections", "show", "nobody", "--url", service.url]) == 1
    assert "collection_not_found" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "question"),
    [
        (["collections", "drop", "images"], "Drop the collection images with its 10 documents?"),
        (["delete", "--filter", '{"n": {"$lt": 3}}'], "Delete 3 documents of images?"),
    ],
    ids=["drop", "delete"],
)
def test_without_a_terminal_nothing_is_removed_without_yes(
    typed: list[str], question: str, service: LibraryService
) -> None:
    process = run_process(*typed, "--url", service.url, stdin=subprocess.DEVNULL)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert f"{question} Use --yes to confirm" in err.decode()
    assert len(service.documents) == 11


@pytest.mark.parametrize(("answer", "status", "left"), [("y\n", 0, 8), ("n\n", 1, 11), ("\n", 1, 11)], ids=repr)
def test_a_person_is_asked(answer: str, status: int, left: int, service: LibraryService) -> None:
    person, terminal = os.openpty()
    typed = ["delete", "--filter", '{"n": {"$lt": 3}}', "--url", service.url]
    process = run_process(*typed, stdin=terminal, stderr=terminal)
    os.close(terminal)
    shown = b""
    while b"[y/N]" not in shown:
        shown += os.read(person, 1000)
    os.write(person, answer.encode())
    out, _ = process.communicate(timeout=30)
    os.close(person)
    assert b"Delete 3 documents of images? [y/N]" in shown
    assert (process.returncode, len(service.documents)) == (status, left)
    assert (b"3 documents deleted" if status == 0 else b"nothing was deleted") in out


def test_a_collection_is_dropped_with_its_documents(service: LibraryService, capsys: Output) -> None:
    assert main(["collections", "drop", "images", "--yes", "--url", service.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "images", "result": "deleted", "documents": 10}
    assert list(service.bound) == ["other"]
    assert main(["collections", "drop", "images", "--yes", "--url", service.url]) == 1


def test_what_matches_is_deleted_and_counted(service: LibraryService, capsys: Output) -> None:
    where = ["--filter", '{"n": {"$in": [1, 2, 77]}}', "--yes", "--json"]
    assert main(["delete", *where, "--url", service.url]) == 0
    assert json.loads(capsys.readouterr().out) == {"deleted": 2}
    assert ("other", "a") in service.documents


def test_documents_are_counted(service: LibraryService, capsys: Output) -> None:
    assert main(["count", "--url", service.url]) == 0
    assert capsys.readouterr().out == "10\n"
    where = ["--filter", '{"n": {"$gte": 7}}', "--json"]
    assert main(["count", *where, "--url", service.url]) == 0
    assert json.loads(capsys.readouterr().out) == {"collection": "images", "count": 3}
    assert main(["count", "--collection", "nobody", "--url", service.url]) == 1


def test_ctrl_c_while_asking_removes_nothing(service: LibraryService) -> None:
    person, terminal = os.openpty()
    process = run_process("collections", "drop", "images", "--url", service.url, stdin=terminal, stderr=terminal)
    os.close(terminal)
    shown = bytearray()

    def asked() -> bool:
        shown.extend(os.read(person, 1000))
        return b"[y/N]" in shown

    wait_for(asked)
    process.send_signal(2)
    process.communicate(timeout=30)
    os.close(person)
    assert process.returncode == 130
    assert len(service.documents) == 11
