"""Hits below an upper bound: the graph finds what a comparison with everything finds."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from executors.index.embedded.memory.collection_memory import GraphOptions
from executors.index.embedded.search.band import best_below, next_walk
from executors.index.embedded.search.ranking import Scope, Wanted, make_plan, rank
from tests.support.models.parts import Shard
from tests.support.stores.records import record

DIMENSION = 8
COUNT = 6000


@given(
    true=st.lists(st.integers(-20, 20), min_size=1, max_size=60),
    noise=st.lists(st.integers(-1, 1), min_size=60, max_size=60),
    limit=st.integers(1, 20),
    ceiling=st.integers(-21, 21),
)
def test_no_candidate_that_may_be_among_the_best_is_left_out(
    true: list[int], noise: list[int], limit: int, ceiling: int
) -> None:
    exact = np.array(true) / 20
    approximate = (exact + np.array(noise[: len(true)]) / 20).astype(np.float32)
    kept = best_below(approximate, limit, ceiling / 20, 1.001 / 20)
    best = sorted((score for score in exact if score <= ceiling / 20), reverse=True)[:limit]
    assert sorted((score for score in exact[kept] if score <= ceiling / 20), reverse=True)[:limit] == best


def test_a_walk_goes_on_until_it_has_passed_what_is_wanted() -> None:
    scores = np.linspace(1.0, 0.5, 101, dtype=np.float32)
    assert next_walk(scores, 101, 10, 1.1, 0.001) is None
    assert next_walk(scores, 101, 10, 0.9, 0.001) is None  # 20 are above, 30 are enough, 75 are well past them
    assert next_walk(scores[:40], 40, 10, 0.9, 0.001) == 78
    assert next_walk(scores, 101, 10, 0.51, 0.001) == 404
    assert next_walk(scores, 101, 1000, 0.99, 0.001, floor=0.95) is None, "the last hits are below the lower bound"


@pytest.fixture(scope="module")
def shard() -> Iterator[Shard]:
    with tempfile.TemporaryDirectory() as folder:
        opened = Shard(Path(folder), GraphOptions(graph_from=4))
        opened.put(*[record(f"{n:05d}", embedding=vector) for n, vector in enumerate(_vectors())])
        opened.cover()
        yield opened
        opened.close()


def _vectors() -> NDArray[np.float32]:
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(COUNT, DIMENSION)) + 2 * rng.normal(size=(20, DIMENSION))[rng.integers(0, 20, COUNT)]
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("above", [0, 3, 30, 200, 3000, 5990])
def test_walks_find_the_best_below_the_bound(shard: Shard, above: int) -> None:
    vectors = _vectors().astype(np.float64)
    hit = walked = 0
    for query in _vectors()[:40]:
        scores = np.sort(vectors @ query)[::-1]
        ceiling = float(scores[above] + scores[above - 1]) / 2 if above else 1.0

        def search(scope: Scope, query: NDArray[np.float32] = query, ceiling: float = ceiling) -> tuple[list[str], ...]:
            nonlocal walked
            answers = []
            for exact in (True, False):
                plan = make_plan(scope, 10, exact=exact, ef=None)
                answers.append(rank(scope, query, Wanted(10, None, ceiling), plan).ids)
                walked += plan.name == "graph"
            return tuple(answers)

        exact, approximate = shard.in_scope(search, None)
        assert len(exact) == len(approximate) == 10
        hit += len(set(exact) & set(approximate))
    assert hit >= 0.98 * 400
    assert walked == 40 if above < 10 else walked > 20 if above < 100 else walked == 0
