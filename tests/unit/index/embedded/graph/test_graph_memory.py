"""The graph's memory: it stays where it is, is counted, and comes back without anybody waiting for it."""

from __future__ import annotations

import mmap
import sys
import threading
from pathlib import Path

import pytest

from executors.index.embedded.graph.hnsw import ADDED_AT_ONCE, HnswGraph, Precision
from tests.support.graphs import DIMENSION, filled, some


@pytest.mark.parametrize("precision", ["half", "single"])
def test_no_add_moves_memory(precision: Precision) -> None:
    vectors = some(6000)
    graph = HnswGraph(DIMENSION, precision=precision, capacity=6000, ef_construction=8)
    where = graph.addresses()
    for start in range(0, 400, ADDED_AT_ONCE):
        graph.add(vectors[start : start + ADDED_AT_ONCE])
        assert graph.addresses() == where
    graph.add_many(vectors[400:], threads=1)
    assert graph.addresses() == where
    assert graph.count == graph.capacity == 6000


@pytest.mark.parametrize("capacity", [1, 2, 7, 60])
def test_no_add_moves_memory_of_a_small_graph(capacity: int) -> None:
    for _ in range(20):
        graph = HnswGraph(4, precision="half", capacity=capacity)
        where = graph.addresses()
        graph.add_many(some(capacity, 4), threads=1)
        assert graph.addresses() == where


def test_filled_memory_is_counted_and_reserved_memory_is_not() -> None:
    small, large = filled(some(500), capacity=500), filled(some(500), capacity=100_000)
    assert small.memory_bytes == large.memory_bytes
    per_vector = small.memory_bytes / 500
    assert 2 * DIMENSION + 12 + 32 * 4 <= per_vector <= 2 * DIMENSION + 12 + 40 * 4


def resident_bytes() -> int:
    """How much memory this process has in its pages."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
@pytest.mark.parametrize("has_threads", [True, False])
def test_the_memory_of_a_large_graph_comes_back_on_a_thread_of_its_own(
    has_threads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, code_size = 40_000, 2 * 512
    graph = HnswGraph(512, precision="half", capacity=count, used=count)
    graph.expand(count, 0).codes[:] = 1
    held = resident_bytes()
    started: list[str] = []
    start = threading.Thread.start

    def start_or_not(thread: threading.Thread) -> None:
        started.append(thread.name)
        if not has_threads:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_or_not)
    del graph
    assert started == ["index-free"]
    for thread in threading.enumerate():
        if thread.name in started:
            thread.join()
    assert held - resident_bytes() > 0.8 * count * code_size


def test_a_small_graph_is_freed_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = filled(some(100))
    started: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "start", started.append)
    del graph
    assert not started
