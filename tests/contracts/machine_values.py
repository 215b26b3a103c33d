"""The values that the state machine of stores draws: few ids and values, so that they collide."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from executors.index.records import Collection, Record
from tests.support.stores.records import IMAGES, MODEL, record, vector_of

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


def vector_in(name: str, seed: int) -> dict[str, Any]:
    """The vector of the seed in a collection, and the model that made it."""
    collection = next(each for each in COLLECTIONS if each.name == name)
    return {"model_id": collection.model_id, "embedding": vector_of(seed, collection.dimension)}


def many_records(name: str, number: int, turn: int, numbers: range, different: int) -> list[Record]:
    """Documents of one version, with so many different vectors."""
    return [
        record(
            f"many {n}",
            number,
            collection=name,
            tags={"many": turn, "x": n % 3},
            **vector_in(name, 100 * turn + n % different + 50),
        )
        for n in numbers
    ]
