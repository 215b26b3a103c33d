"""Processor time of other processes, by name."""

from __future__ import annotations

import subprocess
import sys
import time

from tests.benchmarks.support.processes import cpu_by_name, cpu_ms

# It works until it has used half a second, says so, and waits.
WORK = "import time\nwhile time.process_time() < 0.5: pass\nprint('done', flush=True)\ninput()"


def test_the_clock_of_another_process_counts_its_work_and_not_its_waiting() -> None:
    with subprocess.Popen([sys.executable, "-c", WORK], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        while cpu_ms(process.pid) != (used := cpu_ms(process.pid)):
            time.sleep(0.01)  # it has not begun to wait yet
        assert used >= 500
        assert cpu_by_name({process.pid: "shards"}) == {"shards": used}
        assert cpu_by_name({process.pid: "shards", 2**22 + 1: "shards"}) == {"shards": used}
        process.stdin.write(b"\n")


def test_a_process_that_has_ended_uses_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    assert cpu_ms(process.pid) == 0.0
