"""Requests of one dynamic batch: joined, run in slices, split; a bad one fails alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from executors.triton_server.onnxruntime.request_batches import alike, run_requests


class Doubler:
    """Doubles `x`, and remembers the rows of each run; refuses a row that holds 13."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def __call__(self, tensors: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        x = tensors["x"]
        self.rows.append(len(x))
        if (x == 13).any():
            raise ValueError("13 is not supported")
        return [2 * x, x.sum(axis=-1)]


def request(rows: int, value: int, width: int = 3) -> dict[str, NDArray[Any]]:
    return {"x": np.full((rows, width), value, np.int64)}


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(14, 99)), min_size=1, max_size=8), st.integers(0, 6))
def test_every_request_gets_its_own_rows_whatever_the_slices(sizes: list[tuple[int, int]], most: int) -> None:
    model = Doubler()
    requests = [request(*size) for size in sizes]
    answers = run_requests(requests, model, batched=True, most_rows=most)
    for tensors, (doubled, sums) in zip(requests, answers, strict=True):
        assert np.array_equal(doubled, 2 * tensors["x"])
        assert np.array_equal(sums, tensors["x"].sum(axis=-1))
    assert sum(model.rows) == sum(rows for rows, _ in sizes)
    assert max(model.rows) <= (most or 1000)


def test_requests_of_one_kind_run_as_one_batch() -> None:
    model = Doubler()
    run_requests([request(1, value) for value in range(5)], model, batched=True, most_rows=0)
    assert model.rows == [5]


def test_a_request_that_fails_does_not_fail_its_neighbours() -> None:
    answers = run_requests([request(2, 1), request(1, 13), request(3, 2)], Doubler(), batched=True, most_rows=4)
    assert isinstance(answers[1], ValueError)
    assert [answer[0].tolist() for answer in (answers[0], answers[2])] == [[[2] * 3] * 2, [[4] * 3] * 3]


def test_requests_of_other_shapes_types_or_inputs_run_beside_each_other() -> None:
    other = {"x": np.ones((1, 3), np.float32)}
    more = request(1, 1) | {"y": np.ones((1, 1))}
    requests = [request(1, 1), request(1, 1, width=5), request(2, 7), other, more]
    assert alike(requests) == [[0, 2], [1], [3], [4]]
    answers = run_requests(requests, Doubler(), batched=True, most_rows=0)
    assert [answer[0].shape for answer in answers] == [(1, 3), (1, 5), (2, 3), (1, 3), (1, 3)]


def test_inputs_with_different_numbers_of_rows_are_refused() -> None:
    odd = {"x": np.ones((2, 3)), "y": np.ones((1, 3))}
    answers = run_requests([odd, odd], Doubler(), batched=True, most_rows=0)
    assert all("number of rows" in str(answer) for answer in answers)


def test_a_model_that_answers_too_few_rows_is_an_error_and_shifts_no_vector() -> None:
    answers = run_requests([request(1, 1), request(1, 2)], lambda x: [x["x"][:1, :2][1:]], batched=True, most_rows=0)
    assert all("0] rows for 1" in str(answer) for answer in answers)


def test_a_model_without_a_batch_axis_gets_each_request_as_it_is() -> None:
    model = Doubler()
    answers = run_requests([request(3, 1), request(3, 2)], model, batched=False, most_rows=1)
    assert model.rows == [3, 3]
    assert [answer[0][0, 0] for answer in answers] == [2, 4]
