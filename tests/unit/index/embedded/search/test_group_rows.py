"""The remaining rows after groups were found: every row of another group, and hardly more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executors.index.embedded.search.grouping import GroupRows
from executors.index.embedded.tags.filter_cache import FilterCache
from executors.index.tag_values import value_at, value_key
from tests.support.stores.indexed_tags import COLLECTION, NEIGHBOUR, TaggedDocuments, tags


@pytest.fixture
def shard(tmp_path: Path) -> Iterator[TaggedDocuments]:
    documents = TaggedDocuments(tmp_path)
    yield documents
    documents.connection.close()


def group_rows(shard: TaggedDocuments, path: str) -> GroupRows:
    return GroupRows(shard.connection, FilterCache(0), 0, COLLECTION, path)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(tags, max_size=12), st.data())
def test_no_row_of_another_group_is_left_out_and_the_index_knows_single_values(
    shard: TaggedDocuments, some: list[dict[str, Any]], data: st.DataObject
) -> None:
    shard.clear()
    for each in some:
        shard.add(each)
        shard.add(each, NEIGHBOUR)
    path = data.draw(st.sampled_from(["a", "b", "a.b", "a.b.a"]))
    seen = data.draw(st.sets(st.sampled_from(sorted(shard.documents)))) if some else set()
    groups: dict[int, Any] = {
        row: value for row, given_tags in shard.documents.items() for found, value in [value_at(given_tags, path)] if found
    }  # fmt: skip
    known = {value_key(groups[row]): groups[row] for row in seen if row in groups}
    remaining = group_rows(shard, path).remaining(None, sorted(seen), list(known.values())).tolist()
    assert not seen & set(remaining)
    others = {row for row, value in groups.items() if row not in seen and value_key(value) not in known}
    assert others <= set(remaining)
    for row in set(remaining) - others:
        # Only rows with arrays, objects, or values outside the index may remain although they add no group.
        assert holds_more_than_single_values(shard.documents[row])


def holds_more_than_single_values(value: Any) -> bool:
    return any(
        isinstance(each, list | dict) or (isinstance(each, int) and abs(each) >= 2**63) for each in value.values()
    )


def test_groups_of_few_values_leave_nothing(shard: TaggedDocuments) -> None:
    for n in range(60):
        shard.add({"brand": "abc"[n % 3], "n": n})
    shard.add({"n": 1})
    rows = group_rows(shard, "brand")
    assert rows.remaining(None, [1, 2], ["a", "b"]).tolist() == list(range(3, 61, 3))
    assert rows.remaining(None, [1], ["a", "b", "c"]).tolist() == []
    assert rows.remaining(np.array([2, 3, 61]), [1], ["a"]).tolist() == [2, 3]
    assert group_rows(shard, "nobody has it").remaining(None, [1], []).tolist() == []


def test_pictures_stand_with_what_came_from_them(shard: TaggedDocuments) -> None:
    """And a document with a parent of its own is in that parent's group alone."""
    for _ in range(8):
        shard.add({})
    for row, parent in [(2, "d1"), (3, "d1"), (5, "d4"), (6, "d5"), (7, "gone")]:
        shard.connection.execute("UPDATE documents SET parent = ? WHERE row = ?", (parent, row))
    rows = group_rows(shard, "parent")
    assert rows.remaining(None, [], []).tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert rows.remaining(None, [2], ["d1"]).tolist() == [4, 5, 6, 7, 8]
    assert rows.remaining(None, [], ["d5", "gone"]).tolist() == [1, 2, 3, 4, 5, 8]
    assert rows.remaining(None, [], [f"d{n}" for n in range(2000)]).tolist() == [7]
