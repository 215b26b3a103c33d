"""The contract of a store as a state machine: generated sequences on the store and on a plain dictionary, side by side."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from executors.index.records import DocumentKey, Record, Superseded, TagUpdate, WriteOutcome
from executors.index.store import Store
from tests.support.records import (
    IMAGES,
    Harness,
    found,
    ids_of,
    key,
    prepared,
    record,
    results,
    superseded,
    tag_update,
    true_cosine,
    vector_of,
)

T = TypeVar("T")
Write: TypeAlias = Record | TagUpdate | DocumentKey | Superseded

IDS = ["a", "b", "c", "ä", "\U0001f431", "z" * 512]
TAGS = st.dictionaries(
    st.sampled_from(["x", "y", "z"]),
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False),
              st.text(max_size=5), st.lists(st.integers(0, 3), max_size=2)),
    max_size=3,
)  # fmt: skip
SOME_ID = st.sampled_from(IDS)
SEEDS = st.integers(0, 5)


@dataclass
class Live:
    """A document of the model: the vector's seed, its tags, and the write that they are of."""

    version: str
    result: str
    seed: int
    tags: dict[str, Any]
    thumbnail: bytes | None

    def content(self) -> tuple[Any, ...]:
        return self.seed, repr(sorted(self.tags.items())), self.thumbnail


@dataclass
class Model:
    """What a shard has to know, as dictionaries: live documents, and removed ids as (version, kind, result)."""

    live: dict[str, Live] = field(default_factory=dict)
    gone: dict[str, tuple[str, str, str]] = field(default_factory=dict)

    def put(self, write: Record, seed: int) -> str:
        new = Live(write.version, "created", seed, write.tags, write.thumbnail)
        old = self.live.get(write.id)
        if old is None:
            if write.version <= self.gone.get(write.id, ("",))[0]:
                return "stale_version"
        elif write.version <= old.version:
            return old.result if write.version == old.version else "stale_version"
        else:
            new.result = "unchanged" if new.content() == old.content() else "replaced"
        self.live[write.id] = new
        self.gone.pop(write.id, None)
        return new.result

    def update(self, write: TagUpdate) -> str:
        old = self.live.get(write.id)
        if old is None:
            return "stale_version" if write.version <= self.gone.get(write.id, ("",))[0] else "not_found"
        if write.version <= old.version:
            return old.result if write.version == old.version else "stale_version"
        tags = dict(write.tags)
        if write.mode == "merge":
            removed = {name for name, value in write.tags.items() if value is None}
            tags = {name: value for name, value in {**old.tags, **tags}.items() if name not in removed}
        new = Live(write.version, "updated", old.seed, tags, old.thumbnail)
        if new.content() == old.content():
            new.result = "unchanged"
        self.live[write.id] = new
        return new.result

    def delete(self, write: DocumentKey) -> str:
        return self._remove(write.id, write.version, "deleted", "deleted")

    def supersede(self, write: Superseded, *, same: bool) -> str:
        return self._remove(write.id, write.version, "superseded", "unchanged" if same else "replaced")

    def _remove(self, document_id: str, version: str, kind: str, result: str) -> str:
        old = self.live.get(document_id)
        if old is None:
            known = self.gone.get(document_id, ("", "", ""))
            if version <= known[0]:
                if known[:2] == (version, kind):
                    return known[2]
                return "stale_version" if kind == "deleted" else "not_found"
            result = "not_found"
        elif version <= old.version:
            return "stale_version"
        self.live.pop(document_id, None)
        self.gone[document_id] = (version, kind, result)
        return result


class StoreMachine(RuleBasedStateMachine):
    """Every write has a version of its own, in any order; any earlier write may be executed again."""

    make_harness: Callable[[Path], Harness]

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.runner = asyncio.Runner()
        self.harness = type(self).make_harness(Path(self.folder.name))
        self.model = Model()
        self.writes: list[tuple[Write, int]] = []
        self.versions: set[int] = set()
        self.digests: dict[tuple[Any, ...], str] = {}

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def teardown(self) -> None:
        try:
            self.check_everything()
            self.run(self.store.close())
        finally:
            self.runner.close()
            self.folder.cleanup()

    @initialize()
    def start(self) -> None:
        self.store: Store = self.run(prepared(self.harness))

    def new_version(self, data: st.DataObject) -> int:
        number = data.draw(st.integers(1, 400).filter(lambda each: each not in self.versions), label="version")
        self.versions.add(number)
        return number

    @rule(
        data=st.data(),
        ids=st.lists(SOME_ID, min_size=1, max_size=4),
        seed=SEEDS,
        tags=TAGS,
        thumbnail=st.sampled_from([None, b"t"]),
    )
    def put(
        self, data: st.DataObject, ids: list[str], seed: int, tags: dict[str, Any], thumbnail: bytes | None
    ) -> None:
        records = [record(each, self.new_version(data), seed, tags=tags, thumbnail=thumbnail) for each in ids]
        self.writes.extend((each, seed) for each in records)
        expected = [self.model.put(each, seed) for each in records]
        outcomes = self.run(self.store.put(records))
        assert results(outcomes) == expected
        self.note_digests(outcomes, [each.id for each in records])

    @rule(
        data=st.data(),
        ids=st.lists(SOME_ID, min_size=1, max_size=3),
        tags=TAGS,
        mode=st.sampled_from(["merge", "replace"]),
    )
    def update(self, data: st.DataObject, ids: list[str], tags: dict[str, Any], mode: str) -> None:
        updates = [tag_update(each, self.new_version(data), tags, mode) for each in ids]
        self.writes.extend((each, 0) for each in updates)
        expected = [self.model.update(each) for each in updates]
        outcomes = self.run(self.store.update(updates))
        assert results(outcomes) == expected
        self.note_digests(outcomes, ids)

    @rule(data=st.data(), ids=st.lists(SOME_ID, min_size=1, max_size=3))
    def delete(self, data: st.DataObject, ids: list[str]) -> None:
        keys = [key(each, self.new_version(data)) for each in ids]
        self.writes.extend((each, 0) for each in keys)
        expected = [self.model.delete(each) for each in keys]
        assert results(self.run(self.store.delete(keys))) == expected

    @rule(data=st.data(), document_id=SOME_ID, same=st.booleans())
    def supersede(self, data: st.DataObject, document_id: str, same: bool) -> None:
        digest = self.digest_of(document_id) if same else None
        write = superseded(document_id, self.new_version(data), digest or "another")
        self.writes.append((write, 0))
        expected = self.model.supersede(write, same=digest is not None)
        assert results(self.run(self.store.supersede([write]))) == [expected]

    @precondition(lambda self: self.writes)
    @rule(data=st.data())
    def repeat_an_earlier_write(self, data: st.DataObject) -> None:
        write, seed = data.draw(st.sampled_from(self.writes), label="repeated")
        if isinstance(write, Record):
            expected, outcomes = self.model.put(write, seed), self.run(self.store.put([write]))
        elif isinstance(write, TagUpdate):
            expected, outcomes = self.model.update(write), self.run(self.store.update([write]))
        elif isinstance(write, DocumentKey):
            expected, outcomes = self.model.delete(write), self.run(self.store.delete([write]))
        else:
            same = self.digest_of(write.id) == write.digest
            expected, outcomes = self.model.supersede(write, same=same), self.run(self.store.supersede([write]))
        assert results(outcomes) == [expected]
        self.note_digests(outcomes, [write.id])

    @rule(seed=SEEDS, limit=st.integers(0, 8), threshold=st.sampled_from([None, -0.2, 0.5, 1.5]))
    def search(self, seed: int, limit: int, threshold: float | None) -> None:
        query = vector_of(seed)
        cosines = {each.seed: true_cosine(query, vector_of(each.seed)) for each in self.model.live.values()}
        ranked = sorted((-cosines[each.seed], document_id) for document_id, each in self.model.live.items())
        expected = [(name, -score) for score, name in ranked if threshold is None or -score >= threshold][:limit]
        hits = self.run(found(self.store, query, limit, threshold))
        assert hits.ids == [name for name, _ in expected]
        assert hits.scores == pytest.approx([score for _, score in expected], abs=1e-6)
        assert hits.versions == [self.model.live[name].version for name in hits.ids]
        assert hits.tags == [self.model.live[name].tags for name in hits.ids]

    @rule()
    def reopen(self) -> None:
        self.run(self.store.close())
        self.store = self.run(self.harness.open())

    @invariant()
    def the_counts_agree(self) -> None:
        if hasattr(self, "store"):
            assert self.run(self.store.count(IMAGES.name)) == len(self.model.live)

    def check_everything(self) -> None:
        assert self.run(ids_of(self.store)) == sorted(self.model.live)
        names = [*IDS, "nobody"]
        got = self.run(self.store.get(IMAGES.name, names, embedding=True, thumbnail=True))
        for name, document in zip(names, got, strict=True):
            live = self.model.live.get(name)
            assert (document is None) == (live is None)
            if document is not None and live is not None:
                assert (document.version, repr(sorted(document.tags.items()))) == (live.version, live.content()[1])
                assert document.thumbnail == live.thumbnail
                assert document.embedding is not None
                assert document.embedding.tolist() == vector_of(live.seed).tolist()
        assert list(self.run(self.store.verify()).faults) == []

    def note_digests(self, outcomes: list[WriteOutcome], ids: list[str]) -> None:
        """The digest stands for the content: one for each, whatever write it comes from."""
        for name, outcome in zip(ids, outcomes, strict=True):
            live = self.model.live.get(name)
            if outcome.digest and live is not None and outcome.version == live.version:
                assert self.digests.setdefault((name, *live.content()), outcome.digest) == outcome.digest

    def digest_of(self, document_id: str) -> str | None:
        live = self.model.live.get(document_id)
        return None if live is None else self.digests[document_id, *live.content()]


def machine_for(make_harness: Callable[[Path], Harness]) -> type[StoreMachine]:
    """The state machine for one implementation: `make_harness` is given an empty folder."""
    return type("StoreMachineFor", (StoreMachine,), {"make_harness": staticmethod(make_harness)})
