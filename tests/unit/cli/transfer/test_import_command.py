from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from executors.cli import main
from executors.cli.transfer import import_reader
from executors.cli.transfer.format import end_line
from tests.support.flows.commands import run_process, wait_for
from tests.support.flows.export_lines import doc, header
from tests.support.flows.library_service import MODEL, LibraryService, library_service
from tests.support.flows.wire_service import Fault

Output = pytest.CaptureFixture[str]


def test_what_was_exported_is_the_same_in_another_index(target: LibraryService, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with library_service() as source:
        for n in range(700):
            source.put("images", f"ü{n}", tags={"n": n, "deep": {"a": [None, 2**53, -0.5]}}, thumbnail=b"\xff\xd8\xff")
        source.put("other", "ü1", parent="ü1", box=[1.0, 2.0, 3.0, 4.5], text="words", uri="label")
        source.bound["empty"] = ("m@2", 7)
        assert main(["export", str(first), "--url", source.url]) == 0
        bound = dict(source.bound)
    assert main(["import", str(first), "--url", target.url]) == 0
    assert target.bound == bound
    assert main(["export", str(second), "--url", target.url]) == 0
    assert second.read_bytes() == first.read_bytes()


def test_it_is_summed_up_and_a_second_import_changes_nothing(
    backup: Path, target: LibraryService, capsys: Output
) -> None:
    assert main(["import", str(backup), "--url", target.url]) == 0
    assert "2,000 created\n" in capsys.readouterr().out
    assert main(["import", str(backup), "--url", target.url]) == 0
    assert "2,000 unchanged\n" in capsys.readouterr().out


def test_several_requests_are_in_flight_and_no_more_than_were_asked_for(backup: Path, target: LibraryService) -> None:
    target.delay_s = 0.1
    assert main(["import", str(backup), "--url", target.url, "--requests", "3"]) == 0
    assert target.most_in_flight == 3


def test_lines_from_elsewhere_need_neither_header_nor_model(target: LibraryService, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(
        b'{"id": "a", "embedding": [1, 2, 3, 4]}\n{"id": "b", "embedding": [1, 2, 3, 4], "tags": {"k": 1}}'
    )
    assert main(["import", str(path), "--url", target.url]) == 0
    assert sorted(target.documents) == [("images", "a"), ("images", "b")]


def test_refused_lines_are_listed_by_number_and_code_and_cost_no_other(
    target: LibraryService, tmp_path: Path, capsys: Output
) -> None:
    path = tmp_path / "x"
    target.bound["images"] = (MODEL, 4)
    path.write_bytes(
        doc("a") + b"{torn\n" + doc("b", model_id="other@1") + doc("c", embedding=[1.0]) + b"\n" + doc("d", tags=3)
        + doc("e", collection="new", model_id="other@1")
    )  # fmt: skip
    assert main(["import", str(path), "--url", target.url, "--json"]) == 1
    captured = capsys.readouterr()
    results = {line["line"]: line for line in map(json.loads, captured.out.splitlines())}
    codes = {number: (each["error"] or {}).get("code") for number, each in results.items()}
    assert codes == {
        1: None, 2: "invalid_document", 3: "model_mismatch", 4: "dimension_mismatch", 6: "invalid_tags", 7: None
    }  # fmt: skip
    assert results[3] == {
        "line": 3, "id": "b", "collection": "images", "result": "failed",
        "error": {"code": "model_mismatch", "message": f"images is bound to {MODEL}", "details": {}},
    }  # fmt: skip
    assert "2 created, 4 failed" in captured.err
    assert sorted(target.documents) == [("images", "a"), ("new", "e")]
    assert main(["import", str(path), "--url", target.url]) == 1
    shown = capsys.readouterr().out
    assert [line.split()[:3] for line in shown.splitlines() if "mismatch" in line] == [
        ["3", "b", "model_mismatch"], ["4", "c", "dimension_mismatch"]
    ]  # fmt: skip


def test_many_refused_lines_are_counted_by_code_and_the_first_shown(
    target: LibraryService, tmp_path: Path, capsys: Output
) -> None:
    (tmp_path / "x").write_bytes(b"this is no export\n" * 3000 + doc("a"))
    assert main(["import", str(tmp_path / "x"), "--url", target.url]) == 1
    shown = capsys.readouterr().out
    assert "… 3,000 lines in all (3,000 invalid_document); --json lists them" in shown
    assert len(shown.splitlines()) < 40
    assert list(target.documents) == [("images", "a")]


def test_a_collection_of_another_model_is_refused_before_any_document_is_sent(
    backup: Path, target: LibraryService, capsys: Output
) -> None:
    target.bound["images"] = ("other@1", 4)
    assert main(["import", str(backup), "--url", target.url]) == 1
    assert "model_mismatch" in capsys.readouterr().err
    assert target.sent_ids() == []


def test_an_unfinished_export_is_named_and_what_it_has_is_imported(
    backup: Path, target: LibraryService, capsys: Output
) -> None:
    lines = backup.read_bytes().splitlines(keepends=True)
    backup.write_bytes(b"".join(lines[:-1]))
    assert main(["import", str(backup), "--url", target.url]) == 1
    assert "documents are missing" in capsys.readouterr().err
    assert len(target.documents) == 2000


def test_one_collection_goes_where_it_is_told_and_a_second_does_not_mix_in(
    target: LibraryService, tmp_path: Path, capsys: Output
) -> None:
    path = tmp_path / "x"
    path.write_bytes(header("images") + doc("a") + doc("b", collection="other") + end_line(2))
    assert main(["import", str(path), "--url", target.url, "--collection", "copy"]) == 1
    assert list(target.documents) == [("copy", "a")]
    assert "of the collection 'other'" in " ".join(capsys.readouterr().out.split())
    assert list(target.bound) == ["copy"]
    path.write_bytes(header("images", "other") + doc("a"))
    assert main(["import", str(path), "--url", target.url, "--collection", "copy"]) == 2
    assert "several collections (images, other)" in capsys.readouterr().err


def test_of_two_lines_with_one_id_the_later_wins(
    target: LibraryService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_reader, "CHUNK_DOCUMENTS", 2)
    (tmp_path / "x").write_bytes(b"".join(doc("same", tags={"n": n}) + doc(f"o{n}") for n in range(9)))
    target.faults.append(Fault(delay_s=0.3))
    assert main(["import", str(tmp_path / "x"), "--url", target.url]) == 0
    assert target.documents["images", "same"]["tags"] == {"n": 8}


def test_a_request_that_is_too_large_is_sent_in_halves(backup: Path, target: LibraryService) -> None:
    target.most_a_request = 100
    assert main(["import", str(backup), "--url", target.url]) == 0
    assert len(target.documents) == 2000


def test_a_document_that_failed_by_a_fault_of_the_service_is_sent_again(backup: Path, target: LibraryService) -> None:
    target.refused = {"0005": 1, "1999": 2}
    assert main(["import", str(backup), "--url", target.url]) == 0
    assert len(target.documents) == 2000


def test_without_a_journal_it_works_and_warns(
    backup: Path, target: LibraryService, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(backup))
    assert main(["import", str(backup), "--url", target.url]) == 0
    assert "the journal can't be opened" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status"), [(["-", "--resume"], 2), (["no-such-file"], 1), ([".", "--resume"], 2)]
)
def test_what_cannot_be_read_is_said_in_a_line(
    arguments: list[str], status: int, target: LibraryService, capsys: Output
) -> None:
    assert main(["import", *arguments, "--url", target.url]) == status
    captured = capsys.readouterr()
    assert "error:" in captured.err
    assert target.requests == []


def test_a_pipe_is_read_as_it_comes(target: LibraryService) -> None:
    process = run_process("import", "--url", target.url, stdin=subprocess.PIPE)
    out, _ = process.communicate(header("images") + doc("a") + doc("b") + end_line(2), timeout=30)
    assert process.returncode == 0
    assert b"2 created" in out


def test_an_endless_line_on_standard_input_ends_with_an_error(target: LibraryService) -> None:
    with Path("/dev/zero").open("rb") as endless:
        process = run_process("import", "-", "--url", target.url, stdin=endless)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"malformed_body: a line is longer than 256,000,000 bytes" in err


def test_ctrl_c_while_a_pipe_is_silent_ends_at_once(target: LibraryService) -> None:
    process = run_process("import", "-", "--url", target.url, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(header("images") + doc("a"))
    process.stdin.flush()
    wait_for(lambda: "images" in target.bound)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130, "although its standard input stays open"
    _, err = process.communicate()
    assert b"Traceback" not in err
