"""Runs the requests of one dynamic batch: joins them, runs slices, splits the outputs; an invalid request fails alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[Any]]
# Runs the model once: tensors by name in, the outputs in their order.
Run = Callable[[Tensors], Sequence[NDArray[Any]]]


def run_requests(requests: Sequence[Tensors], run: Run, *, batched: bool, most_rows: int) -> list[Any]:
    """Run the requests of one batch.

    Args:
        requests: the inputs of each, by name; the first axis is the batch if `batched`.
        run: runs the model.
        batched: whether the model takes several rows at once; otherwise each request runs by itself.
        most_rows: the maximum number of rows of one run; 0 for any number.

    Returns:
        For each request the list of its outputs, or the exception that it failed with.
    """
    answers: list[Any] = [None] * len(requests)
    for group in alike(requests) if batched else [[at] for at in range(len(requests))]:
        try:
            answered = _run_group([requests[at] for at in group], run, batched=batched, most_rows=most_rows)
        except Exception as error:
            # Running each by itself shows which of them is at fault.
            answered = [error] if len(group) == 1 else [_alone(requests[at], run, batched, most_rows) for at in group]
        for at, answer in zip(group, answered, strict=True):
            answers[at] = answer
    return answers


def alike(requests: Sequence[Tensors]) -> list[list[int]]:
    """The positions of requests that can run together: the same inputs, types, and shapes except for the first axis."""
    groups: dict[Any, list[int]] = {}
    for at, tensors in enumerate(requests):
        key = tuple((name, tensor.dtype.str, tensor.shape[1:]) for name, tensor in sorted(tensors.items()))
        groups.setdefault(key, []).append(at)
    return list(groups.values())


def _run_group(requests: Sequence[Tensors], run: Run, *, batched: bool, most_rows: int) -> list[Any]:
    if not batched:
        return [list(run(tensors)) for tensors in requests]
    counts = [_rows(tensors) for tensors in requests]
    rows = sum(counts)
    joined = {name: _join([tensors[name] for tensors in requests]) for name in requests[0]}
    step = most_rows or rows
    parts = [run({name: tensor[at : at + step] for name, tensor in joined.items()}) for at in range(0, rows, step)]
    outputs = [_join(list(each)) for each in zip(*parts, strict=True)]
    if any(len(output) != rows for output in outputs):
        raise ValueError(f"the model answered {[len(output) for output in outputs]} rows for {rows}")
    ends = np.cumsum(counts)
    return [[output[end - count : end] for output in outputs] for count, end in zip(counts, ends, strict=True)]


def _alone(tensors: Tensors, run: Run, batched: bool, most_rows: int) -> Any:
    try:
        return _run_group([tensors], run, batched=batched, most_rows=most_rows)[0]
    except Exception as error:
        return error


def _rows(tensors: Tensors) -> int:
    counts = {len(tensor) for tensor in tensors.values()}
    if len(counts) != 1:
        raise ValueError(f"the inputs differ in their number of rows: {sorted(counts)}")
    return counts.pop()


def _join(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
