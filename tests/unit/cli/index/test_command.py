"""`visual-search index`: its summary, reports, refusals and exit status."""

from __future__ import annotations

import csv
import json
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from executors.cli import main
from tests.support.flows.wire_service import Fault, WireService

MakeFiles = Callable[..., Path]
NAMES = [f"{n:03}.jpg" for n in range(60)]


def test_a_folder_is_indexed_and_summed_up(
    service: WireService, make_files: MakeFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_files("a.jpg", "sub/b.png")
    assert main(["index", str(folder), "--url", service.url, "--tags", '{"k": "v"}', "--collection", "c"]) == 0
    assert re.fullmatch(r"2 files in [\d.]+ s \([\d,.]+/s\): 2 created\n", capsys.readouterr().out)
    assert {key: doc["tags"] for key, doc in service.documents.items()} == {
        ("c", "a.jpg"): {"k": "v"},
        ("c", "sub/b.png"): {"k": "v"},
    }


def test_the_same_command_again_sends_nothing(
    service: WireService, make_files: MakeFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_files(*NAMES)
    assert main(["index", str(folder), "--url", service.url]) == 0
    assert main(["index", f"{folder}/.", "--url", service.url]) == 0
    assert "60 skipped (acknowledged before)" in capsys.readouterr().out
    assert len(service.sent_ids()) == 60
    assert main(["index", str(folder), "--url", service.url, "--no-resume"]) == 0
    assert "60 unchanged" in capsys.readouterr().out


def test_one_json_line_per_file_and_nothing_else_on_stdout(
    service: WireService, make_files: MakeFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_files("ä.jpg", **{"b.jpg": b"bad"})
    (folder / "gone.jpg").symlink_to(folder / "nothing")
    assert main(["index", str(folder), "--url", service.url, "--json"]) == 1
    lines = {line["id"]: line for line in map(json.loads, capsys.readouterr().out.splitlines())}
    assert lines["ä.jpg"] == {"path": str(folder / "ä.jpg"), "id": "ä.jpg", "result": "created", "error": None}
    assert (lines["b.jpg"]["result"], lines["b.jpg"]["error"]["code"]) == ("failed", "undecodable_image")
    assert lines["gone.jpg"]["error"]["code"] == "unreadable_file"
    assert len(lines) == 3


def test_failed_files_are_shown_with_their_codes_and_reported(
    service: WireService, make_files: MakeFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_files("a.jpg", **{"sub/bad, really.jpg": b"bad"})
    for name in ("failed.csv", "failed.json"):
        report = tmp_path / name
        assert main(["index", str(folder), "--url", service.url, "--report", str(report)]) == 1
        text = report.read_text()
        rows = list(csv.DictReader(text.splitlines())) if name.endswith("csv") else json.loads(text)
        path = str(folder / "sub" / "bad, really.jpg")
        expected = {"path": path, "id": "sub/bad, really.jpg", "code": "undecodable_image"}
        assert [{key: row[key] for key in expected} for row in rows] == [expected]
    shown = capsys.readouterr().out
    assert "sub/bad, really.jpg" in shown
    assert "undecodable_image" in shown
    assert "1 failed" in shown


def test_a_double_of_a_damaged_file_is_reported_as_failed_too(
    service: WireService, make_files: MakeFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, report = make_files("c.jpg", **{"a.jpg": b"bad", "b.jpg": b"bad"}), tmp_path / "failed.json"
    arguments = ["index", str(folder), "--url", service.url, "--id", "sha256", "--report", str(report)]
    assert main(arguments) == 1
    failed = [(Path(row["path"]).name, row["code"]) for row in json.loads(report.read_text())]
    assert failed == [("a.jpg", "undecodable_image"), ("b.jpg", "undecodable_image")]
    assert "1 created, 2 failed" in capsys.readouterr().out


def test_a_report_of_no_failures_is_empty_not_missing(
    service: WireService, make_files: MakeFiles, tmp_path: Path
) -> None:
    report = tmp_path / "failed.json"
    assert main(["index", str(make_files("a.jpg")), "--url", service.url, "--report", str(report)]) == 0
    assert json.loads(report.read_text()) == []


def test_a_report_of_an_unknown_kind_is_refused_before_anything_is_sent(
    service: WireService, make_files: MakeFiles
) -> None:
    assert main(["index", str(make_files("a.jpg")), "--url", service.url, "--report", "failed.txt"]) == 2
    assert service.requests == []


def test_names_that_clash_are_refused_before_anything_is_sent(
    service: WireService, make_files: MakeFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [make_files("a.jpg", folder="one"), make_files("a.jpg", "b.jpg", folder="two")]
    arguments = ["index", *map(str, folders), "--url", service.url]
    assert main(arguments) == 2
    assert str(folders[0] / "a.jpg") in capsys.readouterr().err
    assert service.requests == []
    assert main([*arguments, "--id", "sha256"]) == 0


def test_without_a_service_the_exit_status_is_3_and_the_error_says_what_to_do(
    make_files: MakeFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"127.0.0.1:{probe.getsockname()[1]}"
    assert main(["index", str(make_files("a.jpg")), "--url", url]) == 3
    assert "visual-search serve" in capsys.readouterr().err


def test_a_service_that_fails_on_the_way_ends_with_3_and_says_how_to_go_on(
    service: WireService, make_files: MakeFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    service.faults.append(Fault())
    service.standing_faults.append(Fault(status=403, code="forbidden_origin", ids=frozenset(NAMES[30:])))
    assert main(["index", str(make_files(*NAMES)), "--url", service.url, "--requests", "1"]) == 3
    captured = capsys.readouterr()
    assert "44 files not acknowledged; run the same command again to continue" in captured.out
    assert "forbidden_origin" in captured.err


def test_an_empty_folder_is_fine(
    service: WireService, make_files: MakeFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", str(make_files("notes.txt")), "--url", service.url]) == 0
    assert "0 files" in capsys.readouterr().out


def test_pictures_of_an_unknown_kind_are_counted_and_make_the_exit_status_1(
    service: WireService, make_files: MakeFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = b"\0\0\0\x14ftypqt  \0\0\0\0qt  "
    contents = {"a.mov": video, "b": video, "c.psd": b"8BPS\0\1", ".hidden/d.jpg": b"x", "notes.txt": b"notes"}
    folder, report = make_files(**contents), tmp_path / "left_out.json"
    command = ["index", str(folder), "--url", service.url]
    assert main([*command, "--report", str(report)]) == 1
    shown = capsys.readouterr().out
    assert "0 files" in shown
    assert "left out, because their kind is not supported: 2 video (MP4, MOV, …), 1 PSD" in shown
    assert "left out: 1 hidden, 1 .txt" in shown
    assert {(Path(row["path"]).name, row["code"]) for row in json.loads(report.read_text())} == {
        (name, "unsupported_format") for name in ("a.mov", "b", "c.psd")
    }
    assert main([*command, "--json"]) == 1
    *lines, totals = map(json.loads, capsys.readouterr().out.splitlines())
    kinds = {Path(line["path"]).name: line["kind"] for line in lines}
    assert kinds == {
        ".hidden": "hidden",
        "a.mov": "video (MP4, MOV, …)",
        "b": "video (MP4, MOV, …)",
        "c.psd": "PSD",
        "notes.txt": ".txt",
    }
    assert totals["left_out"] == {"video (MP4, MOV, …)": 2, "PSD": 1, ".txt": 1, "hidden": 1}
    assert totals["not_read"] == 3
    # What is excluded is meant to be left out.
    assert main([*command, "--exclude", "*.mov", "--exclude", "c.*", "--exclude", "b"]) == 0
    assert "3 excluded" in capsys.readouterr().out
    assert service.requests == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-"], "--name ID"),
        (["nowhere/at-all"], "there is no file or folder 'nowhere/at-all'"),
        ([".", "--name", "x"], "--name is the id of the picture on standard input"),
        (["-", "--id", "sha256", "--id-prefix", "x/"], "--id-prefix can't be combined with --id sha256"),
    ],
)
def test_what_can_t_be_meant_is_said_before_anything_is_sent(
    service: WireService, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["index", *arguments, "--url", service.url]) == 2
    assert message in capsys.readouterr().err
    assert service.requests == []


def test_the_escape_codes_of_a_file_name_do_not_reach_the_terminal(
    service: WireService, make_files: MakeFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_files(**{"\x1b]0;title\x07 [red].jpg": b"bad"})
    assert main(["index", str(folder), "--url", service.url]) == 1
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err
    assert "\\x1b]0;title\\x07 [red].jpg" in captured.out


def test_without_a_writable_data_folder_it_works_and_warns(
    service: WireService, make_files: MakeFiles, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_files("a.jpg")
    monkeypatch.setenv("XDG_DATA_HOME", str(folder / "a.jpg"))
    assert main(["index", str(folder), "--url", service.url]) == 0
    assert "the journal can't be opened" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["[z-a]", "drafts/[z-a]/"])
def test_a_pattern_that_is_none_is_named(
    service: WireService, make_files: MakeFiles, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    assert main(["index", str(make_files("a.jpg")), "--exclude", option, "--url", service.url]) == 2
    assert f"--exclude: '{option}' is not a pattern: bad character range z-a" in capsys.readouterr().err
