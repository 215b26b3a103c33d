"""Decides which shards form the index, before anything is searched or written. Pure functions."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from executors.errors import VisualSearchError
from executors.index.records import Collection


@dataclass(frozen=True, slots=True)
class ShardReport:
    """One shard's report: the identity in its files (None if there is none yet), and how the flow started it."""

    number: int
    configured_shards: int
    identity: tuple[str, int, int] | None
    populated: bool
    last_version: str
    collections: tuple[Collection, ...]

    @classmethod
    def from_columns(cls, columns: dict[str, Any]) -> ShardReport:
        """Read the report of one shard from its answer to `/status`."""
        shard = columns.get("shard")
        return cls(
            number=int(columns["number"]),
            configured_shards=int(columns["configured_shards"]),
            identity=(str(shard[0]), int(shard[1]), int(shard[2])) if shard else None,
            populated=bool(columns["populated"]),
            last_version=str(columns["last_version"]),
            collections=tuple(
                Collection(each["name"], each["model_id"], int(each["dimension"])) for each in columns["collections"]
            ),
        )


@dataclass(frozen=True, slots=True)
class Membership:
    """The index that the shards form; `/adopt` sends it to each of them."""

    uuid: str
    shards: int
    populated: bool
    collections: dict[str, Collection]
    last_version: str


def form_index(reports: Sequence[ShardReport]) -> Membership:
    """Decide which index the answering shards form, or refuse.

    Shards that hold writes decide. A shard without files, or of an index that was never written to, may join an index
    that never held a document, or join as an additional shard (no data has to move for that). Any other combination is
    refused, because searches would silently miss documents. As long as nothing was written, the uuid is only a proposal
    to the lowest shard, whose answer decides, because other gateways may be forming the index at the same time.

    Raises:
        VisualSearchError: `not_ready` while a shard has not answered, `shard_identity` for shards that do not belong
            together, `model_mismatch` if they bind a collection to different models.
    """
    configured = max((report.configured_shards for report in reports), default=0)
    if len({report.number for report in reports}) < max(configured, 1):
        raise VisualSearchError(
            "not_ready", f"{len(reports)} of {configured} shards have answered", answered=len(reports), total=configured
        )
    written = {report.number: report.identity for report in reports if report.identity and report.populated}
    uuids = {identity[0] for identity in written.values()}
    if len(uuids) > 1:
        raise _refuse("the shards belong to different indexes", uuids=sorted(uuids))
    for number, identity in written.items():
        if identity[1] != number:
            raise _refuse(f"the folder of shard {number} holds shard {identity[1]}", shard=number)
    remembered = max((identity[2] for identity in written.values()), default=0)
    if remembered > configured:
        raise _refuse(
            f"the index has {remembered} shards, the flow {configured}: documents would be missing; start it with"
            f" VS_SHARDS={remembered}",
            shards=remembered,
            configured=configured,
        )
    decided = uuids.pop() if uuids else uuid.uuid4().hex
    for report in reports:
        # After a crash, some of the shards may not know yet that the index holds writes.
        belongs = report.identity is not None and report.identity[:2] == (decided, report.number)
        if report.number < remembered and not belongs:
            raise _refuse(
                f"shard {report.number} came up empty, but the others remember documents: restore its folder",
                shard=report.number,
            )
    return Membership(
        uuid=decided,
        shards=configured,
        populated=bool(written),
        collections=unite_collections(reports),
        last_version=max((report.last_version for report in reports), default=""),
    )


def unite_collections(reports: Sequence[ShardReport]) -> dict[str, Collection]:
    """Return the collections that any of the shards knows.

    Raises:
        VisualSearchError: `model_mismatch` if they bind one to different models.
    """
    united: dict[str, Collection] = {}
    for report in reports:
        for collection in report.collections:
            if united.setdefault(collection.name, collection) != collection:
                raise VisualSearchError(
                    "model_mismatch",
                    f"the shards bind the collection {collection.name!r} to different models",
                    collection=collection.name,
                )
    return united


def _refuse(message: str, **details: Any) -> VisualSearchError:
    return VisualSearchError("shard_identity", message, **details)
