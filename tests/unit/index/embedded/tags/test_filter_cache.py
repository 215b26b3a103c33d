"""Cached answers equal those of a new computation, after any writes and for every moment that a search sees."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executors.index.embedded.disk.database import connect_reader
from executors.index.embedded.tags import filter_cache
from executors.index.embedded.tags.filter_cache import FilterCache
from executors.index.embedded.tags.index import TagWriter
from executors.index.embedded.tags.query import matching_rows
from executors.index.filters import Filter, parse_filter
from tests.support.stores.indexed_tags import COLLECTION, NEIGHBOUR, TaggedDocuments, filters, tags

RELAXED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


class Notebook:
    """A shard, a cache, and transactions that are noted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shard = TaggedDocuments(folder)
        self.sequence = 10
        self.cache = FilterCache(self.sequence)

    def commit(self, *changed: int, number: int = COLLECTION) -> None:
        self.sequence += 1
        self.cache.note(self.sequence, {number: changed} if changed else {})

    def add(self, **given_tags: Any) -> int:
        row = self.shard.add(given_tags)
        self.commit(row)
        return row

    def rows(self, where: Any, sequence: int | None = None, connection: sqlite3.Connection | None = None) -> list[int]:
        moment = self.sequence if sequence is None else sequence
        found = self.cache.rows(connection or self.shard.connection, moment, COLLECTION, parse_filter(where))
        assert found.dtype == np.int64
        return found.tolist()


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Notebook]:
    notebook = Notebook(tmp_path)
    yield notebook
    notebook.shard.connection.close()


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[Filter]:
    """The filters that were computed again, in order."""
    filters_computed: list[Filter] = []

    def spy(connection: sqlite3.Connection, collection: int, where: Filter, everything: Any = None) -> Any:
        filters_computed.append(where)
        return matching_rows(connection, collection, where, everything)

    monkeypatch.setattr(filter_cache, "matching_rows", spy)
    return filters_computed


def never_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that every computation takes so long that reading any number of documents is faster."""
    monkeypatch.setattr(filter_cache, "_CHECK_SECONDS", 0.0)


writes = st.one_of(
    st.tuples(st.just("add"), tags),
    st.tuples(st.just("change"), tags),
    st.tuples(st.just("remove"), st.none()),
    st.tuples(st.just("nothing"), st.none()),
    st.tuples(st.just("ask"), st.integers(0, 3)),
)


@RELAXED
@given(
    st.lists(filters, min_size=1, max_size=4),
    st.lists(writes, max_size=25),
    st.randoms(use_true_random=False),
    st.sampled_from([0.0, 10e-6, 1.0]),
    st.sampled_from([1, 5, 65_536]),
)
def test_what_is_kept_is_what_a_new_computation_gives(
    book: Notebook, wheres: list[Any], sequence: list[Any], choice: Any, check_seconds: float, most_noted: int
) -> None:
    book.shard.clear()
    book.cache = FilterCache(book.sequence)
    parsed = [parse_filter(where) for where in wheres]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filter_cache, "_CHECK_SECONDS", check_seconds)
        patch.setattr(filter_cache, "_MOST_NOTED_ROWS", most_noted)
        for name, argument in sequence:
            known = list(book.shard.documents)
            if name == "add":
                book.commit(book.shard.add(argument))
            elif name == "nothing":
                book.commit()
            elif name == "ask":
                where = parsed[argument % len(parsed)]
                found = book.cache.rows(book.shard.connection, book.sequence, COLLECTION, where)
                assert found.tolist() == book.shard.expected(where)
            elif known:
                row = choice.choice(known)
                if name == "change":
                    book.shard.change(row, argument)
                else:
                    book.shard.remove(row)
                book.commit(row)
        for where in parsed:
            found = book.cache.rows(book.shard.connection, book.sequence, COLLECTION, where)
            assert found.tolist() == book.shard.expected(where)


def test_an_answer_is_kept_and_brought_up_to_date_by_what_changed(
    book: Notebook, computed: list[Filter], monkeypatch: pytest.MonkeyPatch
) -> None:
    never_anew(monkeypatch)
    rows = [book.add(n=n) for n in range(10)]
    low = parse_filter({"n": {"$lt": 5}})
    assert book.rows({"n": {"$lt": 5}}) == rows[:5]
    assert computed == [low]
    added = book.add(n=0)
    book.shard.change(rows[0], {"n": 100})
    book.shard.change(rows[9], {"n": -1})
    book.commit(rows[0], rows[9])
    book.shard.remove(rows[1])
    book.commit(rows[1])
    assert book.rows({"n": {"$lt": 5}}) == [*rows[2:5], rows[9], added]
    assert computed == [low], "from what changed"


def test_writes_that_make_no_difference_copy_nothing(book: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    never_anew(monkeypatch)
    row = book.add(n=1)
    where = parse_filter({"n": 1})
    before = book.cache.rows(book.shard.connection, book.sequence, COLLECTION, where)
    book.add(n=2)
    book.commit()
    book.shard.change(row, {"n": 1, "m": 2})
    book.commit(row)
    book.commit(77, number=NEIGHBOUR)
    assert book.cache.rows(book.shard.connection, book.sequence, COLLECTION, where) is before
    with pytest.raises(ValueError, match="read-only"):
        before[0] = 5


def test_1_and_true_are_not_one_filter(book: Notebook) -> None:
    rows = [book.add(n=1), book.add(n=True)]
    assert [book.rows({"n": 1}), book.rows({"n": True}), book.rows({"n": 1.0})] == [[rows[0]], [rows[1]], [rows[0]]]
    assert book.cache.entries == 2


def test_collections_are_kept_apart(book: Notebook) -> None:
    mine = book.add(n=1)
    theirs = book.shard.add({"n": 1}, NEIGHBOUR)
    book.commit(theirs, number=NEIGHBOUR)
    where = parse_filter({"n": 1})
    answers = [
        book.cache.rows(book.shard.connection, book.sequence, n, where).tolist() for n in (COLLECTION, NEIGHBOUR)
    ]
    assert answers == [[mine], [theirs]]


def test_a_search_of_an_older_moment_gets_the_answer_of_its_moment(book: Notebook, computed: list[Filter]) -> None:
    first = book.add(n=1)
    old = connect_reader(book.folder)
    old.execute("BEGIN")
    old.execute("SELECT 1 FROM documents").fetchone()
    moment = book.sequence
    second = book.add(n=1)
    book.shard.remove(first)
    book.commit(first)
    for where, older, newer in (({"n": 1}, [first], [second]), ({"n": {"$ne": 2}}, [first], [second])):
        assert book.rows(where) == newer
        assert book.rows(where, moment, old) == older
        computed.clear()
        assert book.rows(where) == newer
        assert computed == [], "the older one did not take the place of the newer"
    old.close()


def test_an_answer_of_a_moment_that_was_not_noted_yet_is_computed(book: Notebook, computed: list[Filter]) -> None:
    book.add(n=1)
    assert book.rows({"n": 1}) == [1]
    row = book.shard.add({"n": 1})
    # The commit is visible; its note comes a little later.
    assert book.rows({"n": 1}, book.sequence + 1) == [1, row]
    book.commit(row)
    computed.clear()
    assert book.rows({"n": 1}) == [1, row]
    assert computed == []


def test_a_log_that_does_not_reach_back_is_not_relied_on(book: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    never_anew(monkeypatch)
    monkeypatch.setattr(filter_cache, "_MOST_NOTED_ROWS", 3)
    row = book.add(n=1)
    assert book.rows({"n": 1}) == [row]
    rows = [row, *(book.add(n=1) for _ in range(10))]
    assert book.rows({"n": 1}) == rows
    monkeypatch.setattr(filter_cache, "_MOST_NOTED_TRANSACTIONS", 2)
    rows += [book.add(n=1) for _ in range(10)]
    assert book.rows({"n": 1}) == rows


def test_a_transaction_that_was_not_noted_ends_what_the_log_covers(
    book: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    never_anew(monkeypatch)
    row = book.add(n=1)
    assert book.rows({"n": 1}) == [row]
    unnoted = book.shard.add({"n": 1})
    book.sequence += 1
    later = book.add(n=1)
    assert book.rows({"n": 1}) == [row, unnoted, later]


def test_no_answer_of_a_damaged_index_outlives_its_repair(book: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    never_anew(monkeypatch)
    rows = [book.add(n=1), book.add(n=1)]
    book.shard.connection.execute("DELETE FROM tag_values WHERE row = ?", (rows[0],))
    assert book.rows({"n": 1}) == [rows[1]]
    TagWriter(book.shard.connection).rebuild()
    book.sequence += 1
    book.cache.note(book.sequence, None)
    assert book.rows({"n": 1}) == rows
    rows.append(book.add(n=1))
    assert book.rows({"n": 1}) == rows, "and goes on from there"


def test_the_least_recently_used_answers_go_first(book: Notebook, computed: list[Filter]) -> None:
    rows = [book.add(n=n) for n in range(100)]
    book.cache = FilterCache(book.sequence, max_bytes=4 * (2_048 + 8 * 50))
    for n in range(20):
        book.rows({"n": {"$lt": 50}})
        assert book.rows({"n": {"$gte": 50 + n}}) == rows[50 + n :]
        assert book.cache.bytes_held <= 4 * (2_048 + 8 * 50)
    assert 3 <= book.cache.entries <= 5
    assert computed.count(parse_filter({"n": {"$lt": 50}})) == 1
    computed.clear()
    book.rows({"n": {"$gte": 50}})
    assert len(computed) == 1


def test_an_answer_larger_than_the_cache_is_given_and_not_kept(book: Notebook) -> None:
    rows = [book.add(n=1) for _ in range(20)]
    book.cache = FilterCache(book.sequence, max_bytes=100)
    for _ in range(2):
        assert book.rows({"n": 1}) == rows
        assert (book.cache.entries, book.cache.bytes_held) == (0, 0)


def test_all_documents_are_listed_once_for_all_that_negate(book: Notebook, computed: list[Filter]) -> None:
    rows = [book.add(n=n) for n in range(5)]
    assert book.rows({"n": {"$ne": 1}}) == [rows[0], *rows[2:]]
    assert book.rows({"n": {"$ne": 2}}) == [*rows[:2], *rows[3:]]
    assert computed.count(parse_filter({})) == 1


def test_searches_and_writes_beside_each_other_see_their_own_moment(book: Notebook) -> None:
    """Each transaction puts one document in and takes the one before out: at every moment exactly one is there."""
    book.cache = FilterCache(book.sequence)
    connection = book.shard.connection
    connection.execute("CREATE TABLE moment (sequence INTEGER)")
    connection.execute("INSERT INTO moment VALUES (?)", (book.sequence,))
    row = book.shard.add({"n": 1})
    done = threading.Event()
    wrong: list[Any] = []
    asked = [parse_filter(where) for where in ({"n": 1}, {"n": {"$ne": 2}}, {"n": {"$gt": 0}, "m": {"$exists": False}})]

    def search() -> None:
        reader = connect_reader(book.folder)
        answers = 0
        while not done.is_set() or not answers:
            reader.execute("BEGIN")
            (moment,) = reader.execute("SELECT sequence FROM moment").fetchone()
            there = [each for (each,) in reader.execute("SELECT row FROM documents")]
            for where in asked:
                if book.cache.rows(reader, moment, COLLECTION, where).tolist() != there:
                    wrong.append((moment, where))
            reader.execute("ROLLBACK")
            answers += 1
        reader.close()

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(150):
            connection.execute("BEGIN IMMEDIATE")
            following = book.shard.add({"n": 1})
            book.shard.remove(row)
            connection.execute("UPDATE moment SET sequence = sequence + 1")
            connection.execute("COMMIT")
            book.commit(row, following)
            row = following
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert wrong == []
