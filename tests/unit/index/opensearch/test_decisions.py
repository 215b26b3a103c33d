"""The rules of versions, one id at a time: the same as those of the dictionaries, whatever is held and whatever comes."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from executors.index.encoding import encode_record
from executors.index.opensearch.decisions import (
    Decision,
    decide_delete,
    decide_put,
    decide_removal,
    decide_supersede,
    decide_update,
)
from executors.index.opensearch.sources import State, state_of
from executors.index.records import WriteOutcome
from tests.support.dictionary_shard import Shard
from tests.support.records import IDENTITY, IMAGES, key, record, superseded, tag_update, version

VERSIONS = st.integers(1, 8)
TAGS = st.sampled_from([{}, {"x": 1}, {"x": None}, {"x": 1, "y": [2]}])
WRITES = st.one_of(
    st.tuples(st.just("put"), VERSIONS, TAGS, st.integers(0, 1)),
    st.tuples(st.just("update"), VERSIONS, TAGS, st.sampled_from(["merge", "replace"])),
    st.tuples(st.just("delete"), VERSIONS, st.none(), st.none()),
    st.tuples(st.just("supersede"), VERSIONS, st.none(), st.none()),
    st.tuples(st.just("drop"), VERSIONS, st.none(), st.none()),
)
NONE: frozenset[str] = frozenset()


def held(decision: Decision, state: State | None) -> State | None:
    """What is held after the decision."""
    if decision.source is None:
        return state
    return state_of({"_source": decision.source, "_seq_no": 1, "_primary_term": 1})


def same(mine: WriteOutcome, other: WriteOutcome) -> bool:
    codes = [each.error.code if each.error else None for each in (mine, other)]
    return (codes[0], mine.result, mine.version) == (codes[1], other.result, other.version)


@given(st.lists(WRITES, min_size=1, max_size=12))
def test_every_sequence_of_writes_is_answered_like_by_the_dictionaries(writes: list[tuple[Any, ...]]) -> None:
    shard = Shard(identity=IDENTITY, collections={IMAGES.name: IMAGES})
    state: State | None = None
    dropped = ""
    for kind, number, tags, extra in writes:
        if kind == "drop":
            shard.drop(IMAGES.name, version(number))
            shard.collections[IMAGES.name] = IMAGES
            dropped = max(dropped, version(number))
            # What is not newer is gone with the index, and what was remembered of it.
            state = None if state is None or state.version <= dropped else state
            continue
        if kind == "put":
            given_record = record("a", number, seed=extra, tags=tags)
            decision = decide_put(state, encode_record(given_record), dropped, NONE)
            expected = shard.put(given_record)
        elif kind == "update":
            update = tag_update("a", number, tags, extra)
            decision, expected = decide_update(state, update, dropped, NONE), shard.update(update)
        elif kind == "delete":
            decision, expected = decide_delete(state, key("a", number), dropped, 0), shard.delete(key("a", number))
        else:
            write = superseded("a", number, "another")
            decision, expected = decide_supersede(state, write, dropped, 0), shard.supersede(write)
        assert same(decision.outcome, expected)
        state = held(decision, state)
        live = shard.documents.get((IMAGES.name, "a"))
        assert (live is not None) == (state is not None and state.live)
        if live is not None and state is not None:
            assert state.version == live.record.version


def test_a_found_document_that_is_newer_by_now_is_not_removed() -> None:
    state = held(decide_put(None, encode_record(record("a", 5)), "", NONE), None)
    assert decide_removal(state, "a", record("a", 5).version, 0).source is None
    assert decide_removal(None, "a", record("a", 9).version, 0).source is None
    assert decide_removal(state, "a", record("a", 6).version, 0).outcome.result == "deleted"
