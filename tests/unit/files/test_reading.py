from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import pytest

from executors.errors import ErrorCode, VisualSearchError
from executors.files.reading import read_at_most, read_file, read_text


def refusal(path: Path | str, limit: int = 100, **options: ErrorCode) -> VisualSearchError:
    with pytest.raises(VisualSearchError) as caught:
        read_file(path, limit, **options)
    return caught.value


def test_a_regular_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"x" * 100)
    content, found = read_file(file, 100)
    assert (content, found.st_size) == (b"x" * 100, 100)
    error = refusal(file, 99, too_large="image_too_large")
    assert (error.code, error.details) == ("image_too_large", {"bytes": 100, "limit": 99})


def test_what_is_too_large_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "huge"
    with file.open("wb") as stream:
        stream.truncate(1 << 40)
    assert refusal(file).details["bytes"] == 1 << 40


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "missing"])
def test_whatever_else_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    error = refusal(path)
    assert error.code == "unreadable_file"
    assert ("No such file" if kind == "missing" else kind) in error.message
    assert refusal("a\0b").code == "unreadable_file"


def test_a_file_that_the_system_makes_up_has_no_size_and_is_read() -> None:
    assert b"\n" in read_file("/proc/self/status", 100_000)[0]
    assert refusal("/proc/self/status", 10).code == "unreadable_file"


def test_a_file_that_grows_while_it_is_read_is_not_taken_for_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"x" * 10)
    fstat = os.fstat

    def grow_after(descriptor: int) -> os.stat_result:
        found = fstat(descriptor)
        with file.open("ab") as stream:
            stream.write(b"more")
        return found

    monkeypatch.setattr(os, "fstat", grow_after)
    assert "changed while it was read" in refusal(file).message


def test_a_stream_is_read_to_its_end_or_refused_at_the_limit() -> None:
    assert read_at_most(io.BytesIO(b"x" * 100), 100) == b"x" * 100
    with pytest.raises(VisualSearchError):
        read_at_most(io.BytesIO(b"x" * 101), 100)
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb", buffering=0) as source:
        feeding = threading.Thread(target=lambda: source.write(b"y" * 150))
        feeding.start()
        with pytest.raises(VisualSearchError):
            read_at_most(stream, 100)
        feeding.join()


def test_text_is_utf8_with_or_without_a_mark(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"\xef\xbb\xbfs\xc3\xa4cret\n")
    assert read_text(file) == "säcret\n"
    file.write_bytes(b"\xff")
    with pytest.raises(VisualSearchError, match="UTF-8"):
        read_text(file)
