"""What the state machine of stores draws from: few ids and values, so that they meet; and how hits are compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from executors.index.records import Collection, Hits
from tests.support.dictionary_store import same_group
from tests.support.records import IMAGES, MODEL

FACES = Collection("faces", "model-f@1", 3)
# The last ones are refused while the first of their names are there.
COLLECTIONS = [IMAGES, FACES, Collection("faces", "model-g@1", 3), Collection("images", MODEL, 4)]
NAMES = st.sampled_from(["images", "images", "images", "faces", "faces"])
IDS = ["a", "b", "c", "ä", "\U0001f431", "z" * 512]
PARENTS = st.sampled_from([None, None, *IDS[:4], "nobody"])
GROUPS = st.sampled_from([None, None, None, "x", "y", "x.w", "parent", "nowhere"])

_VALUES = [None, True, False, 0, 1, 1.0, -1, 2, 0.5, 2**53, -(2**53), 2**53 - 1, "", "a", "b", "1", "a\x00", "ä"]
_SCALARS = st.sampled_from(_VALUES)
_COMPARABLE = st.sampled_from([each for each in _VALUES if each is not None and not isinstance(each, bool)])
_PATHS = st.sampled_from(["x", "x", "y", "x.w", "many", "nowhere"])
TAGS = st.dictionaries(
    st.sampled_from(["x", "y", "x.w", "z"]),
    st.one_of(
        _SCALARS,
        _SCALARS,
        st.integers(-(2**53), 2**53),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=5),
        st.lists(_SCALARS, max_size=3),
        st.fixed_dictionaries({"w": _SCALARS}),
        st.lists(st.fixed_dictionaries({"w": _SCALARS}), max_size=2),
    ),
    max_size=3,
)

_OPERATIONS = st.dictionaries(
    st.sampled_from(["$eq", "$ne", "$lt", "$lte", "$gt", "$gte", "$in", "$nin", "$exists", "$not"]), st.none(), min_size=1,
    max_size=2,
).flatmap(
    lambda names: st.fixed_dictionaries(
        {
            name: st.booleans()
            if name == "$exists"
            else st.lists(_SCALARS, max_size=3)
            if name in ("$in", "$nin")
            else st.fixed_dictionaries({"$gte": _COMPARABLE})
            if name == "$not"
            else _SCALARS
            if name in ("$eq", "$ne")
            else _COMPARABLE
            for name in names
        }
    )
)  # fmt: skip
_CONDITIONS = st.dictionaries(_PATHS, _SCALARS | _OPERATIONS, max_size=2)
FILTERS = st.recursive(
    _CONDITIONS,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"$and": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"$or": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"$not": inner}),
    ),
    max_leaves=4,
)

_TOLERANCE = 1e-5


def same_hits(hits: Hits, complete: Hits, ungrouped: Hits, limit: int) -> None:
    """Whether the hits are the best of the complete ones; which of those that tie at the cut is open.

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
