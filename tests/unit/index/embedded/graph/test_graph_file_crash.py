"""The graph's file after a full disk or a crash: the old or the new one, whole."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from executors.index.embedded.graph.graph_file import remove
from tests.support.stores.graph_files import NAME, graph_of, read, same_answers, write

ROOT = Path(__file__).parents[5]


def test_a_disk_that_is_full_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    old, new = graph_of(100), graph_of(1500, seed=3)
    write(tmp_path, old, sequence=1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        # The system refuses to write beyond this, like a disk that is full in the middle of the file.
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(OSError, match=r".") as error:
            write(tmp_path, new, sequence=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert error.value.errno == errno.EFBIG
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert read(tmp_path).stamp.sequence == 1
    write(tmp_path, new, sequence=2)
    assert read(tmp_path).stamp.sequence == 2


def test_a_folder_that_is_gone_surfaces(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "gone", graph_of(5))


def test_what_a_crash_left_is_overwritten_and_removed(tmp_path: Path) -> None:
    graph = graph_of(30)
    (tmp_path / f"{NAME}.tmp").write_bytes(b"x" * 100_000)
    write(tmp_path, graph)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert read(tmp_path).graph.count == 30
    (tmp_path / f"{NAME}.tmp").write_bytes(b"x")
    remove(tmp_path, NAME)
    assert not list(tmp_path.iterdir())
    remove(tmp_path, NAME)


_SAVER = """
    import sys
    from pathlib import Path
    from tests.support.stores.graph_files import graph_of, write

    folder = Path(sys.argv[1])
    graphs = [graph_of(800, seed=seed) for seed in (1, 2)]
    print("ready", flush=True)
    sequence = 0
    while True:
        sequence += 1
        write(folder, graphs[sequence % 2], sequence)
        print(sequence, flush=True)
"""


@pytest.mark.parametrize("cycles", [4, pytest.param(60, marks=pytest.mark.slow)])
def test_a_kill_at_any_moment_leaves_the_last_file_whole(tmp_path: Path, cycles: int) -> None:
    """The child reports what it saved; if it dies at any moment, that file or the next one is there and complete."""
    generator = np.random.default_rng(17)
    graphs = [graph_of(800, seed=seed) for seed in (1, 2)]
    for _ in range(cycles):
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(_SAVER), str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            child.stdout.readline()
            signal_after = float(generator.random()) * 0.05
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(signal_after)
        finally:
            child.kill()
            out, _ = child.communicate()  # with a timeout it would not see what `readline` has read ahead
            said = [int(line) for line in out.split()]
        loaded = read(tmp_path)
        last = said[-1] if said else 1
        assert loaded.stamp.sequence in (last, last + 1)
        assert same_answers(loaded.graph, graphs[loaded.stamp.sequence % 2])
