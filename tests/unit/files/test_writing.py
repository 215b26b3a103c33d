from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from executors.files.writing import is_stream, write_file


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.html"
    write_file(path, b"first")
    with path.open("rb") as reader:
        write_file(path, b"second")
        assert reader.read() == b"first"
    assert path.read_bytes() == b"second"
    assert [each.name for each in path.parent.iterdir()] == ["a.html"]


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path, exists: bool) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    if exists:
        target.write_bytes(b"old")
    link.symlink_to("target")
    write_file(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_file(pipe, b"content")
    reader.join(10)
    assert read == [b"content"]
    assert pipe.is_fifo()
    assert [each.name for each in tmp_path.iterdir()] == ["pipe"]


def test_a_link_to_a_pipe_is_a_stream_and_what_is_not_there_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    assert is_stream(tmp_path / "link")
    assert not is_stream(tmp_path / "nothing")
    assert not is_stream(tmp_path)
