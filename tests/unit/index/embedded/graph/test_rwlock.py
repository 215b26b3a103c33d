"""Readers run in parallel, writers alone, and neither side shuts out the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from executors.index.embedded.graph.rwlock import RwLock

_LONG = 30.0


def _start(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + _LONG
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def _waiting(lock: RwLock) -> tuple[int, int]:
    with lock._state:
        return len(lock._readers_waiting), len(lock._writers_waiting)


def test_readers_are_inside_together() -> None:
    lock = RwLock()
    together = threading.Barrier(3)

    def read() -> None:
        with lock.reading():
            together.wait(_LONG)

    threads = [_start(read) for _ in range(3)]
    for thread in threads:
        thread.join(_LONG)
    assert not together.broken


def test_a_writer_is_never_inside_with_anyone_else() -> None:
    lock = RwLock()
    inside = {"readers": 0, "writers": 0}
    counting = threading.Lock()
    wrong: list[dict[str, int]] = []
    done = {"reading": 0, "writing": 0}

    def step(kind: str, change: int) -> None:
        with counting:
            inside[kind] += change
            if inside["writers"] > 1 or (inside["writers"] and inside["readers"]):
                wrong.append(dict(inside))

    def work(side: str, kind: str) -> None:
        for number in range(150):
            with getattr(lock, side)():
                step(kind, 1)
                if number % 8 == 0:
                    time.sleep(0.0002)
                step(kind, -1)
            with counting:
                done[side] += 1

    threads = [_start(lambda: work("reading", "readers")) for _ in range(5)]
    threads += [_start(lambda: work("writing", "writers")) for _ in range(3)]
    for thread in threads:
        thread.join(_LONG)
    assert not wrong
    assert done == {"reading": 750, "writing": 450}
    assert inside == {"readers": 0, "writers": 0}


def test_a_stream_of_readers_does_not_keep_a_writer_out() -> None:
    lock = RwLock()
    stop = threading.Event()
    wrote = threading.Event()

    def read() -> None:
        while not stop.is_set():
            with lock.reading():
                time.sleep(0.002)

    # There is always one of them inside.
    readers = [_start(read) for _ in range(4)]

    def write() -> None:
        with lock.writing():
            wrote.set()

    _start(write)
    try:
        assert wrote.wait(_LONG)
    finally:
        stop.set()
        for reader in readers:
            reader.join(_LONG)


def test_a_stream_of_writers_does_not_keep_a_reader_out() -> None:
    lock = RwLock()
    stop = threading.Event()
    read = threading.Event()

    def write() -> None:
        while not stop.is_set():
            with lock.writing():
                time.sleep(0.002)

    writers = [_start(write) for _ in range(4)]

    def look() -> None:
        with lock.reading():
            read.set()

    _start(look)
    try:
        assert read.wait(_LONG)
    finally:
        stop.set()
        for writer in writers:
            writer.join(_LONG)


def test_sides_take_turns_and_readers_wait_for_one_writer_only() -> None:
    lock = RwLock()
    order: list[str] = []

    def enter(side: str, name: str) -> None:
        with getattr(lock, side)():
            order.append(name)

    with lock.reading():
        threads = [_start(lambda: enter("writing", "first writer"))]
        _until(lambda: _waiting(lock) == (0, 1))
        # These come while a writer waits: they are behind it, but before the next one.
        threads.append(_start(lambda: enter("reading", "reader")))
        _until(lambda: _waiting(lock) == (1, 1))
        threads.append(_start(lambda: enter("writing", "second writer")))
        _until(lambda: _waiting(lock) == (1, 2))
        threads.append(_start(lambda: enter("reading", "reader")))
        _until(lambda: _waiting(lock) == (2, 2))
        assert order == []
    for thread in threads:
        thread.join(_LONG)
    assert order == ["first writer", "reader", "reader", "second writer"]


@pytest.mark.parametrize("side", ["reading", "writing"])
def test_an_exception_inside_gives_the_lock_back(side: str) -> None:
    lock = RwLock()
    with pytest.raises(ZeroDivisionError), getattr(lock, side)():
        raise ZeroDivisionError
    entered = threading.Event()

    def write() -> None:
        with lock.writing():
            entered.set()

    _start(write)
    assert entered.wait(_LONG)


@pytest.mark.parametrize("handed_over", [False, True])
@pytest.mark.parametrize("side", ["reading", "writing"])
def test_a_wait_that_is_interrupted_leaves_the_lock_usable(
    monkeypatch: pytest.MonkeyPatch, side: str, handed_over: bool
) -> None:
    from executors.index.embedded.graph import rwlock

    lock = RwLock()
    kept_in = threading.Event()
    entered = threading.Event()

    def hold() -> None:
        with lock.writing():
            entered.set()
            kept_in.wait(_LONG)

    holder = _start(hold)
    assert entered.wait(_LONG)

    class Interrupted:
        """A gate at which Ctrl-C arrives, before or after it was opened: no signal can be timed so exactly."""

        def __init__(self) -> None:
            self.opened = threading.Event()

        def acquire(self) -> bool:
            if handed_over:
                kept_in.set()
                assert self.opened.wait(_LONG)
            raise KeyboardInterrupt

        def release(self) -> None:
            self.opened.set()

    with monkeypatch.context() as patch:
        patch.setattr(rwlock, "_closed_gate", Interrupted)
        with pytest.raises(KeyboardInterrupt), getattr(lock, side)():
            raise AssertionError("entered")
    kept_in.set()
    holder.join(_LONG)
    results: list[str] = []

    def use() -> None:
        with lock.writing():
            results.append("wrote")
        with lock.reading():
            results.append("read")

    _start(use).join(_LONG)
    assert results == ["wrote", "read"]


def test_a_writer_that_gives_up_lets_the_readers_behind_it_in(monkeypatch: pytest.MonkeyPatch) -> None:
    from executors.index.embedded.graph import rwlock

    lock = RwLock()
    give_up = threading.Event()

    class GivesUp:
        def acquire(self) -> bool:
            give_up.wait(_LONG)
            raise KeyboardInterrupt

        def release(self) -> None:
            raise AssertionError("the lock was handed to a writer beside a reader")

    def write() -> None:
        with pytest.raises(KeyboardInterrupt), lock.writing():
            raise AssertionError("entered")

    read = threading.Event()

    def look() -> None:
        with lock.reading():
            read.set()

    with lock.reading():
        with monkeypatch.context() as patch:
            patch.setattr(rwlock, "_closed_gate", GivesUp)
            writer = _start(write)
            _until(lambda: _waiting(lock) == (0, 1))
        _start(look)
        _until(lambda: _waiting(lock) == (1, 1))
        give_up.set()
        assert read.wait(_LONG)
        writer.join(_LONG)
