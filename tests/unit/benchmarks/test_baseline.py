"""The guard of what requests cost: what it calls dearer, and that the baseline names what is measured."""

from __future__ import annotations

import pytest

from tests.benchmarks.baseline import TOLERANCE, dearer, read_baseline

BASELINE = {"search": 6.0, "index": 400.0}


def test_a_request_may_cost_what_the_tolerance_allows() -> None:
    assert dearer({"search": 6.0 * TOLERANCE, "index": 1.0}, BASELINE) == []


def test_a_dearer_request_is_named_with_its_ratio() -> None:
    (sentence,) = dearer({"search": 7.2, "index": 400.0}, BASELINE)
    assert "search" in sentence
    assert "1.20 times" in sentence


def test_a_kind_of_request_without_a_baseline_is_refused() -> None:
    with pytest.raises(KeyError, match="delete"):
        dearer({**BASELINE, "delete": 1.0}, BASELINE)


def test_a_kind_of_request_that_is_no_longer_measured_is_refused() -> None:
    with pytest.raises(KeyError, match="index"):
        dearer({"search": 6.0}, BASELINE)


def test_the_committed_baseline_has_a_positive_ratio_for_each_kind() -> None:
    baseline = read_baseline()
    assert len(baseline) == 5
    assert min(baseline.values()) > 0
