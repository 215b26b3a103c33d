"""A thread that takes the lock again and again does not shut out the others."""

from __future__ import annotations

import threading
import time

from executors.index.embedded.graph.fair_lock import FairLock


def test_a_waiting_thread_gets_the_lock_before_the_one_that_just_released_it() -> None:
    lock, order = FairLock(), []

    def take() -> None:
        with lock:
            order.append("who waited")

    for _ in range(50):
        order.clear()
        waiting = threading.Thread(target=take)
        with lock:
            waiting.start()
            while not lock._door.locked():
                time.sleep(0)
        with lock:
            order.append("who let it go")
        waiting.join()
        assert order == ["who waited", "who let it go"]


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
