"""The answers of all shards are merged, and a part of them is never presented as the whole."""

from typing import Any

import orjson
import pytest

from executors.documents import Failure, ImageDoc
from executors.index.records import Hits, ShardIdentity
from executors.index.wire import merge
from executors.index.wire.columns import pack, unpack
from executors.index.wire.hits import hits_to_columns


def identity(shard: int, shards: int = 2, uuid: str = "u") -> ShardIdentity:
    return ShardIdentity(uuid, shard, shards)


def hits(*rows: tuple[str, float], version: str = "1") -> dict:
    n = len(rows)
    return hits_to_columns(
        Hits([r[0] for r in rows], [r[1] for r in rows], [version] * n, [None] * n, [{}] * n, [None] * n, [None] * n)
    )


def answer(shard: ShardIdentity | None, payload: dict, error: str | None = None, **fields: object) -> ImageDoc:
    failure = Failure(code=error, message="m") if error else None
    return ImageDoc.from_values(id="q", hits=pack(shard, payload), error=failure, **fields)


def search(*answers: ImageDoc, limit: int = 10, offset: int = 0) -> ImageDoc:
    def merge_one(documents: Any, columns: Any) -> Any:
        return merge.merge_search(documents, columns, limit=limit, offset=offset)

    return merge.merge_shards([[each] for each in answers], merge_one)[0]


def found(document: ImageDoc) -> list[tuple[str, float]]:
    columns = orjson.loads(document.hits or b"{}")
    return list(zip(columns["ids"], columns["scores"], strict=True))


def test_the_best_come_first_and_ties_are_ordered_by_id() -> None:
    first = answer(identity(0), hits(("b", 0.9), ("d", 0.5)))
    second = answer(identity(1), hits(("a", 0.9), ("c", 0.7)))
    assert found(search(first, second)) == [("a", 0.9), ("b", 0.9), ("c", 0.7), ("d", 0.5)]


def test_ids_are_ordered_by_code_points() -> None:
    first = answer(identity(0), hits(("Z", 0.5), ("é", 0.5)))
    second = answer(identity(1), hits(("a", 0.5), ("\U0001f600", 0.5)))
    assert [each for each, _ in found(search(first, second))] == ["Z", "a", "é", "\U0001f600"]


def test_offset_and_limit_cut_the_merged_page() -> None:
    first = answer(identity(0), hits(("a", 0.9), ("c", 0.7)))
    second = answer(identity(1), hits(("b", 0.8), ("d", 0.6)))
    assert found(search(first, second, limit=2, offset=1)) == [("b", 0.8), ("c", 0.7)]
    assert found(search(first, second, limit=2, offset=9)) == []


def test_of_two_copies_the_newest_counts() -> None:
    old = answer(identity(0), hits(("a", 0.99), version="1"))
    new = answer(identity(1), hits(("a", 0.2), ("b", 0.5), version="2"))
    assert found(search(old, new)) == [("b", 0.5), ("a", 0.2)]


def test_the_account_says_which_shards_answered() -> None:
    document = search(answer(identity(1), hits(("a", 1.0))))
    assert (document.shards_total, document.shards_answered) == (2, 1)
    assert document.error is None


@pytest.mark.parametrize(
    "shards",
    [
        (identity(0, uuid="u"), identity(1, uuid="v")),
        (identity(0), identity(0)),
        (identity(0, 2), identity(1, 3)),
        (None, None),
    ],
    ids=["foreign", "same number twice", "different counts", "nobody"],
)
def test_shards_that_do_not_belong_together_are_refused(shards: tuple) -> None:
    document = search(*(answer(each, hits(("a", 1.0))) for each in shards))
    assert document.error is not None
    assert document.error.code == "shard_identity"
    assert not document.hits


def test_a_fault_of_one_shard_is_the_answers_fault() -> None:
    good = answer(identity(0), hits(("a", 1.0)))
    bad = answer(identity(1), {}, "storage_unavailable")
    document = search(good, bad)
    assert document.error is not None
    assert document.error.code == "storage_unavailable"


def test_a_collection_that_only_some_shards_know_is_searched_where_it_is() -> None:
    good = answer(identity(0), hits(("a", 1.0)))
    absent = answer(identity(1), {}, "collection_not_found")
    assert found(search(good, absent)) == [("a", 1.0)]
    document = search(absent)
    assert document.error is not None
    assert document.error.code == "collection_not_found"


def test_a_write_is_answered_by_the_shard_that_holds_the_id() -> None:
    absent = answer(identity(0), {}, result="not_found", version="9")
    holder = answer(identity(1), {}, result="deleted", version="9")
    for order in ([absent, holder], [holder, absent]):
        assert merge.merge_shards([[each] for each in order], merge.merge_write)[0].result == "deleted"
    assert merge.merge_shards([[absent], [answer(identity(1), {}, result="not_found")]], merge.merge_write)[
        0
    ].result == ("not_found")


def test_a_stale_write_is_an_error_whatever_other_shards_answered() -> None:
    stale = answer(identity(0), {}, "stale_version")
    absent = answer(identity(1), {}, result="not_found")
    merged = merge.merge_shards([[stale], [absent]], merge.merge_write)[0]
    assert merged.error is not None
    assert merged.error.code == "stale_version"


def test_a_read_returns_the_newest_copy() -> None:
    old = answer(identity(0), {}, version="1", tags={"n": 1})
    new = answer(identity(1), {}, version="2", tags={"n": 2})
    absent = answer(identity(0), {}, "not_found")
    assert merge.merge_shards([[old], [new]], merge.merge_get)[0].tags == {"n": 2}
    assert merge.merge_shards([[absent], [new]], merge.merge_get)[0].tags == {"n": 2}
    gone = merge.merge_shards([[absent], [answer(identity(1), {}, "not_found")]], merge.merge_get)[0]
    assert gone.error is not None
    assert gone.error.code == "not_found"


def test_superseding_reports_what_any_shard_removed() -> None:
    first = answer(identity(0), {"results": ["not_found", "replaced", "unchanged", "not_found"]})
    second = answer(identity(1), {"results": ["not_found", "not_found", "not_found", "stale_version"]})
    merged = merge.merge_shards([[first], [second]], merge.merge_supersede)[0]
    assert unpack(merged)["results"] == ["not_found", "replaced", "unchanged", "stale_version"]


def test_a_report_on_shards_is_given_even_when_they_do_not_fit_together() -> None:
    shards = [answer(identity(0, uuid="u"), {"n": 1}), answer(identity(1, uuid="v"), {"n": 2})]
    merged = merge.merge_shards([[each] for each in shards], merge.gather, strict=False)[0]
    assert [each["n"] for each in unpack(merged)["shards"]] == [1, 2]


def test_parts_of_a_shard_that_are_missing_count_like_shards_that_are() -> None:
    """A store that spreads a shard over a cluster reports which part of it answered."""
    rows = Hits(["a"], [0.9], ["1"], [None], [{}], [None], [None], partial=(1, 3))
    merged = search(answer(identity(0, 1), hits_to_columns(rows)))
    assert (merged.shards_answered, merged.shards_total) == (1, 3)
    whole = search(answer(identity(0, 1), hits(("a", 0.9))))
    assert (whole.shards_answered, whole.shards_total) == (1, 1)
