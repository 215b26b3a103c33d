from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executors.cli.transfer import import_reader
from executors.cli.transfer.format import CollectionLine, Header, end_line, header_line
from executors.cli.transfer.import_reader import Chunk, Place, read_chunks, read_lines
from executors.errors import VisualSearchError


@contextmanager
def opened(path: Path, content: bytes) -> Iterator[int]:
    path.write_bytes(content)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def chunks_of(path: Path, content: bytes, place: Place | None = None) -> list[Chunk]:
    with opened(path, content) as descriptor:
        return list(read_chunks(descriptor, place or Place()))


def doc(document_id: str, **fields: Any) -> bytes:
    return json.dumps({"id": document_id, "embedding": [1.0], **fields}).encode() + b"\n"


def ids(chunks: list[Chunk]) -> list[list[str | None]]:
    return [[each.document.id for each in chunk.documents] for chunk in chunks]


def numbers(chunks: list[Chunk]) -> list[int]:
    """The lines of all documents and faults."""
    lines = [each.line for chunk in chunks for each in chunk.documents]
    return sorted(lines + [each.line for chunk in chunks for each in chunk.faults])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=120).map(lambda each: each.replace(b"\n", b"-"))), st.integers(1, 64))
def test_lines_do_not_depend_on_the_blocks_read_and_long_ones_are_left_out(
    tmp_path: Path, lines: list[bytes], block: int
) -> None:
    content = b"\n".join(lines)
    expected = content.split(b"\n")[: -1 if content.endswith(b"\n") or not content else None]
    with pytest.MonkeyPatch.context() as patch, opened(tmp_path / "x", content) as descriptor:
        patch.setattr(import_reader, "_BLOCK_BYTES", block)
        patch.setattr(import_reader, "MAX_LINE_BYTES", 50)
        found = list(read_lines(descriptor, Place()))
    assert len(found) == len(expected)
    offset = 0
    for (after, line), wanted in zip(found, expected, strict=True):
        offset = min(offset + len(wanted) + 1, len(content))
        assert after == offset
        assert line == wanted or (line is None and len(wanted) > 50)
        if len(wanted) > 50 + block:
            assert line is None


def test_reading_goes_on_from_every_place_as_if_it_had_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_reader, "CHUNK_DOCUMENTS", 2)
    header = header_line(Header([CollectionLine("images", "m", 1)]))
    content = b"\xef\xbb\xbf" + header + b"".join(doc(str(n)) for n in range(5)) + b"\nbad\n" + doc("x") + end_line(6)
    chunks = chunks_of(tmp_path / "x", content)
    assert [each for chunk in ids(chunks) for each in chunk] == ["0", "1", "2", "3", "4", "x"]
    assert chunks[0].header is not None
    assert chunks[-1].end == Place(len(content), 10, open=False)
    for n, chunk in enumerate(chunks):
        rest = chunks_of(tmp_path / "x", content, chunk.end)
        assert numbers(rest) == numbers(chunks[n + 1 :])
        assert rest[-1].end == chunks[-1].end


def test_a_file_without_its_end_is_known_as_such(tmp_path: Path) -> None:
    content = header_line(Header([])) + doc("a")
    assert chunks_of(tmp_path / "x", content)[-1].end.open
    assert not chunks_of(tmp_path / "x", content + end_line(1))[-1].end.open
    assert not chunks_of(tmp_path / "x", doc("a"))[-1].end.open
    assert chunks_of(tmp_path / "x", content + end_line(1) + content)[-1].end.open


def test_documents_that_were_cut_out_are_missed(tmp_path: Path) -> None:
    """The rest of the file and the place where the reader began don't matter."""
    header, whole = header_line(Header([])), b"".join(doc(str(n)) for n in range(5))
    for content, lacking in [
        (header + whole + end_line(5), 0),
        (header + doc("a") + doc("b") + end_line(5), 3),
        (doc("a") + end_line(7), 6),
        (header + doc("a") + b"{\n" + end_line(2), 0),
        ((header + doc("a") + end_line(2)) * 2 + header + whole + end_line(5), 2),
        (header + end_line(0), 0),
    ]:
        chunks = chunks_of(tmp_path / "x", content)
        assert chunks[-1].end.lacking == lacking
        for chunk in chunks:
            assert chunks_of(tmp_path / "x", content, chunk.end)[-1].end.lacking == lacking


def test_bad_lines_are_named_by_their_number_and_cost_no_other(tmp_path: Path) -> None:
    (chunk,) = chunks_of(tmp_path / "x", doc("a") + b"{\n\n" + doc("b") + b'{"id": "c"}')
    assert [(each.line, each.error.code) for each in chunk.faults] == [(2, "invalid_document"), (5, "no_content")]
    assert [(each.line, each.document.id) for each in chunk.documents] == [(1, "a"), (4, "b")]


def test_no_id_stands_twice_in_one_request(tmp_path: Path) -> None:
    content = doc("a") + doc("b") + doc("a") + doc("b", collection="other") + doc("b") + doc("b")
    assert ids(chunks_of(tmp_path / "x", content)) == [["a", "b"], ["a", "b", "b"], ["b"]]


def test_a_request_is_bounded_in_bytes_and_in_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_reader, "CHUNK_BYTES", 1000)
    content = b"".join(doc(str(n), text="x" * 400) for n in range(5)) + doc("large", text="x" * 2000) + doc("z")
    assert [len(each) for each in ids(chunks_of(tmp_path / "x", content))] == [2, 2, 1, 1, 1]
    many = b"".join(doc(str(n)) for n in range(600))
    monkeypatch.undo()
    assert [len(each) for each in ids(chunks_of(tmp_path / "x", many))] == [256, 256, 88]


def test_a_file_of_another_kind_is_refused_line_by_line_in_bounded_chunks(tmp_path: Path) -> None:
    chunks = chunks_of(tmp_path / "x", b"no JSON\n" * 1000)
    assert max(len(each.faults) for each in chunks) <= 256
    assert sum(len(each.faults) for each in chunks) == 1000


def test_a_header_of_another_version_ends_it(tmp_path: Path) -> None:
    with pytest.raises(VisualSearchError, match="visual-search-export/9"):
        chunks_of(tmp_path / "x", b'{"format": "visual-search-export/9", "collections": []}\n')


def test_an_empty_file_is_no_document(tmp_path: Path) -> None:
    assert ids(chunks_of(tmp_path / "x", b"")) == [[]]


def test_a_line_without_end_ends_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_reader, "_BLOCK_BYTES", 64)
    monkeypatch.setattr(import_reader, "MAX_LINE_BYTES", 200)
    monkeypatch.setattr(import_reader, "_MAX_SKIPPED_BYTES", 1000)
    assert ids(chunks_of(tmp_path / "x", doc("a") + b"-" * 900 + b"\n" + doc("b"))) == [["a", "b"]]
    refusal = pytest.raises(VisualSearchError, match="the input is not an export")
    with Path("/dev/zero").open("rb", buffering=0) as endless, refusal as refused:
        list(read_lines(endless.fileno(), Place()))
    assert refused.value.code == "malformed_body"
