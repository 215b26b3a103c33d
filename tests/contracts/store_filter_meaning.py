"""The contract of a store, part eight: random filters over random tags, against an evaluator of the tests' own."""

from __future__ import annotations

from typing import ClassVar

import pytest

from executors.index.store import Store
from tests.support.stores.filter_meaning import documents, filters, holds
from tests.support.stores.records import IMAGES, Harness, found, prepared, record, tag_update, vector_of, where

_DOCUMENTS = 120


class FilterMeaningContract:
    """See `store_contract.StoreContract`, which needs the fixture `harness`."""

    # How many filters the short form tries, and the long one.
    filters_tried: ClassVar[tuple[int, int]] = (1_500, 5_000)

    async def test_random_filters_find_what_the_readme_says(self, harness: Harness) -> None:
        await check_random_filters(harness, seed=1, count=self.filters_tried[0])

    @pytest.mark.slow
    @pytest.mark.parametrize("seed", [2, 3])
    async def test_many_random_filters_find_what_the_readme_says(self, harness: Harness, seed: int) -> None:
        await check_random_filters(harness, seed, self.filters_tried[1])


async def check_random_filters(harness: Harness, seed: int, count: int) -> None:
    """Also after the tags of some documents were changed, when cached answers are updated."""
    store = await prepared(harness)
    tags = documents(seed, _DOCUMENTS)
    await store.put([record(name, seed=n, tags=each) for n, (name, each) in enumerate(tags.items())])
    await harness.settle(store)
    given = list(filters(seed, count // 2))
    await _check(store, tags, given)
    changed = dict(zip(list(tags)[::3], documents(seed + 1_000, _DOCUMENTS).values(), strict=False))
    await store.update([tag_update(name, 2, each, "replace") for name, each in changed.items()])
    await harness.settle(store)
    await _check(store, tags | changed, [*given[: count // 8], *filters(seed + 2_000, count // 2)])


async def _check(store: Store, tags: dict[str, dict[str, object]], given: list[dict[str, object]]) -> None:
    for number, each in enumerate(given):
        expected = [name for name, some in tags.items() if holds(each, some)]
        page = await store.scroll(IMAGES.name, limit=len(tags) + 1, where=where(each))
        assert [document.id for document in page] == expected, each
        if number % 10 == 0:
            hits = await found(store, vector_of(99), limit=len(tags) + 1, where=where(each))
            assert sorted(hits.ids) == expected, each
            assert await store.count(IMAGES.name, where(each)) == len(expected), each
