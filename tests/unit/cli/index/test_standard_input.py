"""A picture on standard input, alone or with files."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from executors.cli import main
from executors.cli.terminal.confirmation import confirmed
from executors.errors import VisualSearchError
from tests.support.flows.wire_service import WireService

MakeFiles = Callable[..., Path]


def test_files_folders_and_the_input_in_one_command(
    service: WireService, make_files: MakeFiles, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, single = (
        make_files("a.jpg", "sub/b.jpg"),
        make_files("c.jpg", "not-asked-for.jpg", folder="other") / "c.jpg",
    )
    for content, result in ((b"piped", "1 created, 3 skipped"), (b"again", "1 replaced, 3 skipped")):
        main(["index", str(folder), str(single), "--url", service.url])
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        capsys.readouterr()
        assert (
            main(["index", "-", str(folder), str(single), "--name", "d.jpg", "--url", service.url, "--no-shrink"]) == 0
        )
        assert result in capsys.readouterr().out
        assert service.documents["images", "d.jpg"]["blob"] == content
    assert sorted(service.documents) == [("images", name) for name in ("a.jpg", "c.jpg", "d.jpg", "sub/b.jpg")]


@pytest.mark.parametrize("arguments", [["-", "--name", "x"]])
def test_an_input_without_an_end_is_refused(
    service: WireService, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setattr("executors.cli.index.command.MAX_FILE_BYTES", 1_000_000)
    with Path("/dev/zero").open() as endless:
        monkeypatch.setattr("sys.stdin", endless)
        assert main(["index", *arguments, "--url", service.url]) == 1
    assert "image_too_large" in capsys.readouterr().err


def test_the_input_may_not_have_the_id_of_a_file_beside_it(
    service: WireService, make_files: MakeFiles, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_files("a.jpg")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"piped")))
    assert main(["index", str(folder), "-", "--name", "a.jpg", "--url", service.url]) == 2
    assert f"--name a.jpg: '{folder}/a.jpg' would get the same id" in capsys.readouterr().err
    assert service.requests == []


@pytest.mark.parametrize(
    "arguments", [["index", "-", "--name", "x"], ["search", "-", "--json"], ["import", "-"]], ids=lambda typed: typed[0]
)
def test_a_standard_input_that_the_shell_closed_is_an_error(service: WireService, arguments: list[str]) -> None:
    typed = [sys.executable, "-m", "executors.cli", *arguments, "--url", service.url]
    shell = ["sh", "-c", 'exec "$@" <&-', "sh", *typed]
    ended = subprocess.run(
        shell, cwd=Path(__file__).parents[4], capture_output=True, text=True, timeout=60, check=False
    )
    assert "there is no standard input" in ended.stdout + ended.stderr
    assert "unreadable_file" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.returncode == 1


def test_without_a_standard_input_a_question_needs_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(VisualSearchError, match="Use --yes to confirm"):
        confirmed("Remove it?")
