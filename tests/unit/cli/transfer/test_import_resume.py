"""`import` that was interrupted, and what `--resume` makes of it."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from executors.cli import main
from executors.cli.terminal.output import print_warning
from tests.support.flows.commands import run_process, wait_for
from tests.support.flows.export_lines import doc
from tests.support.flows.library_service import LibraryService
from tests.support.flows.wire_service import Fault

Output = pytest.CaptureFixture[str]


def test_a_service_that_fails_on_the_way_ends_with_3_and_resume_goes_on(
    backup: Path, target: LibraryService, capsys: Output
) -> None:
    target.standing_faults.append(Fault(status=403, code="forbidden_host", ids=frozenset({"1000"})))
    assert main(["import", str(backup), "--url", target.url, "--requests", "1"]) == 3
    captured = capsys.readouterr()
    assert "768 created" in captured.out
    assert "--resume continues after line 769" in captured.out
    assert "forbidden_host" in captured.err
    target.standing_faults.clear()
    target.requests.clear()
    assert main(["import", str(backup), "--url", target.url, "--resume"]) == 0
    assert len(target.documents) == 2000
    assert len(target.sent_ids()) == 2000 - 768
    assert "2,000 created" in capsys.readouterr().out


def test_an_import_that_did_not_begin_is_not_told_to_go_on(
    tmp_path: Path, target: LibraryService, capsys: Output
) -> None:
    file = tmp_path / "lines.ndjson"
    file.write_bytes(doc("0001") + doc("0002"))
    target.standing_faults.append(Fault(status=403, code="forbidden_host", ids=frozenset({"0001"})))
    assert main(["import", str(file), "--url", target.url]) == 3
    shown = capsys.readouterr().out
    assert f"{file}: the same command starts again with the first line" in shown
    assert "line 0" not in shown
    target.standing_faults.clear()
    assert main(["import", str(file), "--url", target.url, "--resume"]) == 0


@pytest.mark.parametrize(("name", "what"), [("/dev/zero", "a device"), (".", "a folder"), ("no-such-file", "No such")])
def test_what_has_no_end_or_is_no_file_is_refused_by_its_name(
    target: LibraryService, capsys: Output, name: str, what: str
) -> None:
    assert main(["import", name, "--url", target.url]) == 1
    told = capsys.readouterr().err
    assert "unreadable_file" in told
    assert name in told
    assert what in told


def test_a_pipe_without_a_writer_is_waited_for_and_that_is_said(
    tmp_path: Path, target: LibraryService, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned = threading.Event()

    def warn(text: str) -> None:
        print_warning(text)
        warned.set()

    monkeypatch.setattr("executors.cli.transfer.import_reader._PATIENCE_S", 0.1)
    monkeypatch.setattr("executors.cli.transfer.import_reader.print_warning", warn)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write() -> None:
        warned.wait(30)
        pipe.write_bytes(doc("0001"))

    writer = threading.Thread(target=write)
    writer.start()
    assert main(["import", str(pipe), "--url", target.url]) == 0
    writer.join()
    assert "no program writes to yet" in capsys.readouterr().err
    assert list(target.documents) == [("images", "0001")]


def test_what_was_acknowledged_after_a_gap_does_not_hide_the_gap(backup: Path, target: LibraryService) -> None:
    late = Fault(status=403, code="forbidden_host", ids=frozenset({"0300"}), delay_s=0.7)
    target.standing_faults.append(late)
    assert main(["import", str(backup), "--url", target.url]) == 3
    assert ("images", "0600") in target.documents
    target.standing_faults.clear()
    assert main(["import", str(backup), "--url", target.url, "--resume"]) == 0
    assert len(target.documents) == 2000


def test_lines_refused_before_an_interruption_are_still_told_after_it(
    backup: Path, target: LibraryService, capsys: Output
) -> None:
    lines = backup.read_bytes().splitlines(keepends=True)
    backup.write_bytes(b"".join([lines[0], b"bad\n", *lines[1:]]))
    target.standing_faults.append(Fault(status=403, code="forbidden_host", ids=frozenset({"1000"})))
    assert main(["import", str(backup), "--url", target.url, "--requests", "1"]) == 3
    target.standing_faults.clear()
    capsys.readouterr()
    assert main(["import", str(backup), "--url", target.url, "--resume"]) == 1
    assert "2,000 created, 1 failed" in (shown := capsys.readouterr().out)
    assert "invalid_document" in shown


def interrupted(backup: Path, target: LibraryService) -> None:
    """An import that ended half-way."""
    target.standing_faults.append(Fault(status=403, code="forbidden_host", ids=frozenset({"1000"})))
    assert main(["import", str(backup), "--url", target.url, "--requests", "1"]) == 3
    target.standing_faults.clear()
    target.requests.clear()


def test_without_resume_everything_is_sent_again(backup: Path, target: LibraryService, capsys: Output) -> None:
    interrupted(backup, target)
    assert main(["import", str(backup), "--url", target.url]) == 0
    assert len(target.sent_ids()) == 2000
    assert "--resume to continue from there" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["file", "index", "collection", "dropped", "complete"])
def test_what_an_earlier_run_left_holds_only_for_the_same_file_and_index(
    change: str, backup: Path, target: LibraryService
) -> None:
    interrupted(backup, target)
    more = []
    match change:
        case "file":
            os.utime(backup, ns=(1, 1))
        case "index":
            target.uuid = "index-2"
        case "collection":
            more = ["--collection", "copy"]
        case "dropped":
            target.documents.clear()
        case "complete":
            assert main(["import", str(backup), "--url", target.url, "--resume"]) == 0
            target.requests.clear()
    assert main(["import", str(backup), "--url", target.url, "--resume", *more]) == 0
    assert len(target.sent_ids()) == 2000


def test_ctrl_c_takes_what_is_in_flight_and_resume_sends_the_rest(backup: Path, target: LibraryService) -> None:
    target.delay_s = 0.4
    process = run_process("import", str(backup), "--url", target.url, "--requests", "2")
    wait_for(lambda: len(target.sent_ids()) >= 512)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert b"--resume continues after line" in out
    sent = len(target.documents)
    assert 0 < sent < 2000
    target.delay_s = 0
    target.requests.clear()
    assert main(["import", str(backup), "--url", target.url, "--resume"]) == 0
    assert len(target.documents) == 2000
    assert len(target.sent_ids()) == 2000 - sent


def test_a_kill_costs_little_and_loses_nothing(backup: Path, target: LibraryService) -> None:
    target.delay_s = 0.3
    for number in range(1, 3):
        process = run_process("import", str(backup), "--url", target.url, "--resume", "--requests", "1")
        least = 512 * number
        wait_for(lambda: len(target.documents) >= least)  # noqa: B023 (called at once)
        process.kill()
        process.communicate()
    before = len(target.documents)
    target.delay_s = 0
    target.requests.clear()
    assert main(["import", str(backup), "--url", target.url, "--resume"]) == 0
    assert len(target.documents) == 2000
    # A quarter of a second may be sent twice: here, what one request holds, and the one whose answer did not come.
    assert len(target.sent_ids()) <= 2000 - before + 512
