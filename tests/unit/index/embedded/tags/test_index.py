"""The tag index gives exactly the documents that match, for any tags and filters."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executors.index.embedded.tags import postings as posting
from executors.index.embedded.tags import query as tag_query
from executors.index.embedded.tags.entries import DIGEST, cut, entries_of
from executors.index.embedded.tags.index import TagWriter
from executors.index.embedded.tags.query import all_rows, matching_rows, rows_that_match
from executors.index.embedded.tags.rowsets import as_rowset, difference, intersection, union
from executors.index.embedded.upkeep.verify import tag_faults
from executors.index.filters import And, Range, parse_filter
from tests.support.stores.indexed_tags import COLLECTION, LONG, NEIGHBOUR, TaggedDocuments, filters, tags
from tests.unit.index.test_filters import MEANINGS

RELAXED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def shard(tmp_path: Path) -> Iterator[TaggedDocuments]:
    documents = TaggedDocuments(tmp_path)
    yield documents
    documents.connection.close()


def found(shard: TaggedDocuments, where: Any) -> list[int]:
    rows = matching_rows(shard.connection, COLLECTION, parse_filter(where))
    assert rows.dtype == np.int64
    return rows.tolist()


def no_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the index alone has to give the answer."""

    def refuse(connection: sqlite3.Connection, collection: int, rows: Any, where: Any) -> Any:
        assert not len(rows), "the tags were asked"
        return rows

    monkeypatch.setattr(tag_query, "rows_that_match", refuse)


@RELAXED
@given(st.lists(tags, max_size=12), st.lists(filters, min_size=1, max_size=8), st.sampled_from([0, 2, 4_096]))
def test_the_index_finds_exactly_what_matches(
    shard: TaggedDocuments, some: list[dict[str, Any]], wheres: list[Any], most_checked: int
) -> None:
    shard.clear()
    for each in some:
        shard.add(each)
        shard.add(each, NEIGHBOUR)
    # Either way to narrow an `And` down has to give the same.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tag_query, "_MOST_CHECKED", most_checked)
        for where in wheres:
            assert found(shard, where) == shard.expected(parse_filter(where)), where
    assert tag_faults(shard.connection) == []


@RELAXED
@given(st.lists(tags, min_size=2, max_size=6), st.data())
def test_changed_and_removed_documents_leave_no_entry_behind(
    shard: TaggedDocuments, some: list[dict[str, Any]], data: st.DataObject
) -> None:
    shard.clear()
    rows = [shard.add(each) for each in some]
    for row in rows:
        shard.change(row, data.draw(tags))
    where = data.draw(filters)
    assert found(shard, where) == shard.expected(parse_filter(where))
    assert tag_faults(shard.connection) == []
    for row in rows:
        shard.remove(row)
    assert shard.entries() == 0


@pytest.mark.parametrize("most_checked", [0, 4_096])
@pytest.mark.parametrize(("where", "match", "differ"), MEANINGS, ids=lambda value: repr(value)[:60])
def test_the_index_means_what_the_table_says(
    shard: TaggedDocuments,
    where: dict[str, Any],
    match: list[dict[str, Any]],
    differ: list[dict[str, Any]],
    most_checked: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tag_query, "_MOST_CHECKED", most_checked)
    rows = [shard.add(each) for each in match]
    for each in differ:
        shard.add(each)
    assert found(shard, where) == rows


@pytest.mark.parametrize(
    "where", [Range("a"), Range("a", 1, "x"), Range("a", "x", 1), Range("a", 1, 1), Range("a", 5, 1)]
)
def test_ranges_that_no_request_can_ask_for_mean_the_same_too(shard: TaggedDocuments, where: Range) -> None:
    each: Any
    for each in (None, True, 1, 3, "x", "y", LONG + "abcdefg", [], {}, [1, "x"]):
        shard.add({"a": each})
    assert matching_rows(shard.connection, COLLECTION, where).tolist() == shard.expected(where)


def test_numbers_are_compared_exactly(shard: TaggedDocuments, monkeypatch: pytest.MonkeyPatch) -> None:
    edge = 2**53
    numbers = [edge - 1, edge, float(edge), math.nextafter(edge, math.inf), -edge, 0.1 + 0.2, 0.3, 2**62, 2**62 + 1]
    rows = {number: shard.add({"n": number}) for number in numbers}
    no_checks(monkeypatch)
    assert found(shard, {"n": edge}) == [2, 3]
    assert found(shard, {"n": {"$gt": edge}}) == [4, rows[2**62], rows[2**62 + 1]]
    assert found(shard, {"n": 0.3}) == [rows[0.3]]
    assert found(shard, {"n": float(2**62)}) == [rows[2**62]]


def test_text_of_any_length_is_told_apart(shard: TaggedDocuments, monkeypatch: pytest.MonkeyPatch) -> None:
    same = "y" * 10_000
    rows = [shard.add({"t": same + end}) for end in ("", "a", "b", "a\x00")]
    no_checks(monkeypatch)
    for row, end in zip(rows, ("", "a", "b", "a\x00"), strict=True):
        assert found(shard, {"t": same + end}) == [row]
    assert found(shard, {"t": "y" * 250}) == []
    assert found(shard, {"t": {"$gt": "y", "$lt": "yz"}}) == rows


def test_long_bounds_are_settled_by_the_tags_themselves(shard: TaggedDocuments) -> None:
    rows = [shard.add({"t": LONG + end}) for end in ("aaaa1", "aaaa2", "aaaa3", "b")]
    assert found(shard, {"t": {"$gte": LONG + "aaaa2"}}) == rows[1:]
    assert found(shard, {"t": {"$gt": LONG + "aaaa1", "$lt": LONG + "aaaa3"}}) == [rows[1]]


def test_a_document_beyond_the_bounds_is_not_indexed_and_is_still_found(shard: TaggedDocuments) -> None:
    beyond: list[dict[str, Any]] = [
        {"n": list(range(2_000))},
        {"k" * 600: 5},
        {"n": 2**64 - 1},
        {str(n): n for n in range(1_001)},
    ]
    assert [entries_of(each) for each in beyond] == [None] * 4
    rows = [shard.add(each) for each in beyond]
    assert shard.entries() == len(rows), "one mark each"
    other = shard.add({"n": 1_999})
    assert found(shard, {"n": 1_999}) == [rows[0], other]
    assert found(shard, {"n": {"$ne": 1_999}}) == rows[1:]
    assert found(shard, {"k" * 600: 5}) == [rows[1]]
    assert found(shard, {"n": {"$gt": 2**53}}) == [rows[2]]
    assert found(shard, {"$or": [{"1000": 1_000}, {"n": 1_998}]}) == [rows[0], rows[3]]
    for row in rows:
        shard.remove(row)
    assert found(shard, {"$not": {"zzz": 1}}) == [other]


def test_one_document_costs_a_bounded_number_of_bytes() -> None:
    largest = entries_of({f"k{n}": "é" * 5_000 + str(n) for n in range(500)})
    assert largest is not None
    assert len(largest) == 1_000
    assert all(len(value.encode()) <= 250 for _, _, value in largest if isinstance(value, str))
    assert sum(kind == DIGEST for _, kind, _ in largest) == 500


@pytest.mark.parametrize("text", ["", "abc", "a" * 300, "é" * 300, "€" * 300, "\U0001f431" * 300, "a" * 249 + "é"])
def test_text_is_cut_at_the_boundary_of_a_character(text: str) -> None:
    head = cut(text, 250)
    assert text.startswith(head)
    assert len(head.encode()) <= 250
    assert head == text or len(head.encode()) >= 247


def test_two_bounds_on_a_path_are_read_as_one_range(shard: TaggedDocuments, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [shard.add({"n": n}) for n in range(100)]
    array = shard.add({"n": [0, 99]})
    where = parse_filter({"n": {"$gte": 40, "$lt": 43}})
    assert isinstance(where, And)
    asked: list[Any] = []

    def noted(connection: Any, collection: int, condition: Any) -> list[posting.Posting]:
        asked.append(condition)
        return posting.postings_of(connection, collection, condition)

    monkeypatch.setattr(tag_query, "postings_of", noted)
    assert found(shard, {"n": {"$gte": 40, "$lt": 43}}) == [*rows[40:43], array]
    assert set(asked) == {Range("n", 40, 43, True, False)}


def test_a_few_candidates_are_asked_instead_of_reading_the_rest_of_the_index(
    shard: TaggedDocuments, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(2_000):
        shard.add({"n": n, "even": n % 2 == 0})
    checked: list[int] = []

    def spy(connection: sqlite3.Connection, collection: int, rows: Any, where: Any) -> Any:
        checked.append(len(rows))
        return rows_that_match(connection, collection, rows, where)

    monkeypatch.setattr(tag_query, "rows_that_match", spy)
    assert found(shard, {"even": True, "n": {"$in": [4, 5]}}) == [5]
    assert checked == [2]
    assert found(shard, {"even": True, "n": {"$lt": 1_000}}) == list(range(1, 1_001, 2))
    assert checked == [2]


def test_documents_of_a_collection_are_listed_from_the_covering_index(shard: TaggedDocuments) -> None:
    rows = [shard.add({}) for _ in range(5)]
    shard.add({}, NEIGHBOUR)
    shard.remove(rows.pop(2))
    assert all_rows(shard.connection, COLLECTION).tolist() == rows
    plan = shard.connection.execute(
        "EXPLAIN QUERY PLAN SELECT row FROM documents WHERE collection = 1 ORDER BY row"
    ).fetchall()
    assert [step[3] for step in plan] == [
        "SEARCH documents USING COVERING INDEX documents_by_collection (collection=?)"
    ]


def test_a_rollback_takes_new_paths_back(shard: TaggedDocuments) -> None:
    shard.connection.execute("BEGIN IMMEDIATE")
    shard.add({"first": 1})
    shard.connection.execute("ROLLBACK")
    shard.documents.clear()
    row = shard.add({"second": 1})
    assert found(shard, {"second": 1}) == [row]
    assert found(shard, {"first": 1}) == []


def test_the_paths_of_a_collection_are_forgotten_alone(shard: TaggedDocuments) -> None:
    row = shard.add({"a": 1, "b": 2})
    shard.add({"a": 1}, NEIGHBOUR)
    shard.remove(row)
    TagWriter(shard.connection).forget_paths(COLLECTION)
    assert shard.connection.execute("SELECT collection, path FROM tag_keys").fetchall() == [(NEIGHBOUR, "a")]
    assert found(shard, {"a": 1}) == []


def test_a_check_names_missing_and_surplus_rows_and_a_rebuild_mends_them(shard: TaggedDocuments) -> None:
    for n in range(5):
        shard.add({"n": n, "list": [n, "x"]})
    shard.add({"n": 2**64 - 1})
    assert tag_faults(shard.connection) == []
    healthy = shard.entries()
    shard.connection.execute("DELETE FROM tag_values WHERE row = 2")
    shard.connection.execute("DELETE FROM tag_values WHERE row = 6")
    shard.connection.execute("INSERT INTO tag_values SELECT key, kind, 77, 1 FROM tag_values LIMIT 1")
    assert tag_faults(shard.connection) == [
        "the tag index lacks 4 of 4 entries of row 2",
        "the tag index lacks 1 of 1 entries of row 6",
        "the tag index has 1 entries that no document has",
    ]
    TagWriter(shard.connection).rebuild()
    assert tag_faults(shard.connection) == []
    assert shard.entries() == healthy


@given(st.lists(st.integers(0, 60) | st.integers(0, 10**12)), st.lists(st.integers(0, 60) | st.integers(0, 10**12)))
def test_sets_of_rows_are_sets(one: list[int], other: list[int]) -> None:
    first, second = (as_rowset(np.array(each, dtype=np.int64)) for each in (one, other))
    assert first.tolist() == sorted(set(one))
    assert union([first, second, first]).tolist() == sorted({*one, *other})
    assert intersection(first, second).tolist() == sorted({*one} & {*other})
    assert difference(first, second).tolist() == sorted({*one} - {*other})


@pytest.mark.parametrize("count", [31, 32, 33, 64, 100])
def test_any_number_of_values_is_indexed(shard: TaggedDocuments, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    row = shard.add({f"path {n}": n for n in range(count)})
    no_checks(monkeypatch)
    assert all(found(shard, {f"path {n}": n}) == [row] for n in range(count))
