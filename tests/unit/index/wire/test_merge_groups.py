"""Groups, chosen fields, vectors and plans: merged over shards as if there were one."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.documents import ImageDoc
from executors.gateway.flow.chunks import Answer
from executors.gateway.rendering import SEARCHED, documents_for_grpc, matches_of
from executors.index.records import Hits, ShardIdentity
from executors.index.tag_values import cut_tags, value_at, value_key
from executors.index.wire import merge
from executors.index.wire.columns import pack, unpack
from executors.index.wire.hits import hits_to_columns

GROUPS = st.sampled_from([None, True, False, 1, 1.0, 1.5, "1", "", [1, "a"], {"a": 1, "b": 2}, {"b": 2.0, "a": 1.0}])
ROWS = st.lists(
    st.tuples(st.sampled_from([0.1, 0.5, 0.9]), GROUPS, st.integers(0, 2)), max_size=12, unique_by=lambda row: id(row)
)
SETTINGS: dict[str, Any] = {"limit": st.integers(1, 5), "offset": st.integers(0, 4)}


def shard_answer(number: int, rows: list[tuple[str, float, Any]], *, limit: int, **options: Any) -> ImageDoc:
    """The answer of a shard: the best of each group, at most `limit` of them."""
    best: dict[str, tuple[str, float, Any]] = {}
    for row in sorted(rows, key=lambda row: (-row[1], row[0])):
        best.setdefault(value_key(row[2]), row)
    kept = list(best.values())[:limit]
    n = len(kept)
    hits = Hits(
        [row[0] for row in kept],
        [row[1] for row in kept],
        ["1"] * n,
        [f"uri of {row[0]}" for row in kept],
        [{"id": row[0], "deep": {"a": 1, "b": [{"c": 2, "d": 3}]}} for row in kept],
        ["p"] * n,
        [(1.0, 2.0, 3.0, 4.0)] * n,
        groups=[row[2] for row in kept],
        embeddings=[np.full(3, row[1], np.float32) for row in kept],
        plan={"kind": "exact", "rows": len(rows)},
    )
    packed = pack(ShardIdentity("u", number, 3), hits_to_columns(hits, **options))
    return ImageDoc.from_values(id="q", hits=packed)


def merged(answers: list[ImageDoc], limit: int, offset: int) -> ImageDoc:
    def merge_one(documents: Any, columns: Any) -> ImageDoc:
        return merge.merge_search(documents, columns, limit=limit, offset=offset)

    return merge.merge_shards([[each] for each in answers], merge_one)[0]


@given(rows=ROWS, **SETTINGS)
def test_groups_over_three_shards_are_those_of_one(rows: list[tuple[float, Any, int]], limit: int, offset: int) -> None:
    named = [(f"d{n:02}", score, group) for n, (score, group, _) in enumerate(rows)]
    spread = [[row for row, (_, _, shard) in zip(named, rows, strict=True) if shard == n] for n in range(3)]
    answers = [shard_answer(n, some, limit=limit + offset) for n, some in enumerate(spread)]
    expected: dict[str, tuple[str, float, Any]] = {}
    for row in sorted(named, key=lambda row: (-row[1], row[0])):
        expected.setdefault(value_key(row[2]), row)
    found = matches_of(merged(answers, limit, offset))
    assert [(each["id"], each["score"]) for each in found] == [
        row[:2] for row in list(expected.values())[offset : offset + limit]
    ]


def test_values_are_one_group_when_they_are_equal_as_json() -> None:
    assert value_key(1) == value_key(1.0)
    assert value_key({"a": 1, "b": [2.0]}) == value_key({"b": [2], "a": 1.0})
    assert len({value_key(each) for each in (1, True, "1", None, [1], 1.5, "")}) == 7
    assert value_key(1e300) == value_key(1e300)


def test_a_vector_comes_out_as_it_went_in() -> None:
    match = matches_of(merged([shard_answer(0, [("a", 0.1, 1)], limit=9)], 9, 0))[0]
    np.testing.assert_array_equal(match["embedding"], np.full(3, 0.1, np.float32))
    assert match["embedding"].dtype == np.float32
    document = documents_for_grpc(SEARCHED, Answer([merged([shard_answer(0, [("a", 0.1, 1)], limit=9)], 9, 0)]))[0]
    assert document.matches[0].embedding == [float(np.float32(0.1))] * 3
    assert document.matches[0].group == 1


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], {}),
        (["uri"], {"uri": "uri of a"}),
        (["tags"], {"tags": {"id": "a", "deep": {"a": 1, "b": [{"c": 2, "d": 3}]}}}),
        (["tags.id", "box"], {"tags": {"id": "a"}, "box": [1.0, 2.0, 3.0, 4.0]}),
        (["tags.deep.b.d", "tags.nothing"], {"tags": {"deep": {"b": [{"d": 3}]}}}),
        (
            ["tags", "tags.id", "parent"],
            {"tags": {"id": "a", "deep": {"a": 1, "b": [{"c": 2, "d": 3}]}}, "parent": "p"},
        ),
    ],
    ids=str,
)
def test_only_the_chosen_fields_leave_the_shard(fields: list[str], expected: dict[str, Any]) -> None:
    answer = shard_answer(0, [("a", 0.5, "g")], limit=5, fields=fields)
    for left_out in {"uris", "tags", "parents", "boxes"} - {"uris", "tags", "parents", "boxes"}.intersection(
        {"uri": "uris", "tags": "tags", "parent": "parents", "box": "boxes"}[name] for name in expected
    ):
        assert left_out not in unpack(answer)
    match = matches_of(merged([answer], 5, 0))[0]
    del match["embedding"]
    assert match == {"id": "a", "score": 0.5, "group": "g"} | expected


def test_a_key_with_dots_is_found_by_its_own_name() -> None:
    assert cut_tags({"a.b": 1, "a": {"b": 2, "c": 3}}, ["a.b"]) == {"a.b": 1, "a": {"b": 2}}
    assert cut_tags({"a": 1, "ab": 2}, ["a.b"]) == {}


def test_the_plan_of_every_shard_is_told_when_it_is_asked_for() -> None:
    answers = [shard_answer(n, [(f"d{n}", 0.5, n)], limit=5, explain=True) for n in (2, 0, 1)]
    plans = unpack(merged(answers, 5, 0))["plans"]
    assert plans == [{"shard": n, "kind": "exact", "rows": 1} for n in range(3)]
    assert "plans" not in unpack(merged([shard_answer(0, [], limit=5)], 5, 0))


def test_what_a_delete_removed_with_a_document_is_gathered_from_all_shards() -> None:
    def answer(number: int, result: str, descendants: list[str]) -> ImageDoc:
        hits = pack(ShardIdentity("u", number, 2), {"digest": "", "descendants": descendants})
        return ImageDoc.from_values(id="p", result=result, hits=hits)

    both = [[answer(0, "not_found", ["b", "c"])], [answer(1, "deleted", ["a"])]]
    document = merge.merge_shards(both, merge.merge_write)[0]
    assert document.result == "deleted"
    assert orjson.loads(document.hits or b"")["descendants"] == ["a", "b", "c"]


def test_reports_are_added_up_and_a_shard_that_lacks_the_collection_adds_nothing() -> None:
    def answer(number: int, columns: dict[str, Any] | None) -> ImageDoc:
        identity = ShardIdentity("u", number, 2)
        if columns is None:
            from executors.documents import Failure

            error = Failure(code="collection_not_found", message="m")
            return ImageDoc.from_values(id="r", hits=pack(identity, {}), error=error)
        return ImageDoc.from_values(id="r", hits=pack(identity, columns))

    def together(merge_one: Any, *columns: dict[str, Any] | None) -> ImageDoc:
        return merge.merge_shards([[answer(n, each)] for n, each in enumerate(columns)], merge_one)[0]

    assert unpack(together(merge.merge_count, {"count": 2}, {"count": 3}))["count"] == 5
    assert unpack(together(merge.merge_count, {"count": 2}, None))["count"] == 2
    assert together(merge.merge_count, None, None).error is not None
    assert unpack(together(merge.merge_removed, {"ids": ["b"]}, {"ids": ["a"]}))["ids"] == ["a", "b"]
    assert unpack(together(merge.merge_drop, {"documents": 0}, {"documents": None}))["documents"] == 0
    assert unpack(together(merge.merge_drop, {"documents": None}, {"documents": None}))["documents"] is None


def test_a_value_is_found_at_its_path_whatever_its_keys_are_called() -> None:
    tags = {"": {"": {"a": 1}, "a": 2}, "a": {"b.c": 3, "": {"b": 4}}, "a.b": {"c": 5}}
    assert [value_at(tags, path) for path in ("..a", ".a", "a.b.c", "a..b", "a.b")] == [
        (True, 1),
        (True, 2),
        (True, 3),
        (True, 4),
        (True, {"c": 5}),
    ]
    assert [value_at(tags, path)[0] for path in ("...", "a.", "b", "..b")] == [False, True, False, False]
