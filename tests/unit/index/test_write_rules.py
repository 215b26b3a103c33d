"""The rules of versions as a table: every state of an id, with every write that is older, the same or newer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.errors import VisualSearchError
from executors.index.encoding import EncodedRecord, document_digest, encode_record
from executors.index.records import WriteOutcome, WriteResult
from executors.index.write_rules import (
    Decision,
    Held,
    Operation,
    decide_delete,
    decide_put,
    decide_removal,
    decide_supersede,
    decide_update,
)
from tests.support.stores.dictionary_shard import Shard
from tests.support.stores.records import IDENTITY, IMAGES, key, record, superseded, tag_update, version

HELD = 5
OLDER, SAME, NEWER = HELD - 1, HELD, HELD + 1
TAGS = {"n": 1}
DAMAGED = VisualSearchError("store_invalid", "the tags are damaged")


def encoded(number: int, seed: int = 0, tags: dict[str, Any] | None = None) -> EncodedRecord:
    return encode_record(record("a", number, seed=seed, tags=TAGS if tags is None else tags))


STORED = encoded(HELD)
DIGEST, CONTENT = STORED.digest.hex(), STORED.content_digest.hex()


def live(operation: Operation, result: WriteResult) -> Held:
    return Held(True, version(HELD), operation, result, DIGEST, CONTENT)


def tombstone(operation: Operation, result: WriteResult) -> Held:
    return Held(False, version(HELD), operation, result)


STATES: dict[str, Held | None] = {
    "nothing": None,
    "put": live("put", "created"),
    "updated": live("update", "updated"),
    "deleted": tombstone("deleted", "deleted"),
    "never there, deleted": tombstone("deleted", "not_found"),
    "superseded": tombstone("superseded", "replaced"),
    "never there, superseded": tombstone("superseded", "not_found"),
}

# Each write by its version, and the operation that it leaves.
Decide = Callable[[Held | None, int, str], Decision]
WRITES: dict[str, tuple[Operation, Decide]] = {
    "put the same": ("put", lambda held, n, dropped: decide_put(held, encoded(n), dropped)),
    "put another": ("put", lambda held, n, dropped: decide_put(held, encoded(n, seed=1), dropped)),
    "merge a change": (
        "update",
        lambda held, n, dropped: decide_update(held, tag_update("a", n, {"x": 1}), dropped, TAGS),
    ),
    "merge no change": (
        "update",
        lambda held, n, dropped: decide_update(held, tag_update("a", n, {"absent": None}), dropped, TAGS),
    ),
    "replace all tags": (
        "update",
        lambda held, n, dropped: decide_update(held, tag_update("a", n, {"x": 1}, "replace"), dropped, TAGS),
    ),
    "delete": ("deleted", lambda held, n, dropped: decide_delete(held, key("a", n), dropped)),
    "remove what was found": ("deleted", lambda held, n, dropped: decide_removal(held, version(n))),
    "supersede by the same": (
        "superseded",
        lambda held, n, dropped: decide_supersede(held, superseded("a", n, DIGEST), dropped),
    ),
    "supersede by another": (
        "superseded",
        lambda held, n, dropped: decide_supersede(held, superseded("a", n, "another"), dropped),
    ),
}

STALE = "stale_version"
TOMBSTONES = [name for name, held in STATES.items() if held is not None and not held.live]
ABSENT = ("not_found", "not_found", "not_found")
# For each write and state: the answer, and after a colon the effect, to an older, an equally old and a newer version.
TABLE: dict[str, dict[str, tuple[str, str, str]]] = {
    "put the same": {
        "nothing": ("created: insert", "created: insert", "created: insert"),
        "put": (STALE, "created", "unchanged: touch"),
        "updated": (STALE, STALE, "unchanged: touch"),
        **dict.fromkeys(TOMBSTONES, (STALE, STALE, "created: insert")),
    },
    "put another": {
        "nothing": ("created: insert", "created: insert", "created: insert"),
        "put": (STALE, "created", "replaced: replace"),
        "updated": (STALE, STALE, "replaced: replace"),
        **dict.fromkeys(TOMBSTONES, (STALE, STALE, "created: insert")),
    },
    "merge a change": {
        "nothing": ABSENT,
        "put": (STALE, STALE, "updated: retag"),
        "updated": (STALE, "updated", "updated: retag"),
        **dict.fromkeys(TOMBSTONES, (STALE, STALE, "not_found")),
    },
    "merge no change": {
        "nothing": ABSENT,
        "put": (STALE, STALE, "unchanged: touch"),
        "updated": (STALE, "updated", "unchanged: touch"),
        **dict.fromkeys(TOMBSTONES, (STALE, STALE, "not_found")),
    },
    "replace all tags": {
        "nothing": ABSENT,
        "put": (STALE, STALE, "updated: retag"),
        "updated": (STALE, "updated", "updated: retag"),
        **dict.fromkeys(TOMBSTONES, (STALE, STALE, "not_found")),
    },
    "delete": {
        "nothing": ("not_found: bury", "not_found: bury", "not_found: bury"),
        "put": (STALE, STALE, "deleted: bury"),
        "updated": (STALE, STALE, "deleted: bury"),
        "deleted": (STALE, "deleted", "not_found: bury"),
        "never there, deleted": (STALE, "not_found", "not_found: bury"),
        "superseded": (STALE, STALE, "not_found: bury"),
        "never there, superseded": (STALE, STALE, "not_found: bury"),
    },
    "remove what was found": {
        "nothing": ABSENT,
        "put": ("not_found", "not_found", "deleted: bury"),
        "updated": ("not_found", "not_found", "deleted: bury"),
        **dict.fromkeys(TOMBSTONES, ABSENT),
    },
    "supersede by the same": {
        "nothing": ("not_found: bury", "not_found: bury", "not_found: bury"),
        "put": (STALE, "unchanged: bury", "unchanged: bury"),
        "updated": (STALE, "unchanged: bury", "unchanged: bury"),
        "deleted": ("not_found", "not_found", "not_found: bury"),
        "never there, deleted": ("not_found", "not_found", "not_found: bury"),
        "superseded": ("not_found", "replaced", "not_found: bury"),
        "never there, superseded": ("not_found", "not_found", "not_found: bury"),
    },
    "supersede by another": {
        "nothing": ("not_found: bury", "not_found: bury", "not_found: bury"),
        "put": (STALE, "replaced: bury", "replaced: bury"),
        "updated": (STALE, "replaced: bury", "replaced: bury"),
        "deleted": ("not_found", "not_found", "not_found: bury"),
        "never there, deleted": ("not_found", "not_found", "not_found: bury"),
        "superseded": ("not_found", "replaced", "not_found: bury"),
        "never there, superseded": ("not_found", "not_found", "not_found: bury"),
    },
}


def answer_to(decision: Decision) -> str:
    outcome, effect = decision
    answer = outcome.error.code if outcome.error else str(outcome.result)
    return answer if effect is None else f"{answer}: {effect.kind}"


def test_the_table_has_every_write_and_every_state() -> None:
    assert set(TABLE) == set(WRITES)
    assert all(set(row) == set(STATES) for row in TABLE.values())


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("write", WRITES)
def test_every_write_to_every_state_is_answered_as_the_table_says(write: str, state: str) -> None:
    operation, decide = WRITES[write]
    held = STATES[state]
    decisions = [decide(held, number, "") for number in (OLDER, SAME, NEWER)]
    assert tuple(map(answer_to, decisions)) == TABLE[write][state]
    for number, (outcome, effect) in zip((OLDER, SAME, NEWER), decisions, strict=True):
        if outcome.error is not None:
            assert outcome.error.details == {"id": "a", "stored": version(HELD)}
            continue
        assert outcome.version == version(number)
        if effect is None:
            continue
        after = effect.held
        assert (after.version, after.operation, after.result) == (version(number), operation, outcome.result)
        assert (after.digest != "") == (after.content != "") == after.live == (effect.kind != "bury")
        assert outcome.digest == after.digest or operation in ("deleted", "superseded")
        assert (effect.tags is not None) == (effect.kind == "retag")


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("write", [each for each in WRITES if each != "remove what was found"])
def test_what_is_not_newer_than_a_drop_of_the_collection_has_no_effect(write: str, state: str) -> None:
    _, decide = WRITES[write]
    held = STATES[state]
    for number in (OLDER, SAME, NEWER):
        for drop in (number, number + 1):
            outcome, effect = decide(held, number, version(drop))
            if not write.startswith("supersede"):
                assert effect is None
                assert outcome.error is not None
                assert outcome.error.details == {"id": "a", "stored": version(drop)}
            elif held is None or not held.live:
                assert (outcome.result, effect) == ("not_found", None)
            else:
                # A live document is judged by its own version: the drop has kept it.
                assert answer_to(Decision(outcome, effect)) == TABLE[write][state][number - OLDER]
        assert answer_to(decide(held, number, version(number - 1))) == TABLE[write][state][number - OLDER]


def test_the_digests_of_answers_name_the_content() -> None:
    put, updated = STATES["put"], STATES["updated"]
    another, changed = encoded(1, seed=1).digest.hex(), encoded(1, tags={"n": 1, "x": 1}).digest.hex()
    expected = [
        (decide_put(None, encoded(1), ""), DIGEST),
        (decide_put(put, encoded(NEWER), ""), DIGEST),
        (decide_put(put, encoded(NEWER, seed=1), ""), another),
        # Executed again: the digest of the stored document.
        (decide_put(put, encoded(SAME, seed=1), ""), DIGEST),
        (decide_update(put, tag_update("a", NEWER, {"x": 1}), "", TAGS), changed),
        (decide_update(updated, tag_update("a", SAME, {"x": 1}), "", TAGS), DIGEST),
        (decide_update(None, tag_update("a", NEWER, {"x": 1}), "", {}), ""),
        (decide_delete(put, key("a", NEWER), ""), ""),
        (decide_removal(put, version(NEWER)), ""),
        # The digest of the superseding write.
        (decide_supersede(put, superseded("a", NEWER, "another"), ""), "another"),
        (decide_supersede(STATES["superseded"], superseded("a", SAME, "another"), ""), "another"),
    ]
    assert [decision.outcome.digest for decision, _ in expected] == [digest for _, digest in expected]


def test_an_update_gives_the_new_tags_and_keeps_the_other_content() -> None:
    for mode, expected in (("merge", {"n": 1, "x": 2}), ("replace", {"x": 2})):
        _, effect = decide_update(STATES["put"], tag_update("a", NEWER, {"x": 2}, mode), "", TAGS)
        assert effect is not None
        assert (effect.tags, effect.held.content) == (expected, CONTENT)
        assert effect.held.digest == document_digest(bytes.fromhex(CONTENT), expected).hex()


def test_damaged_tags_are_replaced_but_never_merged() -> None:
    assert decide_update(STATES["put"], tag_update("a", NEWER, {"x": 1}), "", DAMAGED) == (
        WriteOutcome(error=DAMAGED),
        None,
    )
    # Also by the same tags as before.
    _, effect = decide_update(STATES["put"], tag_update("a", NEWER, TAGS, "replace"), "", DAMAGED)
    assert effect is not None
    assert (effect.kind, effect.tags, effect.held.digest) == ("retag", TAGS, DIGEST)
    # A version that is too old is reported first.
    assert answer_to(decide_update(STATES["put"], tag_update("a", OLDER, {"x": 1}), "", DAMAGED)) == STALE


def test_a_merge_that_makes_too_many_tags_is_refused_without_effect() -> None:
    half = "x" * 600_000
    decision = decide_update(STATES["put"], tag_update("a", NEWER, {"two": half * 2}), "", {"one": half})
    assert answer_to(decision) == "invalid_tags"


VERSIONS = st.integers(1, 8)
SOME_TAGS = st.sampled_from([{}, {"x": 1}, {"x": None}, {"x": 1, "y": [2]}])
SEQUENCES = st.lists(
    st.one_of(
        st.tuples(st.just("put"), VERSIONS, SOME_TAGS, st.integers(0, 1)),
        st.tuples(st.just("update"), VERSIONS, SOME_TAGS, st.sampled_from(["merge", "replace"])),
        st.tuples(st.just("delete"), VERSIONS, st.none(), st.none()),
        st.tuples(st.just("supersede"), VERSIONS, st.none(), st.none()),
        st.tuples(st.just("drop"), VERSIONS, st.none(), st.none()),
    ),
    min_size=1,
    max_size=12,
)


@given(SEQUENCES)
def test_every_sequence_of_writes_is_answered_like_by_the_dictionaries(writes: list[tuple[Any, ...]]) -> None:
    shard = Shard(identity=IDENTITY, collections={IMAGES.name: IMAGES})
    held: Held | None = None
    tags: dict[str, Any] = {}
    dropped = ""
    for kind, number, given_tags, extra in writes:
        if kind == "drop":
            shard.drop(IMAGES.name, version(number))
            shard.collections[IMAGES.name] = IMAGES
            dropped = max(dropped, version(number))
            # Documents that are not newer than the drop are removed with the collection, and so are their records.
            held = None if held is None or held.version <= dropped else held
            continue
        if kind == "put":
            given_record = record("a", number, seed=extra, tags=given_tags)
            (outcome, effect), expected = (
                decide_put(held, encode_record(given_record), dropped),
                shard.put(given_record),
            )
        elif kind == "update":
            update = tag_update("a", number, given_tags, extra)
            (outcome, effect), expected = decide_update(held, update, dropped, tags), shard.update(update)
        elif kind == "delete":
            (outcome, effect), expected = decide_delete(held, key("a", number), dropped), shard.delete(key("a", number))
        else:
            write = superseded("a", number, "another")
            (outcome, effect), expected = decide_supersede(held, write, dropped), shard.supersede(write)
        codes = [each.error.code if each.error else None for each in (outcome, expected)]
        assert (codes[0], outcome.result, outcome.version) == (codes[1], expected.result, expected.version)
        if effect is not None:
            held = effect.held
            tags = given_tags if kind == "put" and effect.kind != "touch" else tags
            tags = tags if effect.tags is None else effect.tags
        stored = shard.documents.get((IMAGES.name, "a"))
        assert (stored is not None) == (held is not None and held.live)
        if stored is not None and held is not None:
            assert (held.version, held.operation, held.result) == (stored.record.version, *stored[1:])
            assert tags == stored.record.tags
            assert held.digest == encode_record(stored.record).digest.hex()
