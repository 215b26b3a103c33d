"""Exact search: true cosines, and the same answer however the documents are divided."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from executors.errors import VisualSearchError
from executors.index.embedded.memory.vectors import VectorCache, View
from executors.index.embedded.search.exact import Best, best_rows, selected_views
from tests.support.models.parts import vectors_like
from tests.support.stores.records import true_cosine, unit, vector_of


def cache_of(documents: list[tuple[str, NDArray[np.float32]]], first_block_rows: int = 256) -> VectorCache:
    cache = VectorCache(len(documents[0][1]) if documents else 8, first_block_rows)
    if documents:
        ids = [name for name, _ in documents]
        cache.add(1, range(1, len(ids) + 1), ids, np.stack([vector for _, vector in documents]))
    return cache


def best_of(
    cache: VectorCache, queries: NDArray[np.float32], limit: int, threshold: float | None = None, sequence: int = 9
) -> list[Best]:
    views = cache.view(sequence)
    assert views is not None
    return best_rows(views, queries, limit, threshold)


def merged(parts: list[Best], limit: int) -> list[tuple[str, float]]:
    """Return the expected merge of sorted answers."""
    pairs = [pair for part in parts for pair in zip(part.scores, part.ids, strict=True)]
    return [(name, score) for score, name in sorted(pairs, key=lambda pair: (-pair[0], pair[1]))[:limit]]


@st.composite
def many_ties(draw: st.DrawFn) -> list[tuple[str, NDArray[np.float32]]]:
    """Documents of few different vectors: duplicates, opposites, neighbours one bit apart, mirror images."""
    dimension = draw(st.sampled_from([3, 8, 33]))
    basis = [vector_of(draw(st.integers(0, 3)), dimension) for _ in range(draw(st.integers(1, 4)))]
    documents = []
    for number in range(draw(st.integers(0, 60))):
        vector = basis[draw(st.integers(0, len(basis) - 1))].copy()
        change = draw(st.sampled_from(["none", "none", "none", "bit", "negated", "reversed"]))
        if change == "bit":
            vector[0] = np.nextafter(vector[0], np.float32(2))
        elif change == "negated":
            vector = -vector
        elif change == "reversed":
            vector = vector[::-1].copy()
        documents.append((draw(st.sampled_from(["", "é", "a\x00"])) + f"{(number * 37) % 101:03d}", vector))
    return documents


@settings(max_examples=150)
@given(data=st.data(), documents=many_ties(), limit=st.integers(1, 70), threshold=st.none() | st.floats(-1.1, 1.1))
def test_any_division_into_shards_merges_to_the_single_answer(
    data: st.DataObject, documents: list[tuple[str, NDArray[np.float32]]], limit: int, threshold: float | None
) -> None:
    dimension = len(documents[0][1]) if documents else 8
    queries = np.stack([vector_of(seed, dimension) for seed in (0, 1, 77)])
    single = best_of(cache_of(documents), queries, limit, threshold) if documents else None
    shards = data.draw(st.integers(1, 4))
    places = data.draw(st.lists(st.integers(0, shards - 1), min_size=len(documents), max_size=len(documents)))
    parts = []
    for shard in range(shards):
        mine = [each for each, place in zip(documents, places, strict=True) if place == shard]
        order = data.draw(st.permutations(mine))
        parts.append(best_of(cache_of(list(order), first_block_rows=4), queries, limit, threshold) if mine else None)
    for number in range(len(queries)):
        answers = [part[number] for part in parts if part is not None]
        expected = [] if single is None else list(zip(single[number].ids, single[number].scores, strict=True))
        assert merged(answers, limit) == expected


@settings(max_examples=60)
@given(documents=many_ties(), limit=st.integers(1, 70), threshold=st.none() | st.floats(-1.1, 1.1))
def test_the_best_are_those_of_a_plain_computation(
    documents: list[tuple[str, NDArray[np.float32]]], limit: int, threshold: float | None
) -> None:
    if not documents:
        return
    query = vector_of(1, len(documents[0][1]))
    (best,) = best_of(cache_of(documents), query[np.newaxis], limit, threshold)
    by_id = dict(documents)
    assert len(set(zip(best.rows, best.ids, strict=True))) == len(best.ids)
    for name, score in zip(best.ids, best.scores, strict=True):
        assert score == pytest.approx(true_cosine(query, by_id[name]), abs=1e-12)
        assert -1.0 <= score <= 1.0
    cosines = [true_cosine(query, vector) for _, vector in documents]
    surely = [each for each in cosines if threshold is None or each > threshold + 1e-12]
    possibly = [each for each in cosines if threshold is None or each > threshold - 1e-12]
    assert min(limit, len(surely)) <= len(best.ids) <= min(limit, len(possibly))
    np.testing.assert_allclose(best.scores, sorted(cosines, reverse=True)[: len(best.ids)], atol=1e-12)


@pytest.mark.parametrize("dimension", [16, 512, 1280])
def test_float32_never_hides_a_better_row(dimension: int) -> None:
    """Thousands of rows whose scores differ by less than float32 can tell: the best are still the true ones."""
    rng = np.random.default_rng(dimension)
    query = unit(rng.standard_normal(dimension))
    rows = (query + 3e-4 * rng.standard_normal((3000, dimension)) / np.sqrt(dimension)).astype(np.float64)
    vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    documents = [(f"{number:05d}", vector) for number, vector in enumerate(vectors)]
    (best,) = best_of(cache_of(documents), query[np.newaxis], 25)
    wide, given = vectors.astype(np.longdouble), query.astype(np.longdouble)
    cosines = (wide @ given) / np.sqrt((wide * wide).sum(axis=1) * (given @ given))
    assert len(np.unique(vectors @ query)) < 600, "float32 alone can't tell these rows apart"
    exact_order = np.argsort(-cosines, kind="stable")[:25]
    np.testing.assert_allclose(best.scores, cosines[exact_order].astype(np.float64), rtol=0, atol=1e-15)


@pytest.mark.parametrize("seed", range(20))
def test_a_vector_scores_exactly_one_with_itself_and_minus_one_with_its_opposite(seed: int) -> None:
    vector = vector_of(seed, 1280) * np.float32(1.0007)
    for length in (1, 4, 0.125):
        (best,) = best_of(
            cache_of([("same", vector), ("opposite", -vector)]), vector[np.newaxis] * np.float32(length), 2
        )
        assert best.scores == [1.0, -1.0]


def test_no_score_is_a_negative_zero() -> None:
    documents = [("a", np.asarray([1, 0], np.float32)), ("b", np.asarray([-1, 0], np.float32))]
    (best,) = best_of(cache_of(documents), np.asarray([[0, 1]], np.float32), 2)
    assert [str(score) for score in best.scores] == ["0.0", "0.0"]


def test_many_queries_over_many_rows_are_cut_into_bounded_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    import executors.index.embedded.search.exact as scoring

    documents = [(f"{n:04d}", vector_of(n, 16)) for n in range(1000)]
    queries = np.stack([vector_of(n, 16) for n in range(40)])
    whole = best_of(cache_of(documents), queries, 10)
    sizes = []
    original = scoring._approximate

    def noted(*arguments: object) -> NDArray[np.float32]:
        scores = original(*arguments)  # type: ignore[arg-type]  # passed through as they come
        sizes.append(scores.size)
        return scores

    monkeypatch.setattr(scoring, "_approximate", noted)
    monkeypatch.setattr(scoring, "_SCORES_AT_ONCE", 7000)
    monkeypatch.setattr(scoring, "_GATHERED_AT_ONCE", 64)
    assert best_of(cache_of(documents, first_block_rows=32), queries, 10) == whole
    assert sizes == [7000] * 5 + [5000]


@pytest.mark.parametrize("query", [[0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0]])
def test_a_query_without_direction_is_refused(query: list[float]) -> None:
    cache = cache_of([("a", unit([1, 1]))])
    with pytest.raises(VisualSearchError) as refused:
        best_of(cache, np.asarray([[1.0, 0.0], query], np.float32), 1)
    assert refused.value.code == "invalid_embedding"


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_finds_nothing(limit: int) -> None:
    (best,) = best_of(cache_of([("a", unit([1, 1]))]), np.asarray([[1.0, 0.0]], np.float32), limit)
    assert best.ids == []


def test_removed_rows_are_never_found_whatever_the_threshold() -> None:
    cache = cache_of([(str(n), unit([1, n + 1])) for n in range(6)])
    cache.remove(2, [1, 2, 3])
    for threshold in (None, -1.0, -5.0):
        (best,) = best_of(cache, np.asarray([[1.0, 0.0]], np.float32), 10, threshold)
        assert sorted(best.ids) == ["3", "4", "5"]
    (best,) = best_of(cache, np.asarray([[1.0, 0.0]], np.float32), 10, sequence=1)
    assert sorted(best.ids) == ["0", "1", "2", "3", "4", "5"]


def test_the_best_come_first_with_ties_by_id_and_no_negative_zero() -> None:
    found = [(0.0, "b", 1), (0.5, "d", 2), (-0.0, "a", 3), (0.5, "c", 4), (-1.0, "e", 5)]
    best = Best.of(found, 4)
    assert (best.rows, best.ids, best.scores) == ([4, 2, 3, 1], ["c", "d", "a", "b"], [0.5, 0.5, 0.0, 0.0])
    assert not np.signbit(best.scores).any()
    assert Best.of([], 4) == Best([], [], [])


def shown(views: list[View]) -> list[int]:
    rows: list[int] = []
    for view in views:
        numbers = view.block.rows[: view.count]
        rows.extend((numbers if view.gone is None else numbers[~view.gone]).tolist())
    return rows


@settings(deadline=None)
@given(
    st.sets(st.integers(1, 60), min_size=1),
    st.sets(st.integers(1, 60)),
    st.integers(0, 65),
    st.none() | st.sets(st.integers(0, 70)),
)
def test_what_is_left_is_what_was_asked_for(
    rows: set[int], removed: set[int], after: int, wanted: set[int] | None
) -> None:
    cache = VectorCache(8, first_block_rows=4)
    for row in sorted(rows):
        cache.add(1, [row], [str(row)], vectors_like([row]))
    cache.remove(2, sorted(removed))
    for sequence, live in ((1, rows), (2, rows - removed)):
        views = cache.view(sequence)
        assert views is not None
        given_rows = None if wanted is None else np.asarray(sorted(wanted), dtype=np.int64)
        chosen = selected_views(views, after, given_rows)
        assert shown(chosen) == sorted(row for row in live if row > after and (wanted is None or row in wanted))
        assert all(shown([each]) for each in chosen), "a block that can't have a hit is not compared"
        assert shown(views) == sorted(live), "the view stays as it was"
