"""The contract of a store as a state machine: generated sequences on a store and on dictionaries, side by side.

Both are given every call; results, errors (by code) and everything that can be read have to be the same. Every write has a
version of its own, in any order; any earlier write may be executed again.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from executors.errors import VisualSearchError
from executors.index.records import (
    Collection,
    DocumentKey,
    SearchRequest,
    Superseded,
    TagUpdate,
    WriteOutcome,
)
from executors.index.store import Store
from tests.contracts.machine_answers import same_documents, same_hits, shown, unordered
from tests.contracts.machine_values import (
    COLLECTIONS,
    FILTERS,
    GROUPS,
    IDS,
    NAMES,
    PARENTS,
    TAGS,
    many_records,
    vector_in,
)
from tests.support.stores.dictionary_store import DictionaryStore
from tests.support.stores.records import (
    IDENTITY,
    Harness,
    record,
    version,
    where,
)

T = TypeVar("T")

SOME_ID = st.sampled_from(IDS)
SEEDS = st.integers(0, 5)
MANY = 40


class StoreMachine(RuleBasedStateMachine):
    """`both` makes the same call on the store and on the dictionaries."""

    make_harness: Callable[[Path], Harness]

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.runner = asyncio.Runner()
        self.harness = type(self).make_harness(Path(self.folder.name))
        self.twin = DictionaryStore()
        # The name of a method, and the arguments for each of the two.
        self.writes: list[tuple[str, tuple[Any, ...], tuple[Any, ...]]] = []
        self.versions: set[int] = set()
        self.digests: dict[str, str] = {}

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def both(self, name: str, arguments: tuple[Any, ...], twins: tuple[Any, ...] | None = None, **options: Any) -> Any:
        """The answer of both, which must be the same."""
        answer, code = self.answer(self.store, name, arguments, options)
        expected, refused = self.answer(self.twin, name, arguments if twins is None else twins, options)
        assert code == refused
        if name in ("put", "update", "delete", "supersede"):
            assert [shown(each) for each in answer or ()] == [shown(each) for each in expected or ()]
            self.note_digests(answer or (), expected or ())
        elif name in ("get", "scroll"):
            same_documents(answer, expected)
        else:
            assert unordered(answer) == unordered(expected)
        return answer

    def answer(self, store: Store, name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, str]:
        """The answer of a store, or the code of its error."""
        try:
            return self.run(getattr(store, name)(*arguments, **options)), ""
        except VisualSearchError as error:
            return None, error.code

    def write(self, name: str, *arguments: Any, twins: tuple[Any, ...] | None = None) -> Any:
        """A write that may be repeated later."""
        self.writes.append((name, arguments, arguments if twins is None else twins))
        return self.both(name, arguments, twins)

    def new_version(self, data: st.DataObject) -> int:
        number = data.draw(st.integers(1, 900).filter(lambda each: each not in self.versions), label="version")
        self.versions.add(number)
        return number

    @initialize()
    def start(self) -> None:
        self.store: Store = self.run(self.harness.open())
        self.run(self.twin.open())
        self.both("adopt", (IDENTITY,))
        for collection in COLLECTIONS[:2]:
            self.both("ensure_collection", (collection,))

    def teardown(self) -> None:
        try:
            if hasattr(self, "store"):
                self.check_everything()
                self.run(self.store.close())
        finally:
            self.runner.close()
            self.folder.cleanup()

    # --- collections

    @rule(collection=st.sampled_from(COLLECTIONS))
    def ensure(self, collection: Collection) -> None:
        self.both("ensure_collection", (collection,))

    @rule(data=st.data(), name=NAMES)
    def drop(self, data: st.DataObject, name: str) -> None:
        self.write("drop_collection", name, version(self.new_version(data)))

    # --- writes

    @rule(
        data=st.data(),
        name=NAMES,
        ids=st.lists(SOME_ID, min_size=1, max_size=4),
        seed=SEEDS,
        tags=TAGS,
        parent=PARENTS,
        thumbnail=st.sampled_from([None, b"t"]),
    )
    def put(
        self,
        data: st.DataObject,
        name: str,
        ids: list[str],
        seed: int,
        tags: dict[str, Any],
        parent: str | None,
        thumbnail: bytes | None,
    ) -> None:
        fields = {"collection": name, "tags": tags, "parent": parent, "thumbnail": thumbnail, **vector_in(name, seed)}
        self.write("put", [record(each, self.new_version(data), **fields) for each in ids])

    @rule(
        data=st.data(),
        name=NAMES,
        turn=st.integers(0, 3),
        start=st.sampled_from([0, MANY // 2]),
        different=st.sampled_from([MANY, MANY, 3]),
    )
    def put_many(self, data: st.DataObject, name: str, turn: int, start: int, different: int) -> None:
        """Enough for structures that small collections don't have; some of them are copies of each other."""
        number = self.new_version(data)
        self.write("put", many_records(name, number, turn, range(start, MANY), different))

    @rule(
        data=st.data(),
        name=NAMES,
        ids=st.lists(SOME_ID, min_size=1, max_size=3),
        tags=TAGS,
        mode=st.sampled_from(["merge", "replace"]),
    )
    def update(self, data: st.DataObject, name: str, ids: list[str], tags: dict[str, Any], mode: Any) -> None:
        self.write("update", [TagUpdate(name, each, version(self.new_version(data)), tags, mode) for each in ids])

    @rule(data=st.data(), name=NAMES, ids=st.lists(SOME_ID, min_size=1, max_size=3))
    def delete(self, data: st.DataObject, name: str, ids: list[str]) -> None:
        self.write("delete", [DocumentKey(name, each, version(self.new_version(data))) for each in ids])

    @rule(data=st.data(), name=NAMES, ids=st.lists(SOME_ID, min_size=0, max_size=3, unique=True))
    def delete_children(self, data: st.DataObject, name: str, ids: list[str]) -> None:
        self.write("delete_children", name, ids, version(self.new_version(data)))

    @rule(data=st.data(), name=NAMES, given=FILTERS, limit=st.sampled_from([1, 3, 100]))
    def delete_matching(self, data: st.DataObject, name: str, given: dict[str, Any], limit: int) -> None:
        """The documents removed in each round may differ; together they are the same."""
        number = version(self.new_version(data))
        removed: list[list[str]] = []
        for store in (self.store, self.twin):
            names: list[str] = []
            while some := self.run(store.delete_matching(name, where(given), number, limit)):
                names += some
            removed.append(sorted(names))
        assert removed[0] == removed[1]
        self.writes.append(("delete_matching", (name, where(given), number, 1000), (name, where(given), number, 1000)))

    @rule(data=st.data(), name=NAMES, document_id=SOME_ID, same=st.booleans())
    def supersede(self, data: st.DataObject, name: str, document_id: str, same: bool) -> None:
        number = version(self.new_version(data))
        live = self.twin.digest(name, document_id) if same else None
        mine, twins = ("another", "another") if live is None else (self.digests[live], live)
        self.write(
            "supersede",
            [Superseded(name, document_id, number, mine)],
            twins=([Superseded(name, document_id, number, twins)],),
        )

    @precondition(lambda self: self.writes)
    @rule(data=st.data())
    def repeat_an_earlier_write(self, data: st.DataObject) -> None:
        name, arguments, twins = data.draw(st.sampled_from(self.writes), label="repeated")
        self.both(name, arguments, twins)

    # --- reads

    @rule(
        name=NAMES,
        seed=SEEDS,
        limit=st.integers(0, 12),
        threshold=st.sampled_from([None, None, -0.2, 0.5, 1.5]),
        ceiling=st.sampled_from([None, None, None, 0.3, 0.9]),
        given=st.none() | FILTERS,
        group_by=GROUPS,
        exact=st.booleans(),
        embedding=st.booleans(),
    )
    def search(self, name: str, seed: int, limit: int, given: dict[str, Any] | None, **changes: Any) -> None:
        vector = vector_in(name, seed)
        fields = {
            "collection": name,
            "queries": vector["embedding"][np.newaxis],
            "model_id": vector["model_id"],
            "where": None if given is None else where(given),
            **changes,
        }
        answer, code = self.answer(self.store, "search", (SearchRequest(limit=limit, **fields),), {})
        # This reads every possible hit, so ties, and ties of ties, need no rule here.
        complete, refused = self.answer(self.twin, "search", (SearchRequest(limit=100_000, **fields),), {})
        ungrouped, _ = self.answer(
            self.twin, "search", (SearchRequest(limit=100_000, **fields | {"group_by": None}),), {}
        )
        assert code == refused
        if not code:
            same_hits(answer[0], complete[0], ungrouped[0], limit)

    @rule(name=NAMES, given=st.none() | FILTERS, after=st.sampled_from(["", *IDS]), limit=st.integers(0, 30))
    def scroll(self, name: str, given: dict[str, Any] | None, after: str, limit: int) -> None:
        condition = None if given is None else where(given)
        self.both("scroll", (name, after, limit), where=condition, embedding=True)
        self.both("count", (name, condition))

    @rule(names=st.lists(SOME_ID, max_size=3), name=NAMES)
    def get(self, name: str, names: list[str]) -> None:
        self.both("get", (name, [*names, "nobody"]), embedding=True, thumbnail=True)

    # --- calls that must change nothing

    @rule()
    def reopen(self) -> None:
        self.run(self.store.close())
        self.store = self.run(self.harness.open())

    @rule(name=st.none() | NAMES)
    def reindex(self, name: str | None) -> None:
        self.both("reindex", (name,))

    @rule()
    def settle(self) -> None:
        self.run(self.harness.settle(self.store))

    @rule()
    def verify(self) -> None:
        report, expected = self.run(self.store.verify()), self.run(self.twin.verify())
        assert list(report.faults) == []
        assert set(report.keys) == set(expected.keys)
        assert report.documents == len(report.keys) == len(expected.keys)

    @invariant()
    def the_counts_agree(self) -> None:
        if hasattr(self, "store"):
            for collection in COLLECTIONS[:2]:
                self.both("count", (collection.name,))

    def check_everything(self) -> None:
        self.verify()
        for collection in COLLECTIONS[:2]:
            self.both("scroll", (collection.name, "", 1000), embedding=True, thumbnail=True)
            self.search(collection.name, 0, 1000, None, threshold=None, group_by=None, exact=False, embedding=True)
        mine, twins = self.run(self.store.status()), self.run(self.twin.status())
        assert (mine.identity, mine.last_version) == (twins.identity, twins.last_version)
        assert set(mine.collections) == set(twins.collections)

    def note_digests(self, outcomes: Sequence[WriteOutcome], expected: Sequence[WriteOutcome]) -> None:
        """The digest identifies the content: equal content has one digest, after every kind of write."""
        for outcome, twins in zip(outcomes, expected, strict=True):
            if outcome.result in ("created", "replaced", "unchanged", "updated") and len(twins.digest) == 64:
                assert self.digests.setdefault(twins.digest, outcome.digest) == outcome.digest
        assert len(set(self.digests.values())) == len(self.digests)


def machine_for(make_harness: Callable[[Path], Harness]) -> type[StoreMachine]:
    """The state machine for one implementation: `make_harness` is given an empty folder."""
    return type("StoreMachineFor", (StoreMachine,), {"make_harness": staticmethod(make_harness)})
