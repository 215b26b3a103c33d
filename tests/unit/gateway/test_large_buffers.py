"""The memory of freed large buffers goes back to the system, even if smaller objects were allocated after them."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

_PROGRAM = """
import sys
from executors.gateway.large_buffers import give_large_buffers_back

if sys.argv[1] == "given back":
    give_large_buffers_back()

def resident():
    with open("/proc/self/statm") as state:
        return int(state.read().split()[1]) * 4096

before = resident()
small = []
for _ in range(3):
    large = []
    for size in range(20):
        large.append(bytearray(b"x") * (15_000_000 + size))
        small.append(bytes(100_000))  # stays, behind the large one
    del large
print(resident() - before - sum(map(len, small)))
"""


def kept(how: str) -> int:
    """Bytes that a process holds on to after it has freed 300 MB of buffers three times."""
    run = subprocess.run([sys.executable, "-c", _PROGRAM, how], capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc can do it")
def test_freed_buffers_leave_the_process() -> None:
    assert kept("given back") < 20_000_000
    # Else this test shows nothing.
    assert kept("as it is by default") > 50_000_000
