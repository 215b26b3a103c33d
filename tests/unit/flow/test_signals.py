"""A signal that arrives while a process is being forked is handled once, by the handler that was set before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from executors.flow.signals import held_while

# Like Python after a fork: any exception in these functions is swallowed.
SCRIPT = """
import os, signal, sys
from executors.flow.signals import held_while
os.register_at_fork(after_in_parent=lambda: signal.raise_signal(signal.SIGINT))

def fork(_):
    child = os.fork()
    if not child:
        os._exit(0)
    return os.waitpid(child, 0)[1]

try:
    print("lost", (held_while(fork, print) if sys.argv[1] == "held" else fork)("undone"))
except KeyboardInterrupt:
    print("interrupted")
"""

# A process that gets a signal to end while it runs code that swallows every exception.
CHILD = """
import os, signal, sys, time
from contextlib import suppress
from executors.flow.signals import end_at_signals, held_while

def interrupt(*_):
    raise KeyboardInterrupt

def fork(_):
    child = os.fork()
    if not child:
        with suppress(BaseException):
            if sys.argv[1] == "before":
                os.kill(os.getpid(), signal.SIGTERM)
            end_at_signals(lambda: print("told", flush=True))
            os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

signal.signal(signal.SIGTERM, interrupt)
print("ended with", held_while(fork, print)(0))
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


def test_a_failing_fork_hides_no_signal(came: list[int]) -> None:
    undone: list[str] = []

    def fork(_: str) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise OSError("no more processes")

    with pytest.raises(OSError, match="no more processes"):
        held_while(fork, undone.append)("it")
    assert (came, undone) == ([signal.SIGTERM], ["it"])


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_that_is_told_to_end_before_it_listens_ends_at_once(when: str) -> None:
    done = subprocess.run([sys.executable, "-c", CHILD, when], capture_output=True, text=True, check=True)
    assert done.stdout == "told\nended with 1\n"


def test_another_thread_may_fork_too() -> None:
    done: list[int] = []
    thread = threading.Thread(target=held_while(done.append, print), args=(1,))
    thread.start()
    thread.join()
    assert done == [1]
