"""The counts of shards, added up in the gateway."""

from __future__ import annotations

import orjson
import pytest

from executors.documents import Failure, ImageDoc
from executors.errors import VisualSearchError, collection_not_found
from executors.index.records import FacetCounts
from executors.index.wire.columns import unpack
from executors.index.wire.facets import merge_facets, pack_facets, top_values, total_of

PATHS = ["a", "b"]


def answer_of(counts: FacetCounts) -> ImageDoc:
    packed = pack_facets(counts)
    return ImageDoc.from_values(id="r", hits=orjson.dumps(packed.columns), blob=packed.content)


def merged(*answers: ImageDoc) -> ImageDoc:
    return merge_facets(answers, [unpack(each) for each in answers])


def absent() -> ImageDoc:
    return ImageDoc.from_values(id="r", error=Failure.of(collection_not_found("x"), "index"), hits=b"{}")


def test_counts_of_all_shards_are_added_up() -> None:
    first = answer_of(FacetCounts(3, [[("x", 2), (1, 1)], [(True, 3)]]))
    second = answer_of(FacetCounts(4, [[("x", 1), ("y", 3), (True, 3)], []]))
    found = merged(first, second, absent())
    assert (found.error, total_of(found)) == (None, 7)
    assert top_values(found, PATHS, 2) == [
        {"path": "a", "values": [{"value": True, "count": 3}, {"value": "x", "count": 3}], "more": 2},
        {"path": "b", "values": [{"value": True, "count": 3}], "more": 0},
    ]


def test_a_value_that_is_rare_in_every_shard_may_be_the_most_frequent() -> None:
    shards = [answer_of(FacetCounts(9, [[(f"only {n}", 4), ("everywhere", 2)], []])) for n in range(3)]
    (a, _) = top_values(merged(*shards), PATHS, 1)
    assert a == {"path": "a", "values": [{"value": "everywhere", "count": 6}], "more": 3}


def test_ties_have_an_order() -> None:
    values = ["b", "a", 2, 1.5, True, False, None]
    (a, _) = top_values(merged(answer_of(FacetCounts(1, [[(each, 1) for each in values], []]))), PATHS, 10)
    assert [repr(each["value"]) for each in a["values"]] == ["None", "False", "True", "1.5", "2", "'a'", "'b'"]


def test_an_error_only_if_every_shard_has_one() -> None:
    found = merged(absent(), absent())
    assert found.error is not None
    assert found.error.code == "collection_not_found"


def test_the_bound_holds_for_all_shards_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executors.index.facets.MAX_CHARACTERS", 3)
    shards = [answer_of(FacetCounts(1, [[(each * 2, 1)], []])) for each in "xy"]
    assert top_values(merged(shards[0], shards[0]), PATHS, 1)[0]["values"] == [{"value": "xx", "count": 2}]
    with pytest.raises(VisualSearchError, match="too_many_values"):
        top_values(merged(*shards), PATHS, 1)
