"""Fixtures for every suite: the default model, real pictures, and real flows that tests of one session share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import hypothesis
import numpy as np
import pytest

from executors.models.build import build_model
from executors.settings import read_settings
from tests.support.flows.flow import RunningFlow, running_flow
from tests.support.pictures.pictures import encode, scene

# A test asserts no time: neither does one with many examples.
hypothesis.settings.register_profile("visual-search", deadline=None)
hypothesis.settings.load_profile("visual-search")


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """The model repository with the default model in it (`make install` has built it already)."""
    folder = read_settings().models_dir
    build_model("efficientnet-lite0", folder)
    return folder


@pytest.fixture(scope="session")
def flows(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, RunningFlow]]:
    """Flows by number of shards, started when a test first asks for one, stopped when the session ends."""
    started: dict[int, RunningFlow] = {}
    contexts = []

    class Flows(dict[int, RunningFlow]):
        def __missing__(self, shards: int) -> RunningFlow:
            context = running_flow(tmp_path_factory.mktemp(f"flow-{shards}"), shards=shards)
            started[shards] = self[shards] = context.__enter__()
            contexts.append(context)
            return started[shards]

    yield Flows()
    for context in contexts:
        context.__exit__(None, None, None)


@pytest.fixture(scope="session")
def flow(flows: dict[int, RunningFlow]) -> RunningFlow:
    """The flow as it comes: two shards, two embedding replicas. Tests share it: each uses ids of its own."""
    return flows[2]


@pytest.fixture(scope="session")
def pictures() -> list[bytes]:
    """Twelve different drawn pictures, as JPEG."""
    return [encode(scene(seed)) for seed in range(12)]


@pytest.fixture(scope="session")
def one_picture(pictures: list[bytes]) -> bytes:
    return pictures[0]


@pytest.fixture(autouse=True, scope="session")
def _single_threaded_opencv() -> None:
    """Flows are forked from test processes: OpenCV's threads would not survive that."""
    cv2.setNumThreads(0)
    # A number that is too small becomes zero, which is what it is; everything else is told, and fails a test.
    np.seterr(all="warn", under="ignore")
