"""The graph's file: it returns exactly what was saved, or nothing."""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from executors.index.embedded.graph import graph_file
from executors.index.embedded.graph.graph_file import GraphFileInvalid, read_stamp, save
from executors.index.embedded.graph.hnsw import ADDED_AT_ONCE, Precision
from tests.support.stores.graph_files import DIMENSION, NAME, graph_of, read, rows_of, same_answers, stamp_of, write
from tests.support.stores.graphs import some


@pytest.mark.parametrize("precision", ["half", "single"])
@pytest.mark.parametrize("count", [0, 1, 700])
def test_what_was_saved_comes_back(tmp_path: Path, precision: Precision, count: int) -> None:
    graph = graph_of(count, precision)
    length = write(tmp_path, graph)
    assert length == (tmp_path / NAME).stat().st_size
    loaded = read(tmp_path, precision=precision)
    assert loaded.stamp == stamp_of(graph) == read_stamp(tmp_path, NAME)
    assert np.array_equal(loaded.rows, rows_of(graph))
    assert loaded.graph.count == count
    assert loaded.graph.complete
    assert same_answers(graph, loaded.graph)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize("precision", ["half", "single"])
def test_a_loaded_graph_takes_more_without_moving_and_finds_it(tmp_path: Path, precision: Precision) -> None:
    graph = graph_of(600, precision)
    write(tmp_path, graph)
    loaded = read(tmp_path, precision=precision, capacity=900).graph
    assert loaded.capacity == 900
    where = loaded.addresses()
    more = some(300, DIMENSION, seed=2)
    for start in range(0, 300, ADDED_AT_ONCE):
        loaded.add(loaded.rounded(more[start : start + ADDED_AT_ONCE]))
    assert loaded.addresses() == where
    for slot in range(600, 900, 25):
        assert loaded.search(more[slot - 600], 1, 64, None)[0][0] == slot
    # It is a graph like any other: it can be saved again.
    save(loaded, rows_of(loaded), stamp_of(loaded), tmp_path, NAME)
    assert same_answers(loaded, read(tmp_path, precision=precision).graph)


def test_room_is_never_less_than_what_is_there(tmp_path: Path) -> None:
    write(tmp_path, graph_of(50))
    assert read(tmp_path, capacity=10).graph.capacity == 50


def test_any_flipped_bit_is_found(tmp_path: Path) -> None:
    write(tmp_path, graph_of(6))
    path = tmp_path / NAME
    good = path.read_bytes()
    assert read(tmp_path).graph.count == 6
    for place in range(len(good)):
        damaged = bytearray(good)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        with pytest.raises(GraphFileInvalid) as error:
            read(tmp_path)
        assert error.value.reason
    path.write_bytes(good)
    assert read(tmp_path).graph.count == 6


def test_a_torn_file_is_found_wherever_it_ends(tmp_path: Path) -> None:
    length = write(tmp_path, graph_of(40))
    path = tmp_path / NAME
    good = path.read_bytes()
    for end in [*range(0, length, 97), *range(length - 60, length)]:
        path.write_bytes(good[:end])
        with pytest.raises(GraphFileInvalid):
            read(tmp_path)
        with pytest.raises(GraphFileInvalid):
            read_stamp(tmp_path, NAME)
    for longer in (good + b"\0", good + good, b"\0" + good, good[: length // 2] + good):
        path.write_bytes(longer)
        with pytest.raises(GraphFileInvalid):
            read(tmp_path)


def test_pages_that_never_reached_the_disk_are_found(tmp_path: Path) -> None:
    length = write(tmp_path, graph_of(500))
    path = tmp_path / NAME
    good = path.read_bytes()
    for start in range(0, length, 4096):
        page = good[start : start + 4096]
        if page.strip(b"\0"):
            path.write_bytes(good[:start] + bytes(len(page)) + good[start + len(page) :])
            with pytest.raises(GraphFileInvalid):
                read(tmp_path)


def test_pieces_in_another_order_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_file, "_PIECE", 1024)
    write(tmp_path, graph_of(300))
    path = tmp_path / NAME
    good = path.read_bytes()
    assert read(tmp_path).graph.count == 300
    codes = 300 * 8 // 1024 * 1024 + 2048
    path.write_bytes(
        good[:codes] + good[codes + 1024 : codes + 2048] + good[codes : codes + 1024] + good[codes + 2048 :]
    )
    with pytest.raises(GraphFileInvalid, match="damaged"):
        read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\0" * 5000, os.urandom(5000), b"IHNs" + b"\xff" * 3000])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(GraphFileInvalid):
        read(tmp_path)


def test_a_missing_file_and_a_folder_in_its_place_are_told(tmp_path: Path) -> None:
    with pytest.raises(GraphFileInvalid, match="no file"):
        read(tmp_path)
    (tmp_path / NAME).mkdir()
    with pytest.raises(GraphFileInvalid):
        read(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("store_id", "other"),
        ("collection", 8),
        ("dimension", 13),
        ("precision", "single"),
        ("m", 8),
        ("ef_construction", 64),
    ],
)
def test_a_graph_of_something_else_is_refused_with_the_reason(tmp_path: Path, field: str, value: Any) -> None:
    write(tmp_path, graph_of(20))
    with pytest.raises(GraphFileInvalid, match=field):
        read(tmp_path, **{field: value})


def test_a_file_of_another_faiss_or_another_format_is_refused(tmp_path: Path) -> None:
    graph = graph_of(20)
    save(graph, rows_of(graph), replace(stamp_of(graph), faiss_version="0.1"), tmp_path, NAME)
    with pytest.raises(GraphFileInvalid, match="faiss_version"):
        read(tmp_path)
    save(graph, rows_of(graph), replace(stamp_of(graph), file_format=99), tmp_path, NAME)
    with pytest.raises(GraphFileInvalid, match="format 99"):
        read(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"entry_point": 5000},
        {"max_level": 3},
        {"sizes": {}},
        {"sizes": None},
        {"sizes": {"rows": -8}},
        {"checksums": []},
        {"checksums": None},
        {"stamp": 4},
        {"stamp": {"file_format": 1}},
        {"entry_point": None},
        {"count": 10**15},
        {"count": -1},
        {"count": "x"},
        {"epoch": 1},
        {"sequence": 1.5},
        {"more": 1},
    ],
)
def test_a_description_that_was_forged_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    """Its checksum is right, but it does not describe the arrays: nothing may crash."""
    write(tmp_path, graph_of(20))
    path = tmp_path / NAME
    good = path.read_bytes()
    length, _, _, magic = struct.unpack("<IIQ8s", good[-24:])
    start = len(good) - 24 - length
    description = orjson.loads(good[start:-24])
    if change.keys() <= {"count", "epoch", "sequence"}:
        description["stamp"] |= change
    else:
        description |= change
    text = orjson.dumps(description)
    path.write_bytes(
        good[:start] + text + struct.pack("<IIQ8s", len(text), zlib.crc32(text), start + len(text) + 24, magic)
    )
    with pytest.raises(GraphFileInvalid):
        read(tmp_path)


def test_what_is_not_the_graphs_own_is_not_saved(tmp_path: Path) -> None:
    graph = graph_of(20)
    for stamp in (replace(stamp_of(graph), count=19), replace(stamp_of(graph), precision="single")):
        with pytest.raises(ValueError, match="stamp"):
            save(graph, rows_of(graph), stamp, tmp_path, NAME)
    wrong: list[Any] = [rows_of(graph)[:-1], rows_of(graph).astype(np.int32)]
    for rows in wrong:
        with pytest.raises(ValueError, match="row"):
            save(graph, rows, stamp_of(graph), tmp_path, NAME)
    assert not list(tmp_path.iterdir())
