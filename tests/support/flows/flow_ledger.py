"""A flow under load that is killed: what its clients were told, and what may therefore be there. No I/O.

A write that was not acknowledged may have happened, or happen as long as the flow is up; so an id is known by the set of
states that it may be in, and is certain again when a later write of it is acknowledged.
"""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from executors.client.answers import FoundDocument, WriteResult
from executors.client.requests import Document
from tests.support.stores.records import unit

MODEL = "crash@1"
DIMENSION = 16
GROUPS = 3
# Places in a lane: what comes from which other one. 1 to 7 come from 0, 8 and 9 from 1 and 2.
PARENTS = {**dict.fromkeys(range(1, 8), 0), 8: 1, 9: 2}

Operation: TypeAlias = Literal["put", "update", "remove"]
# None (no document), or what its last put and its last update since were called.
State: TypeAlias = tuple[str, str] | None
# What a result says about the moment before: whether there was a document.
_WAS_THERE = {"created": False, "not_found": False, "replaced": True, "updated": True, "deleted": True}


def name_of(lane: str, place: int) -> str:
    return f"{lane} {place:04d}"


def place_of(document_id: str) -> int:
    return int(document_id.rpartition(" ")[2])


def parent_of(document_id: str) -> str | None:
    """The id that this one comes from; only in lanes whose name begins with `lane`."""
    lane, _, _ = document_id.rpartition(" ")
    place = PARENTS.get(place_of(document_id))
    return None if place is None or not lane.startswith("lane") else name_of(lane, place)


def descendants_of(names: Iterable[str], among: Sequence[str], there: Iterable[str]) -> set[str]:
    """Return the descendants of these documents, through documents that exist."""
    found, living = set(names), set(there)
    while new := {each for each in among if each in living and each not in found and parent_of(each) in found}:
        found |= new
    return found - set(names)


def tags_of(document_id: str, put: str) -> dict[str, Any]:
    return {"put": put, "lane": document_id.rpartition(" ")[0], "group": place_of(document_id) % GROUPS}


def vector_of(document_id: str, put: str) -> NDArray[np.float32]:
    """The vector of this put: `DIMENSION` float32 of unit length."""
    seed = zlib.crc32(f"{document_id} {put}".encode())
    return unit(np.random.default_rng(seed).standard_normal(DIMENSION))


def document_of(document_id: str, put: str, collection: str) -> Document:
    """Return the document that a client sends for this put."""
    return Document(
        id=document_id,
        embedding=vector_of(document_id, put).tolist(),
        tags=tags_of(document_id, put),
        collection=collection,
        parent=parent_of(document_id),
        model_id=MODEL,
    )


def _after(operation: Operation, token: str, state: State) -> State:
    if operation == "put":
        return token, ""
    return None if operation == "remove" or state is None else (state[0], token)


@dataclass
class Ledger:
    """By collection and id, the states that a document may be in.

    Attributes:
        putting: ids of puts that were not acknowledged: they alone may stand in two shards.
        refusals: how often each code was answered.
        doubles: how many ids stood in two shards after kills.
        plans: the plans of searches that were explained.
    """

    states: defaultdict[str, defaultdict[str, set[State]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(lambda: {None}))
    )
    putting: set[str] = field(default_factory=set)
    acknowledged: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    doubles: int = 0
    plans: Counter[str] = field(default_factory=Counter)

    def may(self, collection: str, operation: Operation, token: str, ids: Iterable[str]) -> dict[str, set[State]]:
        """A write of these ids is about to be sent; the states before."""
        known = self.states[collection]
        before = {each: set(known[each]) for each in ids}
        for each, states in before.items():
            known[each] = states | {_after(operation, token, state) for state in states}
            if operation == "put":
                self.putting.add(each)
        return before

    def did(self, collection: str, operation: Operation, token: str, ids: Iterable[str]) -> None:
        """Note that the write was acknowledged."""
        known = self.states[collection]
        for each in ids:
            known[each] = {_after(operation, token, state) for state in known[each]}
            self.acknowledged[operation] += 1
            if operation == "put":
                self.putting.discard(each)

    def answered(
        self,
        collection: str,
        operation: Operation,
        token: str,
        before: dict[str, set[State]],
        results: Iterable[WriteResult],
    ) -> None:
        """The answer to a write, document by document: what it says must fit what was known."""
        for result in results:
            unknown = result.error is not None and result.error.code == "not_found"
            if result.error is not None and not unknown:
                self.refusals[result.error.code] += 1
                continue
            was_there = _WAS_THERE["not_found" if unknown else str(result.result)]
            assert any((state is not None) == was_there for state in before[result.id]), (result, before[result.id])
            self.did(collection, operation, token, [result.id])

    def gone(self, collection: str, ids: Iterable[str]) -> None:
        """These were removed, certainly."""
        self.states[collection].update({each: {None} for each in ids})
        self.acknowledged["remove"] += 1

    def may_be_gone(self, collection: str, ids: Iterable[str]) -> None:
        """These may have gone with another one."""
        for each in ids:
            self.states[collection][each].add(None)

    def certain(self, collection: str) -> dict[str, tuple[str, str]]:
        """Return the documents that must be there, whether unacknowledged writes were applied or not, by id."""
        known = self.states[collection].items()
        one = {name: next(iter(states)) for name, states in known if len(states) == 1}
        return {name: state for name, state in one.items() if state is not None}

    def possible(self, collection: str) -> set[str]:
        """The documents that may be there."""
        return {name for name, states in self.states[collection].items() if states != {None}}

    def check_states(self, collection: str, names: Sequence[str], found: Iterable[FoundDocument]) -> list[State]:
        """Each document is in a state that it may be in, with its tags, parent and vector.

        Args:
            found: what `get` with vectors answered for `names`.
        """
        pairs = zip(names, found, strict=True)
        states = [state_of(name, document) for name, document in pairs]
        for name, state in zip(names, states, strict=True):
            assert state in self.states[collection][name], (name, state, self.states[collection][name])
        return states

    def settle(self, collection: str, names: Sequence[str], states: Sequence[State]) -> None:
        """Nothing is in flight any more: what is there is how it is."""
        self.states[collection].update({name: {state} for name, state in zip(names, states, strict=True)})


def state_of(name: str, document: FoundDocument) -> State:
    """The state of a document that was read; fails if it is not whole."""
    if document.error is not None:
        assert document.error.code in ("not_found", "collection_not_found"), document.error
        return None
    put, update = str(document.tags["put"]), str(document.tags.get("updated", ""))
    assert document.tags == tags_of(name, put) | ({"updated": update} if update else {})
    assert document.parent == parent_of(name)
    assert document.model_id == MODEL
    np.testing.assert_array_equal(np.asarray(document.embedding, dtype=np.float32), vector_of(name, put))
    return put, update
