"""A stage can be stopped while it starts."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading

import pytest

from executors.errors import VisualSearchError
from executors.lifecycle import run_now, start_now


async def test_a_coroutine_runs_to_its_end_although_this_loop_stands_still() -> None:
    async def work() -> int:
        await asyncio.sleep(0.01)
        return 7

    assert (start_now(work()), run_now(work())) == (7, 7)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_cancels_what_starts_and_lets_it_clean_up(how: signal.Signals) -> None:
    cleaned = threading.Event()

    async def endless() -> None:
        threading.Timer(0.2, signal.pthread_kill, (threading.main_thread().ident, how)).start()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    before = signal.getsignal(how)
    with pytest.raises(VisualSearchError, match="told to stop"):
        start_now(endless())
    assert cleaned.is_set()
    assert signal.getsignal(how) is before


def test_what_it_raises_is_raised() -> None:
    async def fails() -> None:
        raise VisualSearchError("model_missing", "no model")

    for run in (start_now, run_now):
        with pytest.raises(VisualSearchError, match="no model"):
            run(fails())


def test_what_a_start_leaves_behind_is_not_looked_at_again_by_every_collection() -> None:
    script = """
import gc
from executors.lifecycle import starting
for _ in range(2):
    with starting("index"):
        kept = [[] for _ in range(1000)]
    frozen = gc.get_freeze_count()
    print(frozen >= 1000, gc.is_tracked(kept), any(each is kept for each in gc.get_objects()))
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    # The second one in the same process leaves things as they are.
    assert said == ["True", "True", "False", "True", "True", "True"]
