"""A graph rebuilt beside the old one: nothing is lost, nothing comes back, and searches see whole moments throughout."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from executors.index.embedded.disk.database import ReadConnections
from executors.index.embedded.memory.collection_memory import GraphOptions
from executors.index.embedded.upkeep.rebuild import Rebuild
from executors.index.embedded.write import removal
from tests.support.models.parts import Shard, move, rows_found, rows_on_disk, small_graph, vectors_like, view_in
from tests.support.stores.records import IMAGES, record, version

KINDS = {
    "half, disk": GraphOptions(graph_from=4),
    "half, memory": GraphOptions(graph_from=4, rerank="memory"),
    "single, memory": GraphOptions(graph_from=4, precision="single", rerank="memory"),
}


@pytest.fixture(params=KINDS.values(), ids=list(KINDS))
def shard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shard]:
    shard = Shard(tmp_path, request.param)
    yield shard
    shard.close()


def put(shard: Shard, numbers: range, number: int = 1) -> None:
    """Documents, of which about every other one has one of two vectors that are shared."""
    seeds = [n if n % 2 else n % 8 // 4 for n in numbers]
    shard.put(*[
        record(f"{n:04d}", number, embedding=vector) for n, vector in zip(numbers, vectors_like(seeds), strict=True)
    ])  # fmt: skip


def started(shard: Shard) -> Rebuild:
    return Rebuild(shard.memory, shard.known.number, shard.held, shard.reading)


def finish(rebuild: Rebuild) -> None:
    while not rebuild.finished:
        rebuild.step()


def test_removed_rows_leave_and_all_others_stay(shard: Shard) -> None:
    put(shard, range(700))
    old = shard.cover()
    shard.delete(2, *[f"{n:04d}" for n in range(0, 700, 3)])
    assert old.dead == 234
    rebuild = shard.rebuild()
    new = shard.held.graph
    assert new is not None
    assert new is not old
    assert (new.dead, new.count, rebuild.done) == (0, 466, 466)
    assert new.extent.slots < 300, "copies don't take slots"
    assert rows_found(shard.view()) == shard.rows()


def test_what_happens_meanwhile_is_not_forgotten(shard: Shard) -> None:
    put(shard, range(1200))
    shard.cover()
    rebuild = started(shard)
    rebuild.step()
    shard.delete(2, "0003", "0004", "0500", "1100")
    put(shard, range(6, 12), 3)
    put(shard, range(1200, 1300))
    shard.cover()
    rebuild.step()
    shard.delete(4, "0001", "0600", "1150", "1250", "0008")
    finish(rebuild)
    assert rows_found(shard.view()) == shard.rows()
    shard.delete(5, "0002")
    assert rows_found(shard.view()) == shard.rows()
    assert shard.held.removed_meanwhile is None


def test_a_search_that_began_before_the_swap_keeps_its_moment(shard: Shard) -> None:
    put(shard, range(300))
    shard.cover()
    put(shard, range(300, 320))
    before = shard.rows()
    view = shard.view()
    shard.delete(2, *[f"{n:04d}" for n in range(0, 320, 2)])
    shard.cover()
    shard.rebuild()
    shard.cover()
    assert rows_found(view) == before
    assert rows_found(shard.view()) == shard.rows()


def test_the_old_graph_answers_until_the_new_one_is_whole(shard: Shard) -> None:
    put(shard, range(1100))
    old = shard.cover()
    rebuild = started(shard)
    steps = 0
    while not rebuild.finished:
        assert shard.held.graph is old
        assert rows_found(shard.view()) == shard.rows()
        rebuild.step()
        steps += 1
    assert steps >= 3, "each step is short"
    assert shard.held.graph is not old


def test_rows_whose_vector_is_damaged_are_named_and_the_others_are_there(shard: Shard) -> None:
    put(shard, range(40))
    shard.cover()
    row = shard.row_of("0007")
    shard.connection.execute("UPDATE vectors SET embedding = zeroblob(32) WHERE row = ?", (row,))
    shard.rebuild()
    assert shard.memory.damaged[shard.known.number] == {row: "0007"}
    assert rows_found(shard.view()) == [each for each in shard.rows() if each != row]


def test_a_collection_that_is_dropped_meanwhile_ends_it(shard: Shard) -> None:
    put(shard, range(600))
    shard.cover()
    number, held = shard.known.number, shard.held
    rebuild = started(shard)
    rebuild.step()
    shard.run(lambda transaction: removal.drop_collection(transaction, IMAGES.name, version(9), 600))
    rebuild.step()
    assert rebuild.finished
    assert held.removed_meanwhile is None
    again = Rebuild(shard.memory, number, held, shard.reading)
    again.step()
    assert again.finished


def test_what_is_abandoned_leaves_everything_as_it_was(shard: Shard) -> None:
    put(shard, range(600))
    old = shard.cover()
    rebuild = started(shard)
    rebuild.step()
    rebuild.abandon()
    assert (shard.held.graph, shard.held.removed_meanwhile) == (old, None)
    shard.delete(2, "0001")
    assert rows_found(shard.view()) == shard.rows()


@pytest.mark.usefixtures("hasty_threads")
def test_searches_see_what_is_on_disk_through_writes_moves_and_rebuilds(shard: Shard) -> None:
    """Each search compares what memory shows with what its own reading transaction sees."""
    number, rng, done = shard.known.number, np.random.default_rng(3), threading.Event()
    wrong: list[object] = []
    looks: list[int] = []
    rebuilt: list[int] = []
    put(shard, range(60))
    shard.held.graph = small_graph(16, shard.held.options.precision, sequence=shard.memory.applied)

    def keep() -> None:
        reading = ReadConnections(shard.folder)
        try:
            while not done.is_set():
                rebuild = Rebuild(shard.memory, number, shard.held, reading)
                while not rebuild.finished:
                    for _ in range(3):
                        move(shard.held)
                    shard.held.drop_covered()
                    rebuild.step()
                rebuilt.append(rebuild.done)
        except Exception as error:
            wrong.append(error)
        finally:
            reading.close()

    def compare(connection: sqlite3.Connection) -> None:
        view = view_in(connection, shard)
        if view is not None:
            found, there = rows_found(view), rows_on_disk(connection, number)
            looks.append(len(there))
            if found != there:
                wrong.append((set(found) - set(there), set(there) - set(found), len(found) - len(set(found))))

    def look() -> None:
        reading = ReadConnections(shard.folder)
        try:
            while not done.is_set():
                reading.run(compare)
        except Exception as error:
            wrong.append(error)
        finally:
            reading.close()

    threads = [threading.Thread(target=each) for each in (keep, look, look)]
    for each in threads:
        each.start()
    try:
        for turn in range(2, 120):
            start = int(rng.integers(0, 250))
            if rng.random() < 0.5:
                put(shard, range(start, start + int(rng.integers(1, 40))), turn)
            else:
                shard.delete(turn, *[f"{n:04d}" for n in range(start, start + int(rng.integers(1, 60)))])
            if wrong:
                break
    finally:
        done.set()
        for each in threads:
            each.join()
    assert wrong == []
    assert len(looks) > 20
    assert len(rebuilt) > 5
    shard.cover()
    assert rows_found(shard.view()) == shard.rows()
