from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from executors.embed.vectors import check_embedding, check_vectors
from executors.errors import VisualSearchError

DIMENSION = 4


def test_sound_rows_come_back_with_unit_length() -> None:
    vectors = np.random.default_rng(0).normal(scale=50, size=(5, 1280)).astype(np.float32)
    for row, unit in zip(vectors, check_vectors(vectors, 5, 1280), strict=True):
        assert isinstance(unit, np.ndarray)
        assert unit.dtype == np.float32
        assert np.linalg.norm(unit.astype(np.float64)) == pytest.approx(1, abs=1e-7)
        assert np.dot(unit.astype(np.float64), row / np.linalg.norm(row.astype(np.float64))) == pytest.approx(1)


@pytest.mark.parametrize(
    ("row", "fault"),
    [([np.nan, 0, 0, 1], "NaN"), ([np.inf, 0, 0, 1], "NaN"), ([-np.inf, 0, 0, 1], "NaN"), ([0, 0, 0, 0], "zero")],
)
def test_a_bad_row_fails_alone(row: list[float], fault: str) -> None:
    vectors = np.ones((3, DIMENSION), np.float32)
    vectors[1] = row
    first, bad, last = check_vectors(vectors, 3, DIMENSION)
    np.testing.assert_array_equal(first, np.full(DIMENSION, 0.5, np.float32))
    np.testing.assert_array_equal(last, first)
    assert isinstance(bad, VisualSearchError)
    assert bad.code == "embedding_failed"
    assert fault in bad.message


@pytest.mark.parametrize(
    "vectors",
    [
        np.ones((2, DIMENSION), np.float32),
        np.ones((3, DIMENSION + 1), np.float32),
        np.ones((3, DIMENSION, 1), np.float32),
        np.ones(3 * DIMENSION, np.float32),
        np.ones((3, DIMENSION), np.float64),
        np.ones((3, DIMENSION), np.float16),
        [[1.0] * DIMENSION] * 3,
        None,
    ],
    ids=["rows", "dimension", "rank", "flat", "double", "half", "list", "none"],
)
def test_a_wrong_shape_or_type_fails_every_row(vectors: Any) -> None:
    with pytest.raises(VisualSearchError) as caught:
        check_vectors(vectors, 3, DIMENSION)
    assert caught.value.code == "embedding_failed"
    assert caught.value.details["expected"] == [3, DIMENSION]


finite_vectors = arrays(
    np.float32, st.integers(1, 40), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
)


@given(finite_vectors.filter(np.any))
def test_any_finite_vector_becomes_a_unit_vector_of_the_same_direction(vector: NDArray[np.float32]) -> None:
    unit = check_embedding(vector, vector.size).astype(np.float64)
    exact = vector.astype(np.float64)
    exact /= np.abs(exact).max()
    assert np.linalg.norm(unit) == pytest.approx(1, abs=2e-7)
    assert np.dot(unit, exact / np.linalg.norm(exact)) == pytest.approx(1, abs=2e-7)


@pytest.mark.parametrize("dimension", [2, 3, 8, 100])
def test_a_vector_that_was_given_out_comes_back_the_same_to_the_bit(dimension: int) -> None:
    vectors = np.random.default_rng(dimension).normal(size=(500, dimension)).astype(np.float32)
    units = np.stack([check_embedding(vector, dimension) for vector in vectors])
    assert np.stack([check_embedding(unit.tolist(), None) for unit in units]).tobytes() == units.tobytes()
    again = [unit for unit in check_vectors(units, 500, dimension) if isinstance(unit, np.ndarray)]
    assert np.stack(again).tobytes() == units.tobytes()


def test_a_length_that_is_almost_one_is_corrected() -> None:
    assert np.linalg.norm(check_embedding([0.6003, 0.8004], 2).astype(np.float64)) == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize(
    "value",
    [[3, 0, 4], (3.0, 0.0, 4.0), np.array([3, 0, 4], np.uint8), np.array([3e300, 0, 4e300]), [3e-320, 0, 4e-320]],
    ids=["integers", "tuple", "bytes", "huge", "tiny"],
)
def test_any_kind_of_numbers_is_taken(value: Any) -> None:
    unit = check_embedding(value, 3)
    assert unit.dtype == np.float32
    assert type(unit) is np.ndarray
    np.testing.assert_allclose(unit, [0.6, 0, 0.8], atol=3e-3 if np.max(value) < 1e-300 else 1e-6)


@pytest.mark.parametrize(
    "value",
    [
        [],
        [[1.0, 2.0]],
        3.0,
        [0, 0, 0],
        [1, float("nan")],
        [1, float("inf")],
        ["1", "2"],
        "12",
        b"12",
        None,
        [1, None],
        [True, False],
        [1j, 2],
        [[1], [1, 2]],
        {"a": 1},
        [10**400, 1],
    ],
    ids=str,
)
def test_what_is_no_vector_is_refused(value: Any) -> None:
    with pytest.raises(VisualSearchError) as caught:
        check_embedding(value, None)
    assert caught.value.code == "invalid_embedding"


def test_a_wrong_dimension_is_told_with_both_numbers() -> None:
    with pytest.raises(VisualSearchError) as caught:
        check_embedding([1.0, 2.0, 3.0], 1280)
    assert caught.value.code == "dimension_mismatch"
    assert caught.value.details == {"expected": 1280, "got": 3}


def test_the_callers_array_is_not_changed() -> None:
    given_vector = np.array([3, 4], np.float32)
    check_embedding(given_vector, 2)
    check_vectors(given_vector[None], 1, 2)
    np.testing.assert_array_equal(given_vector, [3, 4])
