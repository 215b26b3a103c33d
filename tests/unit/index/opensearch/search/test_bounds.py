"""An upper bound of the cosine becomes the largest score of OpenSearch that is within it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.index.opensearch.search.bounds import below, cosine_of, largest_score


@given(st.floats(-1.0, 1.0))
def test_no_larger_score_is_within_the_bound(ceiling: float) -> None:
    score = np.float32(largest_score(ceiling))
    assert float(score) == largest_score(ceiling), "it is one of the scores that OpenSearch has"
    assert cosine_of(float(score)) <= ceiling
    following = float(np.nextafter(score, np.float32(2)))
    assert following > 1 or cosine_of(following) > ceiling


@pytest.mark.parametrize(("ceiling", "expected"), [(1.0, 1.0), (0.0, 0.5), (0.5, 0.75)])
def test_bounds_that_are_scores_themselves_are_inclusive(ceiling: float, expected: float) -> None:
    assert below(ceiling) == {"search_after": [expected, ""]}
    assert below(None) == {}


def test_the_lowest_bound_takes_what_is_shown_as_minus_one() -> None:
    score = largest_score(-1.0)
    assert cosine_of(score) == -1.0
    assert 0 <= score < 1e-15
