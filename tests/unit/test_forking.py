"""A signal that comes while a process is being forked is handled, once, and by whoever handled it before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from executors.forking import held_while, release_signals

# As Python does it after a fork: whatever is raised in these functions is swallowed.
SCRIPT = """
import os, signal, sys
from executors.forking import held_while, release_signals
os.register_at_fork(after_in_parent=lambda: signal.raise_signal(signal.SIGINT))

def fork(_):
    child = os.fork()
    if not child:
        release_signals()
        os._exit(0 if signal.getsignal(signal.SIGINT) is signal.default_int_handler else 1)
    return os.waitpid(child, 0)[1]

try:
    print("lost", (held_while(fork, print) if sys.argv[1] == "held" else fork)("undone"))
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.fixture
def came() -> Iterator[list[int]]:
    """The signals that the handler of this process was given."""
    given: list[int] = []
    before = {
        each: signal.signal(each, lambda number, _: given.append(number)) for each in (signal.SIGINT, signal.SIGTERM)
    }
    yield given
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.mark.parametrize(("how", "said"), [("held", "undone\ninterrupted"), ("bare", "lost 0")])
def test_an_interrupt_during_a_fork_is_not_lost(how: str, said: str) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_came_meanwhile_is_handled_afterwards_and_once(number: signal.Signals, came: list[int]) -> None:
    undone: list[str] = []

    def fork(what: str) -> str:
        signal.raise_signal(number)
        assert came == []
        return f"{what} is done"

    assert held_while(fork, undone.append)("it") == "it is done"
    assert undone == []
    assert came == [number]
    release_signals()
    assert came == [number]


def test_a_failing_fork_hides_no_signal(came: list[int]) -> None:
    undone: list[str] = []

    def fork(_: str) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise OSError("no more processes")

    with pytest.raises(OSError, match="no more processes"):
        held_while(fork, undone.append)("it")
    assert (came, undone) == ([signal.SIGTERM], ["it"])


def test_another_thread_may_fork_too() -> None:
    done: list[int] = []
    thread = threading.Thread(target=held_while(done.append, print), args=(1,))
    thread.start()
    thread.join()
    assert done == [1]
