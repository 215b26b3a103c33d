from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from executors.cli import output_file
from executors.cli.output_file import open_output


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def write_and_read(pipe: Path, *, early: bool, warned: threading.Event) -> bytes:
    """Write to a pipe whose reader opens it at once, or only when the wait was announced."""
    read: list[bytes] = []

    def reader() -> None:
        assert early or warned.wait(30)
        read.append(pipe.read_bytes())

    thread = threading.Thread(target=reader)
    thread.start()
    with open_output(pipe) as stream:
        stream.write(b"content" * 50_000)
    thread.join()
    return read[0]


@pytest.mark.parametrize("early", [True, False])
def test_a_pipe_waits_for_its_reader_and_says_so(pipe: Path, early: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    warned = threading.Event()

    def warn(line: str) -> None:
        told.append(line)
        warned.set()

    monkeypatch.setattr(output_file, "_PATIENCE_S", 30 if early else 0.0)
    monkeypatch.setattr(output_file, "print_warning", warn)
    assert write_and_read(pipe, early=early, warned=warned) == b"content" * 50_000
    assert [str(pipe) in line and "no program reads" in line for line in told] == ([] if early else [True])


def test_a_file_is_emptied_and_a_missing_one_made(tmp_path: Path) -> None:
    for content in (b"longer", b"short"):
        with open_output(tmp_path / "file") as stream:
            stream.write(content)
    assert (tmp_path / "file").read_bytes() == b"short"


def test_a_pipe_that_may_not_be_written_is_an_error_at_once(pipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError):
        open_output(pipe)
