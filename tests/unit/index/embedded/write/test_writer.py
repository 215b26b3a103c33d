"""The writing thread: shared transactions, failures that affect only their own call, nothing half applied."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.index.embedded.disk.checkpoints import Checkpointer
from executors.index.embedded.disk.database import ReadConnections, connect_writer
from executors.index.embedded.disk.placement import Placement
from executors.index.embedded.disk.reads import sequence_of
from executors.index.embedded.disk.reserve import Reserve
from executors.index.embedded.disk.schema import prepare
from executors.index.embedded.disk.transaction import Transaction
from executors.index.embedded.memory.loading import load_memory
from executors.index.embedded.memory.shard_memory import Memory
from executors.index.embedded.write import apply, removal
from executors.index.embedded.write.writer import Writer
from executors.index.encoding import encode_record
from executors.index.records import Record, WriteOutcome
from tests.support.stores.records import IDENTITY, IMAGES, key, record, results

HOUR_MS = 3_600_000


class Shard:
    """A writer with its collaborators, and a wall clock that the test can set."""

    def __init__(self, folder: Path) -> None:
        self.connection = connect_writer(folder)
        prepare(self.connection)
        self.memory: Memory = load_memory(self.connection, folder)
        self.now_ms = 1_800_000_000_000
        self.writer = Writer(
            self.connection,
            self.memory,
            Placement(folder),
            Reserve(folder),
            lambda: self.now_ms,
            HOUR_MS,
            Checkpointer(self.connection),
        )
        self.reading = ReadConnections(folder)
        self.writer.submit(partial(apply.adopt, identity=IDENTITY)).result()
        self.writer.submit(partial(apply.ensure_collection, collection=IMAGES)).result()

    def put(self, *records: Record) -> Future[list[WriteOutcome]]:
        return self.writer.submit(partial(apply.put, records=[encode_record(each) for each in records]), len(records))

    def held_up(self) -> Callable[[], None]:
        """Keep the writer busy until the returned function is called."""
        go, busy = threading.Event(), threading.Event()

        def wait(_: Transaction) -> None:
            busy.set()
            assert go.wait(20)

        self.writer.submit(wait)
        assert busy.wait(20)
        return go.set

    @property
    def sequence(self) -> int:
        return self.reading.run(sequence_of)

    def on_disk(self) -> list[str]:
        return self.reading.run(lambda each: [row[0] for row in each.execute("SELECT id FROM documents ORDER BY id")])

    def in_memory(self) -> list[str]:
        (held,) = self.memory.held.values()
        views = held.flat.view(self.memory.applied)
        assert views is not None
        return sorted(
            view.block.ids[slot]
            for view in views
            for slot in range(view.count)
            if view.gone is None or not view.gone[slot]
        )


@pytest.fixture
def shard(tmp_path: Path) -> Iterator[Shard]:
    shard = Shard(tmp_path)
    yield shard
    shard.writer.close()
    shard.reading.close()
    shard.connection.close()


def test_calls_that_wait_together_share_one_transaction(shard: Shard) -> None:
    before = shard.sequence
    go = shard.held_up()
    futures = [shard.put(record(f"{n:03d}", seed=n)) for n in range(100)]
    go()
    assert [results(future.result(20)) for future in futures] == [["created"]] * 100
    assert shard.sequence == before + 1
    assert len(shard.on_disk()) == len(shard.in_memory()) == 100


def test_a_shared_transaction_is_not_without_bounds(shard: Shard) -> None:
    before = shard.sequence
    go = shard.held_up()
    futures = [shard.put(*[record(f"{lane}-{n}") for n in range(300)]) for lane in range(8)]
    go()
    for future in futures:
        future.result(20)
    assert shard.sequence == before + 2


def test_a_failing_call_fails_alone(shard: Shard) -> None:
    def defect(_: Transaction) -> None:
        raise RuntimeError("a defect")

    def after_writing(transaction: Transaction) -> None:
        apply.put(transaction, [encode_record(record("half"))])
        raise VisualSearchError("internal", "after it wrote")

    go = shard.held_up()
    first = shard.put(record("a"))
    bad = shard.writer.submit(defect)
    second = shard.put(record("b"))
    worse = shard.writer.submit(after_writing)
    third = shard.put(record("a"), record("c"))
    go()
    assert [results(each.result(20)) for each in (first, second, third)] == [["created"], ["created"], ["created"] * 2]
    assert isinstance(bad.exception(20), RuntimeError)
    assert isinstance(worse.exception(20), VisualSearchError)
    assert shard.on_disk() == shard.in_memory() == ["a", "b", "c"]


def test_a_full_file_fails_the_call_that_does_not_fit_and_no_other(shard: Shard) -> None:
    shard.put(record("before")).result(20)
    pages = shard.connection.execute("PRAGMA page_count").fetchone()[0]
    go = shard.held_up()
    limit = pages + 60
    shard.connection.execute(f"PRAGMA max_page_count = {limit}")
    small = shard.put(record("small"))
    large = shard.put(*[record(f"large {n}", thumbnail=b"t" * 20_000) for n in range(50)])
    other = shard.put(record("other"))
    go()
    assert results(small.result(20)) == results(other.result(20)) == ["created"]
    error = large.exception(20)
    assert isinstance(error, VisualSearchError)
    assert error.code == "storage_unavailable"
    assert shard.on_disk() == shard.in_memory() == ["before", "other", "small"]
    shard.connection.execute("PRAGMA max_page_count = 1000000")
    large = shard.put(*[record(f"large {n}", thumbnail=b"t" * 20_000) for n in range(50)])
    assert results(large.result(20)) == ["created"] * 50
    assert len(shard.in_memory()) == 53


def test_a_call_that_is_cancelled_before_its_turn_is_left_out(shard: Shard) -> None:
    go = shard.held_up()
    cancelled = shard.put(record("a"))
    kept = shard.put(record("b"))
    assert cancelled.cancel()
    go()
    kept.result(20)
    assert shard.on_disk() == shard.in_memory() == ["b"]


def test_close_finishes_what_is_queued_and_refuses_the_rest(shard: Shard) -> None:
    go = shard.held_up()
    queued = [shard.put(record(f"{n}")) for n in range(5)]
    threading.Timer(0.05, go).start()
    shard.writer.close()
    assert all(future.done() for future in queued)
    with pytest.raises(VisualSearchError) as refused:
        shard.put(record("late"))
    assert refused.value.code == "storage_unavailable"
    assert shard.on_disk() == [f"{n}" for n in range(5)]


def test_what_changes_nothing_is_no_transaction(shard: Shard) -> None:
    shard.put(record("a", 2)).result(20)
    before = shard.sequence
    shard.put(record("a", 2)).result(20)
    shard.put(record("a", 1)).result(20)
    shard.writer.submit(partial(apply.adopt, identity=IDENTITY)).result(20)
    assert shard.sequence == before


def test_row_numbers_are_never_used_again(shard: Shard) -> None:
    rows = []
    for number in range(1, 6):
        shard.put(record("a", 10 * number, seed=number)).result(20)
        rows.append(shard.reading.run(lambda each: each.execute("SELECT row FROM documents").fetchone()[0]))
        shard.writer.submit(partial(removal.delete, keys=[key("a", 10 * number + 5)])).result(20)
    assert rows == sorted(set(rows))


def test_a_document_keeps_the_time_of_its_creation(shard: Shard) -> None:
    start = shard.now_ms
    times = []
    for number, seed in ((1, 1), (2, 2), (3, 2)):
        shard.put(record("a", number, seed, tags={})).result(20)
        times += shard.reading.run(lambda each: each.execute("SELECT created_at, updated_at FROM documents").fetchall())
        shard.now_ms += 1000
    assert times == [(start, start), (start, start + 1000), (start, start + 2000)]


def test_tombstones_are_remembered_for_their_time_and_then_forgotten(shard: Shard) -> None:
    def buried() -> int:
        return shard.reading.run(lambda each: int(each.execute("SELECT count(*) FROM tombstones").fetchone()[0]))

    shard.writer.submit(partial(removal.delete, keys=[key(f"{n}", 5) for n in range(2500)])).result(20)
    shard.now_ms += HOUR_MS - 1
    shard.put(record("x", 1)).result(20)
    assert buried() == 2500
    assert results(shard.put(record("7", 4)).result(20)) == ["stale_version"]
    shard.now_ms += 2 + 60_000
    left = []
    for number in range(2, 6):
        shard.put(record("x", number)).result(20)
        left.append(buried())
    assert left == [1500, 500, 0, 0], "a bounded number at once"
    assert results(shard.put(record("7", 4)).result(20)) == ["created"]


def test_each_run_of_the_writer_is_an_epoch_of_the_file(tmp_path: Path) -> None:
    for _ in range(3):
        shard = Shard(tmp_path)
        shard.put(record("a", shard.sequence + 1)).result(20)
        shard.put(record("b", shard.sequence + 1)).result(20)
        epochs = shard.reading.run(lambda each: each.execute("SELECT first_sequence, token FROM epochs").fetchall())
        shard.writer.close()
        shard.reading.close()
        shard.connection.close()
    starts = [first for first, _ in epochs]
    assert len(starts) == len({token for _, token in epochs}) == 3
    assert starts == sorted(starts)
