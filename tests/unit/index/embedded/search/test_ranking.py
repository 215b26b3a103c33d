"""The best documents for a query are the true ones, whether they are in the graph, in memory, or in both."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from executors.index.embedded.graph.hnsw import HnswGraph
from executors.index.embedded.memory.collection_memory import GraphOptions
from executors.index.embedded.search import ranking
from executors.index.embedded.search.exact import Best
from executors.index.embedded.search.ranking import DamagedRowsError, Plan, Scope, Wanted, make_plan, rank
from tests.support.models.parts import Shard, vectors_like
from tests.support.stores.records import record, true_cosine

KINDS = {
    "half, disk": GraphOptions(graph_from=4),
    "half, memory": GraphOptions(graph_from=4, rerank="memory"),
    "single, memory": GraphOptions(graph_from=4, precision="single", rerank="memory"),
}
any_kind = pytest.mark.parametrize("options", KINDS.values(), ids=KINDS.keys())


@contextmanager
def opened(options: GraphOptions = KINDS["half, disk"]) -> Iterator[Shard]:
    with tempfile.TemporaryDirectory() as folder:
        shard = Shard(Path(folder), options)
        try:
            yield shard
        finally:
            shard.close()


def put(shard: Shard, seeds: dict[str, int], number: int = 1) -> None:
    vectors = vectors_like(list(seeds.values()))
    shard.put(*[record(name, number, embedding=vector) for name, vector in zip(seeds, vectors, strict=True)])


def best(
    scope: Scope, query: NDArray[np.float32], limit: int, threshold: float | None = None, exact: bool = True
) -> tuple[Best, Plan]:
    plan = make_plan(scope, limit, exact=exact, ef=None)
    return rank(scope, query, Wanted(limit, threshold), plan), plan


def truth(
    seeds: dict[str, int], query: NDArray[np.float32], limit: int, threshold: float | None
) -> list[tuple[str, float]]:
    """The result of comparing everything in float64: best first, ties by id."""
    scores = {name: true_cosine(vectors_like([seed])[0], query) for name, seed in seeds.items()}
    order = sorted((-score, name) for name, score in scores.items() if threshold is None or score >= threshold)
    return [(name, -score) for score, name in order[:limit]]


@any_kind
@settings(max_examples=15)
@given(
    covered=st.lists(st.integers(0, 3), max_size=40),
    fresh=st.lists(st.integers(0, 3), max_size=20),
    removed=st.sets(st.integers(0, 60)),
    wanted=st.none() | st.sets(st.integers(0, 60)),
    limit=st.integers(1, 30),
    threshold=st.none() | st.floats(-1.0, 1.0),
    seed=st.integers(0, 1000),
)
def test_exact_is_exact_wherever_documents_stand(
    options: GraphOptions,
    covered: list[int],
    fresh: list[int],
    removed: set[int],
    wanted: set[int] | None,
    limit: int,
    threshold: float | None,
    seed: int,
) -> None:
    # Of each four documents about three share their vector with others.
    seeds = {f"{n:02d}": kind or 100 + n for n, kind in enumerate([*covered, *fresh])}
    query = vectors_like([seed])[0]
    with opened(options) as shard:
        put(shard, {name: seeds[name] for name in list(seeds)[: len(covered)]})
        shard.cover()
        put(shard, {name: seeds[name] for name in list(seeds)[len(covered) :]})
        gone = [f"{n:02d}" for n in removed if n < len(seeds)]
        shard.delete(2, *gone)
        live = {name: each for name, each in seeds.items() if name not in gone}
        rows = None
        if wanted is not None:
            live = {name: each for name, each in live.items() if int(name) in wanted}
            rows = np.asarray(sorted(shard.row_of(name) for name in live), dtype=np.int64)
        found, plan = shard.in_scope(lambda scope: best(scope, query, limit, threshold), rows)
    assert plan.name == ("exact" if wanted is None else "exact over the matching")
    if options.precision == "half":
        expected = truth(live, query, limit, threshold)
        assert found.ids == [name for name, _ in expected]
        assert found.scores == pytest.approx([score for _, score in expected], abs=1e-12)
        return
    # Vectors of single precision have been normalised: their scores may differ in the eighth decimal.
    scores = dict(truth(live, query, len(seeds), None))
    expected = truth(live, query, limit, None if threshold is None else threshold - 1e-6)
    assert len(found.ids) == len(set(found.ids))
    assert found.scores == pytest.approx([scores[name] for name in found.ids], abs=1e-6)
    assert found.scores == pytest.approx([score for _, score in expected][: len(found.ids)], abs=1e-6)
    surely = truth(live, query, limit, None if threshold is None else threshold + 1e-6)
    assert len(surely) <= len(found.ids) <= len(expected)


@any_kind
@pytest.mark.parametrize("exact", [True, False])
def test_a_threshold_takes_a_document_that_just_reaches_it(options: GraphOptions, exact: bool) -> None:
    with opened(options) as shard:
        put(shard, {f"{n:02d}": n for n in range(40)})
        shard.cover()
        put(shard, {f"{n:02d}": n for n in range(40, 50)})
        query = vectors_like([999])[0]
        every, _ = shard.in_scope(lambda scope: best(scope, query, 50))
        assert len(every.ids) == 50
        for place in (0, 7, 30):
            threshold = every.scores[place]
            some, _ = shard.in_scope(lambda scope, at=threshold: best(scope, query, 45, at, exact))  # type: ignore[misc]
            assert (some.ids, some.scores) == (every.ids[: place + 1], every.scores[: place + 1])
            above = float(np.nextafter(threshold, 2))
            some, _ = shard.in_scope(lambda scope, at=above: best(scope, query, 45, at, exact))  # type: ignore[misc]
            assert some.ids == every.ids[:place]


@pytest.mark.parametrize("exact", [True, False])
def test_of_many_copies_the_first_by_id_come_wherever_they_stand(exact: bool) -> None:
    with opened() as shard:
        names = [f"{n:02d}" for n in np.random.default_rng(4).permutation(60)]
        put(shard, {name: 7 if int(name) % 2 else 100 + int(name) for name in names[:40]})
        shard.cover()
        put(shard, {name: 7 if int(name) % 2 else 100 + int(name) for name in names[40:]})
        shard.delete(2, "03", "05")
        found, _ = shard.in_scope(lambda scope: best(scope, vectors_like([7])[0], 25, exact=exact))
        assert found.ids == [f"{n:02d}" for n in range(1, 60, 2) if n not in (3, 5)][:25]
        assert found.scores == [1.0] * 25


@any_kind
def test_a_search_of_an_earlier_moment_gets_what_was_there(options: GraphOptions) -> None:
    """Also after documents were replaced, removed and moved into the graph, and after the graph was rebuilt."""
    seeds = {f"{n:02d}": n if n % 3 else 3005 for n in range(60)}
    query = vectors_like([3005])[0]
    with opened(options) as shard:
        put(shard, dict(list(seeds.items())[:40]))
        shard.cover()
        put(shard, dict(list(seeds.items())[40:]))

        def change() -> None:
            shard.delete(2, *[f"{n:02d}" for n in range(0, 60, 4)])
            put(shard, {f"{n:02d}": n + 500 for n in range(1, 60, 4)}, 3)
            shard.cover()
            shard.rebuild()
            put(shard, {f"later {n}": 3005 for n in range(20)}, 4)
            shard.cover()

        def search(scope: Scope) -> tuple[Best, ...]:
            before, _ = best(scope, query, 30)
            changing = threading.Thread(target=change)
            changing.start()
            changing.join()
            return before, best(scope, query, 30)[0], best(scope, query, 30, exact=False)[0]

        before, after, walked = shard.in_scope(search)
        assert before.ids == after.ids == walked.ids
        assert before.scores == pytest.approx(after.scores, abs=1e-6)
        assert before.ids[:20] == [f"{n:02d}" for n in range(0, 60, 3)]
        now, _ = shard.in_scope(lambda scope: best(scope, query, 20))
        assert now.ids[10:] == sorted(f"later {n}" for n in range(20))[:10]
        assert "00" not in now.ids


@pytest.mark.parametrize("exact", [True, False])
def test_a_candidate_that_is_damaged_on_disk_is_named_and_nothing_is_left_out(exact: bool) -> None:
    with opened() as shard:
        put(shard, {f"{n:02d}": n for n in range(30)})
        shard.cover()
        rows = sorted(shard.row_of(name) for name in ("07", "21"))
        shard.connection.execute("UPDATE vectors SET embedding = zeroblob(32) WHERE row IN (?, ?)", rows)
        with pytest.raises(DamagedRowsError) as raised:
            shard.in_scope(lambda scope: best(scope, vectors_like([7])[0], 25, exact=exact))
        assert set(raised.value.rows) <= set(rows)
        assert rows[0] in raised.value.rows


def test_the_graph_is_walked_where_it_is_worth_it() -> None:
    def plan_of(limit: int, exact: bool = False) -> Callable[[Scope], Plan]:
        return lambda scope: make_plan(scope, limit, exact=exact, ef=77)

    with opened() as shard:
        put(shard, {f"{n:02d}": n for n in range(30)})
        assert not shard.in_scope(plan_of(5)).walks, "there is no graph yet"
        shard.cover()
        plan = shard.in_scope(plan_of(5))
        assert (plan.walks, plan.name, plan.ef) == (True, "graph", 77)
        assert not shard.in_scope(plan_of(5, exact=True)).walks
        assert not shard.in_scope(plan_of(30)).walks, "everything is asked for"
        few = shard.in_scope(plan_of(1), np.asarray([1, 2, 3]))
        assert (few.walks, few.matching, few.name) == (False, 3, "exact over the matching")


def test_what_was_done_can_be_shown() -> None:
    with opened() as shard:
        put(shard, {f"{n:02d}": n for n in range(30)})
        shard.cover()
        found, plan = shard.in_scope(lambda scope: best(scope, vectors_like([3])[0], 5, exact=False))
        shown = plan.to_json()
    assert found.ids[0] == "03"
    assert (shown["plan"], shown["documents"]) == ("graph", 30)
    assert 5 <= shown["candidates"] <= 30
    assert shown["took_ms"].keys() == {"graph", "rerank"}
    assert shown["ef"] >= 64


def test_what_a_walk_did_not_reach_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened() as shard:
        put(shard, {f"{n:02d}": n for n in range(30)})
        shard.cover()
        query = vectors_like([3])[0]
        expected, _ = shard.in_scope(lambda scope: best(scope, query, 10))
        # A graph with holes can't be made on purpose.
        whole = HnswGraph.search
        monkeypatch.setattr(HnswGraph, "search", lambda *given: tuple(part[:4] for part in whole(*given)))
        found, plan = shard.in_scope(lambda scope: best(scope, query, 10, exact=False))
    assert found.ids == expected.ids
    assert plan.name == "exact after: graph"


def test_the_size_is_that_of_the_moment_that_is_searched() -> None:
    with opened() as shard:
        put(shard, {f"{n:02d}": n % 7 for n in range(50)})
        shard.cover()
        put(shard, {f"{n:02d}": n for n in range(50, 60)})
        shard.delete(2, "01", "02", "55")

        def sizes(scope: Scope) -> tuple[int, int]:
            shard.delete(3, *[f"{n:02d}" for n in range(3, 50)])
            return scope.size, ranking.scope_of(scope.connection, scope.memory, scope.view, None).size

        assert shard.in_scope(sizes) == (57, 57)
        assert shard.in_scope(lambda scope: scope.size) == 10
        assert shard.in_scope(lambda scope: scope.size, np.asarray([1, 2])) == 2
