"""A stage can be stopped while it starts."""

from __future__ import annotations

import asyncio
import signal
import threading
import time

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
            await asyncio.sleep(60)
        finally:
            cleaned.set()

    before = signal.getsignal(how)
    started = time.monotonic()
    with pytest.raises(VisualSearchError, match="told to stop"):
        start_now(endless())
    assert time.monotonic() - started < 30
    assert cleaned.is_set()
    assert signal.getsignal(how) is before


def test_what_it_raises_is_raised() -> None:
    async def fails() -> None:
        raise VisualSearchError("model_missing", "no model")

    for run in (start_now, run_now):
        with pytest.raises(VisualSearchError, match="no model"):
            run(fails())
