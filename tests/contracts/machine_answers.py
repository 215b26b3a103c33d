"""Comparison of two stores' answers in the state machine, and the differences that it allows."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from executors.index.records import Hits, StoredDocument, WriteOutcome
from tests.support.stores.dictionary_store import same_group

_TOLERANCE = 1e-5


def same_hits(hits: Hits, complete: Hits, ungrouped: Hits, limit: int) -> None:
    """Return whether the hits are the best of the complete ones; of those with equal scores at the cut, any may be hits.

    Args:
        complete: every hit (with groups: of every group), from the dictionaries; `ungrouped`: the same without groups.
    """
    assert len(hits.ids) == len(set(hits.ids)) == min(limit, len(complete.ids))
    assert hits.scores == pytest.approx(list(complete.scores[:limit]), abs=_TOLERANCE)
    # By score, ties by id.
    order = list(zip((-score for score in hits.scores), hits.ids, strict=True))
    assert order == sorted(order)
    rows = {name: row for row, name in enumerate(ungrouped.ids)}
    for n, name in enumerate(hits.ids):
        row = rows[name]
        assert hits.scores[n] == pytest.approx(ungrouped.scores[row], abs=_TOLERANCE)
        for column in ("versions", "uris", "parents", "boxes"):
            assert getattr(hits, column)[n] == getattr(ungrouped, column)[row]
        assert repr(sorted(hits.tags[n].items())) == repr(sorted(ungrouped.tags[row].items()))
        if ungrouped.embeddings is not None:
            assert hits.embeddings is not None
            np.testing.assert_array_equal(hits.embeddings[n], ungrouped.embeddings[row])
    assert (hits.embeddings is None) == (ungrouped.embeddings is None)
    _same_groups(hits, complete)


def _same_groups(hits: Hits, complete: Hits) -> None:
    assert (hits.groups is None) == (complete.groups is None)
    if hits.groups is None or complete.groups is None:
        return
    best: dict[Any, float] = {
        same_group(group): score for group, score in zip(complete.groups, complete.scores, strict=True)
    }
    groups = [same_group(group) for group in hits.groups]
    assert len(set(groups)) == len(groups) == len(hits.ids)
    for group, score in zip(groups, hits.scores, strict=True):
        assert score == pytest.approx(best[group], abs=_TOLERANCE)


def shown(outcome: WriteOutcome) -> tuple[Any, ...]:
    if outcome.error is not None:
        return (outcome.error.code,)
    return outcome.result, outcome.version, sorted(outcome.descendants)


def unordered(answer: Any) -> Any:
    return sorted(answer) if isinstance(answer, list) else answer


def same_documents(found: list[StoredDocument | None], expected: list[StoredDocument | None]) -> None:
    assert [None if each is None else _fields(each) for each in found] == [
        None if each is None else _fields(each) for each in expected
    ]


def _fields(document: StoredDocument) -> tuple[Any, ...]:
    vector = None if document.embedding is None else document.embedding.tolist()
    # The text of the tags distinguishes 1 from 1.0 and from true.
    tags = repr(sorted(document.tags.items()))
    others = [getattr(document, each.name) for each in fields(document) if each.name not in ("tags", "embedding")]
    return (tags, vector, *others)
