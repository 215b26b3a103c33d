"""Requests don't get dearer: their processor time, as a ratio to work that stays the same, beside the committed baseline."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.baseline import dearer, measure, read_baseline


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("models_dir")
def test_no_request_costs_15_percent_more_than_the_baseline(tmp_path: Path) -> None:
    measured = measure(tmp_path)
    by_process = {side.name: {name: round(side.cpu_of(name), 1) for name in side.cpu[0]} for side in measured.sides}
    assert dearer(measured.ratios, read_baseline()) == [], by_process
