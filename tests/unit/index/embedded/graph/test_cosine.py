"""Exact cosines do not depend on other rows of the computation; float32 stays within its bound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executors.index.embedded.graph.cosine import exact_dots, exact_squares, float32_error
from tests.support.stores.records import true_cosine, unit


@pytest.mark.parametrize("dimension", [8, 512, 2048])
def test_the_error_of_float32_is_within_its_bound(dimension: int) -> None:
    rng = np.random.default_rng(1)
    vectors = np.stack([unit(np.abs(rng.standard_normal(dimension))) for _ in range(400)])
    errors = [abs(float(each @ vectors[0]) - true_cosine(vectors[0], each)) for each in vectors]
    assert 0.0 < max(errors) < float32_error(dimension)
    assert float32_error(dimension) < 2e-4


@settings(deadline=None)
@given(st.integers(1, 400), st.integers(0, 2**32 - 1))
def test_a_row_has_the_same_exact_score_alone_and_among_others(dimension: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((37, dimension)).astype(np.float32)
    query = rng.standard_normal(dimension).astype(np.float32)
    together = exact_dots(vectors, query)
    for slot in range(37):
        assert exact_dots(vectors[slot : slot + 1], query)[0] == together[slot]
        assert exact_dots(vectors[slot:], query)[0] == together[slot]
        assert exact_dots(vectors[[slot, 0, slot]], query)[2] == together[slot]
        assert exact_dots(query[np.newaxis], vectors[slot])[0] == together[slot]
        assert exact_squares(vectors)[slot] == exact_dots(vectors[slot : slot + 1], vectors[slot])[0]
    np.testing.assert_allclose(together, vectors.astype(np.float64) @ query.astype(np.float64), rtol=1e-9, atol=1e-9)
