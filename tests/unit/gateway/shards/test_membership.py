"""The shards that may form an index: a lost or foreign one is refused, a new one is accepted."""

import pytest

from executors.errors import VisualSearchError
from executors.gateway.shards.membership import Membership, ShardReport, form_index
from executors.index.records import Collection

IMAGES = Collection("images", "m@1", 4)


def report(
    number: int,
    of: int = 2,
    identity: tuple[str, int, int] | None = None,
    populated: bool = False,
    collections: tuple[Collection, ...] = (),
) -> ShardReport:
    return ShardReport(number, of, identity, populated, f"v{number}", collections)


def refused(*reports: ShardReport) -> VisualSearchError:
    with pytest.raises(VisualSearchError) as caught:
        form_index(reports)
    return caught.value


def test_empty_shards_form_a_new_index() -> None:
    formed = form_index([report(0), report(1)])
    assert (formed.shards, formed.populated, formed.last_version) == (2, False, "v1")
    assert formed.uuid
    assert formed.uuid != form_index([report(0), report(1)]).uuid


def test_known_shards_form_their_index_again() -> None:
    shards = [report(0, 2, ("u", 0, 2), True, (IMAGES,)), report(1, 2, ("u", 1, 2), True)]
    assert form_index(shards) == Membership("u", 2, True, {"images": IMAGES}, "v1")


def test_nothing_is_decided_before_every_shard_answered() -> None:
    assert refused(report(0)).code == "not_ready"
    assert refused().code == "not_ready"


@pytest.mark.parametrize(
    "reports",
    [
        (report(0, 2, ("u", 0, 2), True), report(1)),
        (report(0), report(1, 2, ("u", 1, 2), True)),
        (report(0, 2, ("u", 0, 2), True), report(1, 2, ("v", 1, 2), True)),
        (report(0, 2, ("u", 0, 2), True), report(1, 2, ("v", 1, 2))),
        (report(0, 2, ("u", 1, 2), True), report(1, 2, ("u", 0, 2), True)),
        (report(0, 2, ("u", 0, 3), True), report(1, 2, ("u", 1, 3), True)),
    ],
    ids=[
        "empty where others remember",
        "first empty",
        "foreign",
        "foreign and never written to",
        "folders swapped",
        "fewer shards than before",
    ],
)
def test_shards_that_would_hide_documents_are_refused(reports: tuple[ShardReport, ...]) -> None:
    assert refused(*reports).code == "shard_identity"


@pytest.mark.parametrize(
    "reports",
    [
        (report(0, 2, ("u", 0, 2)), report(1)),
        (report(0, 2, ("u", 0, 2)), report(1, 2, ("v", 1, 2))),
        (report(0, 2, ("u", 1, 2)), report(1, 2, ("u", 0, 2))),
        (report(0, 1, ("u", 0, 3)),),
    ],
    ids=["one is empty", "of two indexes", "folders swapped", "fewer shards than before"],
)
def test_shards_that_were_never_written_to_form_any_index(reports: tuple[ShardReport, ...]) -> None:
    assert not form_index(reports).populated


def test_a_shard_that_was_not_told_of_the_first_write_still_belongs_to_its_index() -> None:
    formed = form_index([report(0, 2, ("u", 0, 2), True), report(1, 2, ("u", 1, 2))])
    assert (formed.uuid, formed.populated) == ("u", True)


def test_a_foreign_shard_that_was_never_written_to_may_come_as_an_additional_one() -> None:
    formed = form_index([report(0, 2, ("u", 0, 1), True), report(1, 2, ("v", 1, 2))])
    assert (formed.uuid, formed.shards) == ("u", 2)


def test_more_shards_than_before_are_taken_in() -> None:
    formed = form_index([report(0, 3, ("u", 0, 2), True), report(1, 3, ("u", 1, 2), True, (IMAGES,)), report(2, 3)])
    assert (formed.uuid, formed.shards, formed.populated) == ("u", 3, True)
    assert formed.collections == {"images": IMAGES}


def test_a_collection_bound_to_two_models_is_refused() -> None:
    other = Collection("images", "m@2", 4)
    error = refused(report(0, 2, ("u", 0, 2), True, (IMAGES,)), report(1, 2, ("u", 1, 2), True, (other,)))
    assert error.code == "model_mismatch"
