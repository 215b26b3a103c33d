"""The rules of versions as sources: the source of a decision reads back as the state that the rule gives."""

from __future__ import annotations

import pytest

from executors.index.encoding import encode_record
from executors.index.opensearch.documents.document_sources import State, state_of, tags_of
from executors.index.opensearch.write.decisions import (
    Plan,
    plan_delete,
    plan_put,
    plan_removal,
    plan_supersede,
    plan_update,
)
from executors.index.write_rules import Held
from tests.support.stores.records import key, record, superseded, tag_update, version

KNOWN = frozenset({"n.n"})


def read_back(plan: Plan) -> State:
    """The state after the plan."""
    assert plan.source is not None
    state = state_of({"_source": plan.source, "_seq_no": 1, "_primary_term": 1})
    assert state is not None
    return state


@pytest.fixture
def stored() -> State:
    return read_back(plan_put(None, encode_record(record("a", 5, thumbnail=b"jpeg")), "", KNOWN))


def test_a_put_leaves_the_document_with_the_write_and_its_digests(stored: State) -> None:
    encoded = encode_record(record("a", 5, thumbnail=b"jpeg"))
    assert (stored.live, stored.version, stored.operation, stored.result) == (True, version(5), "put", "created")
    assert (stored.digest, stored.content) == (encoded.digest.hex(), encoded.content_digest.hex())
    assert plan_put(stored, encoded, "", KNOWN) == Plan(plan_put(None, encoded, "", KNOWN).outcome)
    again = read_back(plan_put(stored, encode_record(record("a", 6, tags={"n": 5}, thumbnail=b"jpeg")), "", KNOWN))
    assert (again.version, again.result, again.digest) == (version(6), "unchanged", stored.digest)


def test_an_update_changes_the_tags_and_their_fields_and_nothing_else(stored: State) -> None:
    plan = plan_update(stored, tag_update("a", 6, {"x": 2}), "", KNOWN)
    state = read_back(plan)
    assert (state.version, state.operation, state.result) == (version(6), "update", "updated")
    assert (state.digest, state.content) == (plan.outcome.digest, stored.content)
    assert tags_of(state.source) == {"n": 5, "x": 2}
    assert state.source["n"] == {"n": [5]}
    assert (state.source["thumbnail"], state.source["uri"]) == (stored.source["thumbnail"], "photos/a")
    unchanged = read_back(plan_update(state, tag_update("a", 7, {"absent": None}), "", frozenset()))
    assert (unchanged.version, unchanged.result, unchanged.digest) == (version(7), "unchanged", state.digest)
    assert tags_of(unchanged.source) == {"n": 5, "x": 2}
    # Filters follow the fields that there are now.
    assert "n" not in unchanged.source


def test_damaged_tags_are_replaced_but_never_merged(stored: State) -> None:
    stored.source["tags"] = '{"n":6}'
    plan = plan_update(stored, tag_update("a", 6, {"x": 2}), "", KNOWN)
    assert plan.source is None
    assert plan.outcome.error is not None
    assert plan.outcome.error.code == "store_invalid"
    replaced = read_back(plan_update(stored, tag_update("a", 6, {"n": 5}, "replace"), "", KNOWN))
    assert (replaced.result, tags_of(replaced.source)) == ("updated", {"n": 5})


def test_deletes_and_supersedes_leave_a_tombstone_and_no_content(stored: State) -> None:
    plans = {
        "deleted": plan_delete(stored, key("a", 6), "", 1_000),
        "superseded": plan_supersede(stored, superseded("a", 6, "another"), "", 1_000),
    }
    for operation, plan in plans.items():
        assert plan.source is not None
        assert set(plan.source) == {"id", "live", "version", "operation", "result", "removed_at"}
        assert plan.source["removed_at"] == 1_000
        state = read_back(plan)
        assert (state.live, state.version, state.operation) == (False, version(6), operation)
        assert state.result == plan.outcome.result
    elsewhere = plan_delete(None, key("a", 6), "", 1_000, "images")
    assert read_back(elsewhere).source["collection"] == "images"


def test_a_found_document_that_is_newer_by_now_is_not_removed(stored: State) -> None:
    assert plan_removal(stored, "a", version(5), 0).source is None
    assert plan_removal(None, "a", version(9), 0).source is None
    assert plan_removal(stored, "a", version(6), 0).outcome.result == "deleted"


def test_a_state_is_what_the_rules_know_of_and_its_place(stored: State) -> None:
    assert isinstance(stored, Held)
    assert stored.place == (1, 1)
    assert state_of({"found": False}) is None
