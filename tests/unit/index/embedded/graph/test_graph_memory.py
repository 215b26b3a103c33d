"""The graph's memory: it stays at its address, is counted, and is returned without anything waiting for it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from executors.index.embedded.graph.hnsw import ADDED_AT_ONCE, HnswGraph, Precision
from tests.support.stores.graphs import DIMENSION, filled, some


@pytest.mark.parametrize("precision", ["half", "single"])
def test_no_add_moves_memory(precision: Precision) -> None:
    vectors = some(6000)
    graph = HnswGraph(DIMENSION, precision=precision, capacity=6000, ef_construction=8)
    where = graph.addresses()
    for start in range(0, 400, ADDED_AT_ONCE):
        graph.add(graph.rounded(vectors[start : start + ADDED_AT_ONCE]))
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


FREEING_PROGRAM = """
import mmap, sys, threading
from pathlib import Path
from executors.index.embedded.graph.hnsw import HnswGraph

def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

def start_or_not(thread):
    started.append(thread)
    if sys.argv[1] == "none":
        raise RuntimeError("can't start new thread")
    start(thread)

graph = HnswGraph(512, precision="half", capacity=40_000, used=40_000)
graph.expand(40_000, 0).codes[:] = 1
held = resident_bytes()
started, start = [], threading.Thread.start
threading.Thread.start = start_or_not
del graph
for thread in started:
    if thread.is_alive():
        thread.join()
print(*[thread.name for thread in started], held - resident_bytes())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
@pytest.mark.parametrize("threads", ["some", "none"])
@pytest.mark.parametrize("kept_by_malloc", ["131072", "1000000000"], ids=["malloc-returns", "malloc-keeps"])
def test_the_memory_of_a_large_graph_comes_back_whatever_malloc_does(threads: str, kept_by_malloc: str) -> None:
    # Freed memory goes back to the system or stays with malloc, depending on earlier work of the process.
    malloc = {"MALLOC_MMAP_THRESHOLD_": kept_by_malloc, "MALLOC_TRIM_THRESHOLD_": kept_by_malloc}
    done = subprocess.run(
        [sys.executable, "-c", FREEING_PROGRAM, threads],
        env={**os.environ, **malloc},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    name, freed = done.stdout.split() or (done.stderr, "0")
    assert name == "index-free"
    assert int(freed) > 0.8 * 40_000 * 2 * 512


def test_a_small_graph_is_freed_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = filled(some(100))
    started: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "start", started.append)
    del graph
    assert not started
