"""A unit test is quick: one that is not fails, unless it says how long it may take, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

# Most take milliseconds. The limit leaves room for a machine that is busy with other work.
LONGEST_S = 20


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and not item.get_closest_marker("timeout"):
            # The time of fixtures is not counted: the first test of a session may have to build the model.
            item.add_marker(pytest.mark.timeout(LONGEST_S, func_only=True))
