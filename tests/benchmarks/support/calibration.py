"""A piece of work of about a second of processor time that no change to this project makes faster or dearer.

What the flow costs is divided by what this costs in the same minute, so that figures of different machines can be compared:
Python, numpy and JSON, in about the shares that a request has of them.
"""

from __future__ import annotations

import json
import time
from typing import Final

import numpy as np

_STEPS: Final = 170


def calibration_ms() -> float:
    """Do the work in this thread, and return its processor time in milliseconds."""
    started = time.thread_time()
    _work()
    return (time.thread_time() - started) * 1000


def _work() -> None:
    vectors = np.random.default_rng(0).standard_normal((512, 1280), dtype=np.float32)
    for step in range(_STEPS):
        _python(20_000)
        text = json.dumps({"vector": vectors[step].tolist(), "tags": [{"n": n, "text": "a" * 20} for n in range(200)]})
        json.loads(text)
        for row in range(64):
            scores = np.einsum("ij,j->i", vectors[:128], vectors[row])
            np.argsort(scores)


def _python(count: int) -> int:
    found: dict[int, str] = {}
    for number in range(count):
        found[number % 512] = f"{number}"
    return sum(map(len, found.values()))
