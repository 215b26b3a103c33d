"""The error of a score in the graph: the bound holds, and is not far off."""

from __future__ import annotations

import numpy as np
import pytest

from executors.index.embedded.graph.hnsw import Precision, score_error
from tests.support.stores.graphs import cosines, filled

PRECISIONS: tuple[Precision, ...] = ("half", "single")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("dimension", [1, 7, 512])
def test_scores_stay_within_their_error(precision: Precision, dimension: int) -> None:
    generator = np.random.default_rng(dimension)
    vectors = [generator.standard_normal((300, dimension)), generator.standard_cauchy((300, dimension)) ** 3]
    # Components that are subnormal in half precision, and vectors that all but point the same way.
    vectors += [generator.standard_normal((100, dimension)) * 1e-6 + np.eye(1, dimension)]
    vectors += [1.0 + generator.standard_normal((100, dimension)) * 2.0**-11]
    rows = np.concatenate(vectors).astype(np.float32)
    graph = filled(rows, precision)
    worst = 0.0
    for query in rows[::20]:
        slots, scores = graph.scan(query, len(rows), None)
        truth = cosines(rows, query)[slots]
        worst = max(worst, float(np.abs(scores - truth).max()))
    assert worst <= score_error(dimension, precision)
    # The bound is tight: rounding to half is visible, and half has a larger error than single.
    assert (
        score_error(dimension, "single")
        < score_error(dimension, "half")
        < 2 * score_error(dimension, "single") + 2.0**-10
    )


def test_the_worst_rounding_comes_near_the_error() -> None:
    """A vector whose components all lie just between two halves, in the direction of the query."""
    dimension = 16
    vector = np.full(dimension, 0.25, np.float64)
    vector[:8] *= 1.0 + 2.0**-11 - 2.0**-20
    vector[8:] = np.sqrt((1.0 - (vector[:8] ** 2).sum()) / 8)
    row = vector.astype(np.float32)[np.newaxis]
    graph = filled(row)
    query = np.where(np.arange(dimension) < 8, 1.0, 0.0).astype(np.float32)
    _, scores = graph.scan(query, 1, None)
    error = abs(float(scores[0]) - cosines(row, query)[0])
    assert 0.3 * score_error(dimension, "half") < error <= score_error(dimension, "half")
