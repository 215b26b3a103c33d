"""Nobody is kept from the lock by one who takes it again and again."""

from __future__ import annotations

import threading
import time

from executors.index.embedded.fair_lock import FairLock


def test_who_waits_gets_it_before_who_has_just_let_it_go() -> None:
    lock, done = FairLock(), threading.Event()
    turns = 0

    def take_again_and_again() -> None:
        nonlocal turns
        while not done.is_set():
            with lock:
                turns += 1
                time.sleep(0.002)

    greedy = threading.Thread(target=take_again_and_again)
    greedy.start()
    try:
        waited = []
        for _ in range(30):
            before = turns
            with lock:
                waited.append(turns - before)
            time.sleep(0.001)
    finally:
        done.set()
        greedy.join()
    assert turns > 30
    # The turn that runs, and one that was asked for before this thread came to the door.
    assert max(waited) <= 2


def test_one_at_a_time_whatever_happens_inside() -> None:
    lock, inside, most = FairLock(), 0, 0

    def work() -> None:
        nonlocal inside, most
        for n in range(200):
            try:
                with lock:
                    inside += 1
                    most = max(most, inside)
                    time.sleep(0)
                    inside -= 1
                    if n % 3 == 0:
                        raise ValueError
            except ValueError:
                continue

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    assert not any(each.is_alive() for each in threads)
    assert (inside, most) == (0, 1)
