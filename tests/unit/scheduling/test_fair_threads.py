from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

from executors.errors import VisualSearchError
from executors.scheduling.fair_threads import MOST_PASSING, Cost, FairThreads
from executors.scheduling.turns import BULK_NICENESS, Turn

BULK, OTHER, SEARCH = Turn("bulk", bulk=True), Turn("other", bulk=True), Turn("search")


class Stages:
    """Work that runs until the test releases it, and records what has begun."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._changed = threading.Condition()
        self._released: set[str] = set()

    def work(self, name: str) -> None:
        with self._changed:
            self.begun.append(name)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: name in self._released, 10)

    def release(self, *names: str) -> None:
        with self._changed:
            self._released.update(names)
            self._changed.notify_all()

    def wait_for(self, *names: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: set(names) <= set(self.begun), 10), self.begun


@pytest.fixture
def stages() -> Stages:
    return Stages()


@pytest.fixture
def threads() -> Iterator[FairThreads]:
    made = FairThreads(bulk=1, small=2, budget=100, name="test")
    yield made
    made.close()


def submit(threads: FairThreads, stages: Stages, name: str, turn: Turn, cost: Cost | None = None) -> None:
    threads.submit(lambda: stages.work(name), turn, cost)


def test_a_search_begins_while_all_bulk_threads_are_busy(threads: FairThreads, stages: Stages) -> None:
    for name in ("b1", "b2"):
        submit(threads, stages, name, BULK)
    stages.wait_for("b1")
    submit(threads, stages, "s", SEARCH)
    stages.wait_for("s")
    assert stages.begun == ["b1", "s"]
    stages.release("b1", "b2", "s")
    stages.wait_for("b2")


def test_requests_take_turns(threads: FairThreads, stages: Stages) -> None:
    for name in ("a1", "a2", "a3"):
        submit(threads, stages, name, BULK)
    submit(threads, stages, "b1", OTHER)
    stages.wait_for("a1")
    stages.release("a1", "a2", "a3", "b1")
    stages.wait_for("a3", "b1")
    assert stages.begun.index("b1") < stages.begun.index("a3")


def test_what_is_cancelled_is_never_begun(threads: FairThreads, stages: Stages) -> None:
    submit(threads, stages, "first", BULK)
    stages.wait_for("first")
    left = [threads.submit(lambda: stages.work("left"), BULK) for _ in range(5)]
    assert all(each.cancel() for each in left)
    submit(threads, stages, "last", OTHER)
    stages.release("first", "left", "last")
    stages.wait_for("last")
    assert stages.begun == ["first", "last"]
    assert threads.status()["begun"] == 2


def test_memory_is_bounded_and_one_that_is_larger_runs_alone(threads: FairThreads, stages: Stages) -> None:
    submit(threads, stages, "large", BULK, Cost(500))
    stages.wait_for("large")
    submit(threads, stages, "small", SEARCH, Cost(10))
    assert threads.status()["running_bytes"] == 500
    assert stages.begun == ["large"], "there is no room beside it"
    stages.release("large")
    stages.wait_for("small")
    submit(threads, stages, "much", SEARCH, Cost(80))
    stages.wait_for("much")
    submit(threads, stages, "more", OTHER, Cost(80))
    assert stages.begun == ["large", "small", "much"]
    stages.release("small", "much", "more")
    stages.wait_for("more")


def test_expensive_work_runs_one_at_a_time_and_others_pass_it(threads: FairThreads, stages: Stages) -> None:
    submit(threads, stages, "expensive 1", SEARCH, Cost(1, expensive=True))
    stages.wait_for("expensive 1")
    submit(threads, stages, "expensive 2", SEARCH, Cost(1, expensive=True))
    submit(threads, stages, "cheap", SEARCH, Cost(1))
    stages.wait_for("cheap")
    assert stages.begun == ["expensive 1", "cheap"]
    stages.release("expensive 1", "expensive 2", "cheap")
    stages.wait_for("expensive 2")


def test_errors_reach_the_caller_and_the_thread_goes_on(threads: FairThreads) -> None:
    with pytest.raises(ZeroDivisionError):
        threads.submit(lambda: 1 // 0, BULK).result(10)
    assert threads.submit(lambda: 7, BULK).result(10) == 7
    assert threads.status()["running"] == 0


def test_closing_refuses_what_waits(stages: Stages) -> None:
    threads = FairThreads(bulk=1, small=1, name="test")
    submit(threads, stages, "runs", BULK)
    stages.wait_for("runs")
    waits = threads.submit(lambda: None, BULK)
    threads.close()
    with pytest.raises(VisualSearchError, match="unavailable"):
        waits.result(0)
    stages.release("runs")
    threads.close(wait=True)
    with pytest.raises(VisualSearchError, match="unavailable"):
        threads.submit(lambda: None, BULK)


@pytest.mark.skipif(
    not hasattr(os, "getpriority") or os.uname().sysname != "Linux", reason="priorities of threads: Linux"
)
def test_bulk_threads_have_a_lower_priority(threads: FairThreads) -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    own = niceness()
    assert threads.submit(niceness, SEARCH).result(10) == own
    assert threads.submit(niceness, BULK).result(10) == min(19, own + BULK_NICENESS)


def test_work_that_finds_no_memory_is_passed_only_so_often(threads: FairThreads, stages: Stages) -> None:
    submit(threads, stages, "0", SEARCH, Cost(10))
    stages.wait_for("0")
    submit(threads, stages, "large", Turn("large"), Cost(500))
    for number in range(1, MOST_PASSING + 1):
        # One always runs, so that there never is room for the large one.
        submit(threads, stages, str(number), Turn(str(number)), Cost(10))
        stages.wait_for(str(number))
        stages.release(str(number - 1))
    # The thread that takes this has examined the large one once more.
    stages.release("takes no memory")
    submit(threads, stages, "takes no memory", SEARCH)
    stages.wait_for("takes no memory")
    submit(threads, stages, "late", Turn("late"), Cost(10))
    submit(threads, stages, "bulk", BULK, Cost(10))
    # These would wait behind the two, had they begun.
    stages.release("passes", "bulk passes")
    submit(threads, stages, "passes", Turn("passes"))
    submit(threads, stages, "bulk passes", OTHER)
    stages.wait_for("passes", "bulk passes")
    stages.release(str(MOST_PASSING))
    stages.wait_for("large")
    assert not {"late", "bulk"} & set(stages.begun)
    stages.release("large", "late", "bulk")
    stages.wait_for("late", "bulk")


def test_what_was_next_and_is_cancelled_holds_up_nothing(threads: FairThreads, stages: Stages) -> None:
    submit(threads, stages, "0", SEARCH, Cost(10))
    stages.wait_for("0")
    large = threads.submit(lambda: stages.work("large"), Turn("large", bulk=True), Cost(500))
    for number in range(1, MOST_PASSING + 1):
        submit(threads, stages, str(number), Turn(str(number)), Cost(10))
        stages.wait_for(str(number))
        stages.release(str(number - 1))
    submit(threads, stages, "takes no memory", BULK)
    stages.wait_for("takes no memory")
    assert large.cancel()
    submit(threads, stages, "late", Turn("late"), Cost(10))
    stages.wait_for("late")
    stages.release(str(MOST_PASSING), "takes no memory", "late")


def test_an_expensive_search_does_not_wait_for_all_expensive_bulk() -> None:
    """Otherwise the thread that ends a bulk job would be the first to take the next, again and again."""
    begun: list[str] = []
    threads = FairThreads(bulk=2, small=1, budget=1_000, name="test")
    first = threading.Event()
    threads.submit(lambda: first.wait(10), BULK, Cost(1, expensive=True))

    def work() -> None:
        begun.append("bulk")
        time.sleep(0.005)  # long enough for the other thread to look

    bulk = [threads.submit(work, BULK, Cost(1, expensive=True)) for _ in range(40)]
    search = threads.submit(lambda: begun.append("search"), SEARCH, Cost(1, expensive=True))
    first.set()
    search.result(10)
    for each in bulk:
        each.result(10)
    threads.close(wait=True)
    assert begun.index("search") < 10
