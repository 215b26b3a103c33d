"""The contract of a store, part six: groups, effort, embeddings, and the structure that searches use. `Store` alone."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from numpy.typing import NDArray

from executors.index.store import Store
from tests.support.stores.records import (
    DIMENSION,
    IMAGES,
    Harness,
    axis,
    found,
    key,
    prepared,
    record,
    results,
    true_cosine,
    unit,
    vector_of,
    where,
)


def at(angle: float) -> NDArray[np.float32]:
    """A vector whose cosine with the first axis falls with the angle (radians)."""
    return unit([np.cos(angle), np.sin(angle), 0, 0, 0, 0, 0, 0])


def near(number: int, n: int) -> NDArray[np.float32]:
    """The n-th of many vectors near an axis, no two alike."""
    return unit(axis(number) + 0.02 * vector_of(10_000 + n))


class SearchContract:
    """See `store_contract.StoreContract`, which needs the fixture `harness`."""

    # --- groups

    async def test_each_group_shows_its_best_hit_and_the_value_as_stored(self, harness: Harness) -> None:
        store = await prepared(harness)
        values = ["x", "y", "x", 1, True, "1", None, [1, 2], {"k": [1]}, [1, 2], None, {"k": [1]}, [2, 1], 1.5]
        await store.put([record(f"{n:02d}", embedding=at(0.1 * n), tags={"t": v}) for n, v in enumerate(values)])
        await store.put([record("none", embedding=axis(0), tags={"u": "x"})])
        hits = await found(store, axis(0), limit=50, group_by="t")
        best = [0, 1, 3, 4, 5, 6, 7, 8, 12, 13]
        assert hits.ids == [f"{n:02d}" for n in best]
        assert hits.groups is not None
        assert [(type(each), each) for each in hits.groups] == [(type(values[n]), values[n]) for n in best]
        assert hits.scores == pytest.approx([float(np.cos(0.1 * n)) for n in best], abs=1e-6)
        assert hits.tags == [{"t": values[n]} for n in best]
        assert (await found(store, axis(0))).groups is None

    async def test_equal_numbers_are_one_group(self, harness: Harness) -> None:
        store = await prepared(harness)
        values = [1.0, 1, True, 2, 2.0, 0, -0.0]
        await store.put([record(f"{n}", embedding=at(0.1 * n), tags={"t": v}) for n, v in enumerate(values)])
        assert (await found(store, axis(0), group_by="t")).ids == ["0", "2", "3", "5"]

    async def test_groups_are_looked_up_by_a_path(self, harness: Harness) -> None:
        store = await prepared(harness)
        tags = [{"a": {"b": {"c": 1}}}, {"a": {"b": 2}}, {"a.b": {"c": 1}}, {"a": {"b.c": 3}}, {"a": [{"b": {"c": 1}}]}]
        await store.put([record(f"{n}", embedding=at(0.1 * n), tags=each) for n, each in enumerate(tags)])
        hits = await found(store, axis(0), group_by="a.b.c")
        assert (hits.ids, hits.groups) == (["0", "3"], [1, 3])

    async def test_parents_and_what_came_from_them_are_one_group(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put(
            [
                record("crop 1", embedding=at(0.0), parent="picture"),
                record("picture", embedding=at(0.1)),
                record("crop 2", embedding=at(0.2), parent="picture"),
                record("alone", embedding=at(0.3)),
                record("orphan", embedding=at(0.4), parent="never there"),
            ]
        )
        hits = await found(store, axis(0), group_by="parent")
        assert (hits.ids, hits.groups) == (["crop 1", "alone", "orphan"], ["picture", "alone", "never there"])
        assert hits.parents == ["picture", None, "never there"]

    async def test_the_search_widens_until_there_are_enough_groups(self, harness: Harness) -> None:
        """One group holds the best 300 hits: the others are found all the same."""
        store = await prepared(harness)
        crowd = [record(f"crowd {n:03d}", embedding=at(0.001 * n), tags={"g": "crowd"}) for n in range(300)]
        others = [record(f"other {n}", embedding=at(1.0 + 0.1 * n), tags={"g": f"other {n}"}) for n in range(5)]
        await store.put([*crowd, *others, *[record(f"none {n}", embedding=at(0.5), tags={}) for n in range(50)]])
        await harness.settle(store)
        names = ["crowd 000", *[f"other {n}" for n in range(5)]]
        for limit in (1, 2, 5, 6, 7, 100):
            for exact in (True, False):
                hits = await found(store, axis(0), limit=limit, group_by="g", exact=exact)
                assert hits.ids == names[:limit]
                assert hits.groups == ["crowd", *names[1:]][:limit]
        assert (await found(store, axis(0), group_by="g", threshold=float(np.cos(1.15)))).ids == names[:3]
        kept = where({"g": {"$in": ["other 3", "other 4"]}})
        assert (await found(store, axis(0), group_by="g", where=kept)).ids == names[4:]
        assert (await found(store, axis(0), group_by="absent")).ids == []

    # --- a document that is not to be found

    async def test_a_document_that_is_left_out_makes_room_for_another(self, harness: Harness) -> None:
        store = await prepared(harness)
        crowd = [record(f"{n:03d}", embedding=at(0.002 * n), tags={"g": n // 3, "n": n}) for n in range(300)]
        await store.put(crowd)
        await harness.settle(store)
        names = [each.id for each in crowd]
        for left_out in ("000", "001", "004", "299", "nobody"):
            others = [name for name in names if name != left_out]
            for exact in (True, False):
                for limit in (1, 5, 299, 400):
                    hits = await found(store, axis(0), limit=limit, without=[left_out], exact=exact)
                    assert hits.ids == others[:limit], (left_out, limit)
                for limit in (1, 3, 200):
                    groups = await found(store, axis(0), limit=limit, without=[left_out], group_by="g", exact=exact)
                    firsts = {int(name) // 3: name for name in reversed(others)}
                    assert groups.ids == list(firsts.values())[::-1][:limit], (left_out, limit)
            few = where({"n": {"$lt": 6}})
            expected = [name for name in others if name < "006"]
            assert (await found(store, axis(0), limit=9, without=[left_out], where=few)).ids == expected
        assert (await found(store, axis(0), threshold=0.9999999, without=["000"])).ids == []

    # --- bounds

    async def test_the_best_hits_below_an_upper_bound_are_found_however_many_are_above_it(
        self, harness: Harness
    ) -> None:
        store = await prepared(harness)
        crowd = [record(f"{n:03d}", embedding=at(0.004 * n), tags={"g": n // 3, "n": n}) for n in range(300)]
        await store.put(crowd)
        await harness.settle(store)
        for first in (0, 1, 10, 150, 298, 299):
            bounds = {"ceiling": float(np.cos(0.004 * first - 0.002)) if first else 1.0}
            names = [f"{n:03d}" for n in range(first, 300)]
            for exact in (True, False):
                for limit in (1, 7, 400):
                    hits = await found(store, axis(0), limit=limit, exact=exact, **bounds)
                    assert hits.ids == names[:limit], (first, limit, exact)
                    assert all(score <= bounds["ceiling"] for score in hits.scores)
                groups = await found(store, axis(0), limit=50, exact=exact, group_by="g", **bounds)
                firsts = {int(name) // 3: name for name in reversed(names)}
                assert groups.ids == list(firsts.values())[::-1][:50], first
                left_out = await found(store, axis(0), limit=5, exact=exact, without=names[:2], **bounds)
                assert left_out.ids == names[2:7]
                odd = where({"n": {"$in": list(range(1, 300, 2))}})
                assert (await found(store, axis(0), limit=4, exact=exact, where=odd, **bounds)).ids == [
                    name for name in names if int(name) % 2
                ][:4]
                lower = float(np.cos(0.004 * (first + 3) - 0.002))
                band = await found(store, axis(0), limit=9, threshold=lower, exact=exact, **bounds)
                assert band.ids == names[:3]
        assert (await found(store, axis(0), ceiling=-0.5)).ids == []

    async def test_both_bounds_are_inclusive(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([record(f"{n:03d}", seed=n) for n in range(50)])
        await harness.settle(store)
        hits = await found(store, vector_of(3), limit=50)
        middle = hits.scores[20]
        for exact in (True, False):
            only = await found(store, vector_of(3), limit=50, threshold=middle, ceiling=middle, exact=exact)
            assert (only.ids, only.scores) == ([hits.ids[20]], [middle])

    # --- effort and fields

    async def test_embeddings_come_with_the_hits_only_when_asked_for(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([record(f"{n:02d}", seed=n) for n in range(50)])
        await harness.settle(store)
        assert (await found(store, vector_of(3))).embeddings is None
        hits = await found(store, vector_of(3), limit=7, embedding=True, group_by="parent")
        assert hits.embeddings is not None
        for name, embedding in zip(hits.ids, hits.embeddings, strict=True):
            assert embedding.dtype == np.float32
            np.testing.assert_array_equal(embedding, vector_of(int(name)))
        assert (await found(store, vector_of(3), limit=0, embedding=True)).embeddings == []

    async def test_exact_and_effort_find_the_same_here(self, harness: Harness) -> None:
        """So few documents are found completely with every effort: the candidates are approximate, the scores never."""
        store = await prepared(harness)
        await store.put([record(f"{n:03d}", seed=n) for n in range(300)])
        await harness.settle(store)
        for seed in range(1000, 1010):
            query = vector_of(seed)
            expected = sorted(range(300), key=lambda n: (-true_cosine(query, vector_of(n)), f"{n:03d}"))[:10]
            names = [f"{n:03d}" for n in expected]
            scores = [true_cosine(query, vector_of(n)) for n in expected]
            for effort in ({"exact": True}, {}, {"ef": 300}, {"exact": True, "ef": 1}, {"ef": 10_000}):
                hits = await found(store, query, limit=10, **effort)
                assert hits.ids == names, effort
                assert hits.scores == pytest.approx(scores, abs=1e-6)
            few = await found(store, query, limit=10, ef=1)
            assert len(few.ids) == 10
            assert few.scores == pytest.approx([true_cosine(query, vector_of(int(n))) for n in few.ids], abs=1e-6)

    async def test_copies_of_one_picture_hide_no_other(self, harness: Harness) -> None:
        """A library may hold the same placeholder hundreds of times: the other pictures are still found."""
        store = await prepared(harness)
        order = np.random.default_rng(0).permutation(400).tolist()
        await store.put([record(f"{n:03d}", seed=n if n < 150 else 10_000) for n in order])
        await harness.settle(store)
        for n in range(150):
            assert (await found(store, vector_of(n), limit=1)).ids == [f"{n:03d}"]
        assert (await found(store, vector_of(10_000), limit=3)).ids == ["150", "151", "152"]

    async def test_a_plan_is_told_and_is_no_part_of_the_answer(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([record("a"), record("b", seed=1)])
        one, other = [await found(store, vector_of(0)) for _ in range(2)]
        assert one == other
        assert isinstance(one.plan, dict)

    # --- the structure that searches use

    async def test_fresh_changes_are_seen_whatever_is_built_meanwhile(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([record(f"{n:03d}", 1, seed=n) for n in range(200)])
        for turn in range(4):
            await store.reindex(None if turn % 2 else IMAGES.name)
            for n in range(turn * 40, turn * 40 + 20):
                await store.put(
                    [record(f"{n:03d}", 2, embedding=near(0, n)), record(f"new {n}", 2, embedding=near(1, n))]
                )
                await store.delete([key(f"{n + 20:03d}", 2)])
                assert f"{n:03d}" in (await found(store, axis(0), limit=1000, threshold=0.999)).ids
                assert f"new {n}" in (await found(store, axis(1), limit=1000, threshold=0.999)).ids
                assert f"{n + 20:03d}" not in (await found(store, vector_of(n + 20), limit=3)).ids
        await harness.settle(store)
        await expect_truth(store, [*[(f"{n:03d}", seed) for n, seed in _after_the_turns()]])
        assert list((await store.verify()).faults) == []

    async def test_reindex_changes_no_answer(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([record(f"{n:03d}", seed=n) for n in range(150)])
        await store.delete([key(f"{n:03d}", 2) for n in range(0, 150, 2)])
        await store.reindex("nowhere")
        before = [await found(store, vector_of(seed), limit=20) for seed in range(300, 310)]
        await store.reindex()
        during = [await found(store, vector_of(seed), limit=20) for seed in range(300, 310)]
        await harness.settle(store)
        after = [await found(store, vector_of(seed), limit=20) for seed in range(300, 310)]
        assert before == during == after
        await store.close()
        store = await harness.open()
        assert [await found(store, vector_of(seed), limit=20) for seed in range(300, 310)] == before

    async def test_repair_finds_nothing_to_mend_in_a_sound_shard(self, harness: Harness) -> None:
        store = await prepared(harness)
        await store.put([record(f"{n:03d}", seed=n, tags={"x": [n, str(n)]}) for n in range(100)])
        await store.delete([key(f"{n:03d}", 2) for n in range(50)])
        await harness.settle(store)
        report = await store.verify(repair=True)
        assert (list(report.faults), list(report.repaired), report.documents) == ([], [], 50)

    async def test_every_document_can_be_removed_and_written_anew(self, harness: Harness) -> None:
        """A structure with no documents left, or only removed ones, still works."""
        store = await prepared(harness)
        for turn in range(3):
            number = 10 * turn + 1
            await store.put([record(f"{n:03d}", number, seed=n + turn) for n in range(60)])
            await harness.settle(store)
            assert (await found(store, vector_of(5 + turn), limit=1)).ids == ["005"]
            await store.delete([key(f"{n:03d}", number + 1) for n in range(60)])
            assert (await found(store, vector_of(5), limit=10)).ids == []
            await harness.settle(store)
            assert (await found(store, vector_of(5), limit=10)).ids == []
            await store.close()
            store = await harness.open()
            assert (await found(store, vector_of(5), limit=10)).ids == []
        assert list((await store.verify()).faults) == []

    async def test_searches_of_all_kinds_run_beside_writes(self, harness: Harness) -> None:
        store = await prepared(harness)
        kept = [f"kept {n:02d}" for n in range(40)]
        await store.put([record(name, seed=n, tags={"kept": True, "g": n % 4}) for n, name in enumerate(kept)])
        done = asyncio.Event()

        async def ask() -> int:
            turns = 0
            while not done.is_set():
                query = vector_of(turns)
                hits = await found(store, query, limit=100, where=where({"kept": True}), exact=turns % 2 == 0)
                assert sorted(hits.ids) == kept
                groups = await found(store, query, limit=9, group_by="g", where=where({"kept": True}))
                assert sorted(groups.groups or []) == [0, 1, 2, 3]
                assert await store.count(IMAGES.name, where({"kept": True})) == 40
                hits = await found(store, query, limit=3)
                assert len(set(hits.ids)) == 3
                turns += 1
            return turns

        async def write() -> None:
            for number in range(2, 30):
                await store.put([record(f"other {n}", number, seed=100 + n + number) for n in range(25)])
                outcomes = await store.delete([key(f"other {n}", number + 1000 * (n % 2)) for n in range(25)])
                assert set(results(outcomes)) <= {"deleted", "stale_version", "not_found"}
            done.set()

        turns = await asyncio.gather(ask(), ask(), write())
        assert turns[0]
        assert list((await store.verify()).faults) == []


def _after_the_turns() -> list[tuple[int, int | None]]:
    """The documents of the test above by number, with the seed of their vector (None: the first axis)."""
    kept: list[tuple[int, int | None]] = []
    for n in range(200):
        place = n % 40
        if n < 160 and place < 20:
            kept.append((n, None))
        elif n >= 160:
            kept.append((n, n))
    return kept


async def expect_truth(store: Store, expected: list[tuple[str, int | None]]) -> None:
    """The documents are there with these vectors, and searches find exactly the best of all of them."""
    names = [name for name, _ in expected]
    got = await store.get(IMAGES.name, names, embedding=True)
    for (name, seed), document in zip(expected, got, strict=True):
        assert document is not None, name
        np.testing.assert_array_equal(document.embedding, near(0, int(name)) if seed is None else vector_of(seed))
    everything = await store.scroll(IMAGES.name, limit=10_000, embedding=True)
    vectors = np.stack([each.embedding for each in everything if each.embedding is not None]).astype(np.float64)
    for seed in range(5000, 5005):
        query = vector_of(seed, DIMENSION)
        scores = np.sort(vectors @ query.astype(np.float64))[::-1]
        hits = await found(store, query, limit=15)
        assert hits.scores == pytest.approx(scores[:15].tolist(), abs=1e-5)
