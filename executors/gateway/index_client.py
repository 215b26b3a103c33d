"""The sharded index as the gateway sees it: joined once, then written and read with an account of every shard."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson

from executors.documents import Failure, ImageDoc
from executors.errors import VisualSearchError
from executors.gateway.membership import Membership, ShardReport, form_index
from executors.gateway.stages import Stages
from executors.index.answers import collection_of
from executors.index.merge import unpack
from executors.index.records import Collection

INDEX = "^index$"


class IndexClient:
    """Speaks to all shards at once. Reads may be partial if the caller says so; writes never are."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._lock = asyncio.Lock()
        self.membership: Membership | None = None

    async def join(self) -> Membership:
        """Ask every shard who it is, decide which index they form, and tell them.

        Raises:
            VisualSearchError: `not_ready`, `shard_identity`, `model_mismatch`, `unavailable`.
        """
        reports = [ShardReport.from_columns(each) for each in await self.shard_reports()]
        membership = form_index(reports)
        await self._adopt(membership)
        self.membership = membership
        return membership

    async def shard_reports(self) -> list[dict[str, Any]]:
        """One status report for each shard that answers."""
        return await self._gather("/status")

    async def verify(self) -> list[dict[str, Any]]:
        """One verification report for each shard; all of them, or an error."""
        return await self._gather("/verify", whole=True)

    async def ensure_collections(self, wanted: Sequence[Collection]) -> dict[str, VisualSearchError]:
        """Create collections on every shard before their first document.

        Returns:
            For collections that are bound to another model or dimension, the error.

        Raises:
            VisualSearchError: `not_ready`, or what keeps a shard from answering.
        """
        membership = self.joined()
        refused: dict[str, VisualSearchError] = {}
        async with self._lock:
            new: dict[str, Collection] = {}
            for collection in wanted:
                bound = membership.collections.get(collection.name) or new.get(collection.name)
                if bound is None:
                    new[collection.name] = collection
                elif bound != collection:
                    refused[collection.name] = mismatch(bound, collection)
            if new or not membership.populated:
                changed = Membership(
                    membership.uuid, membership.shards, True, membership.collections | new, membership.last_version
                )
                await self._adopt(changed)
                self.membership = changed
        return refused

    async def supersede(self, written: Sequence[tuple[ImageDoc, dict[str, Any]]]) -> list[str]:
        """Remove the older copies of what one shard has just stored, everywhere else.

        Args:
            written: each stored document with the columns of its answer (its owner and digest).

        Returns:
            For each, what became of older copies: `replaced`, `unchanged`, `not_found` or `stale_version`.
        """
        columns = {
            "collections": [collection_of(document) for document, _ in written],
            "ids": [document.id for document, _ in written],
            "versions": [document.version for document, _ in written],
            "digests": [columns["digest"] for _, columns in written],
            "owners": [columns["shard"][1] for _, columns in written],
        }
        return list(unpack(await self._report("/supersede", columns, whole=True))["results"])

    def check_whole(self, documents: Sequence[ImageDoc], *, allow_partial: bool = False) -> None:
        """Put `shard_missing` into every answer that not all shards took part in, unless the caller accepts that."""
        expected = self.joined().shards
        for document in documents:
            if document.error is not None and not document.shards_total:
                continue
            document.shards_total = max(document.shards_total or 0, expected)
            answered = document.shards_answered or 0
            if answered < document.shards_total and not allow_partial and document.error is None:
                document.error = _missing(answered, document.shards_total)

    def joined(self) -> Membership:
        """The index as its shards form it.

        Raises:
            VisualSearchError: `not_ready`.
        """
        if self.membership is None:
            raise VisualSearchError("not_ready", "the gateway has not heard from every shard yet")
        return self.membership

    async def _adopt(self, membership: Membership) -> None:
        bindings = [[each.name, each.model_id, each.dimension] for each in membership.collections.values()]
        columns = {
            "uuid": membership.uuid,
            "shards": membership.shards,
            "populated": membership.populated,
            "collections": bindings,
        }
        answer = await self._report("/adopt", columns)
        answered = len(unpack(answer)["shards"])
        if answered < membership.shards:
            raise _error_of(_missing(answered, membership.shards))

    async def _gather(self, endpoint: str, *, whole: bool = False) -> list[dict[str, Any]]:
        return list(unpack(await self._report(endpoint, {}, whole=whole))["shards"])

    async def _report(self, endpoint: str, columns: dict[str, Any], *, whole: bool = False) -> ImageDoc:
        request = ImageDoc.from_values(id="report", hits=orjson.dumps(columns))
        answer = (await self._stages.post(endpoint, [request], target=INDEX)).documents[0]
        if whole:
            self.check_whole([answer])
        if answer.error is not None:
            raise _error_of(answer.error)
        return answer


def _missing(answered: int, total: int) -> Failure:
    error = VisualSearchError("shard_missing", f"{answered} of {total} shards answered", answered=answered, total=total)
    return Failure(**error.to_json(), stage="index")


def mismatch(bound: Collection, given: Collection) -> VisualSearchError:
    """What is wrong with vectors of `given` for a collection that is bound as `bound` says."""
    if bound.model_id != given.model_id:
        return VisualSearchError(
            "model_mismatch",
            f"the collection {bound.name!r} is bound to the model {bound.model_id}",
            collection=bound.name,
            expected=bound.model_id,
            got=given.model_id,
        )
    return VisualSearchError(
        "dimension_mismatch",
        f"the collection {bound.name!r} holds vectors of {bound.dimension} numbers, not {given.dimension}",
        collection=bound.name,
        expected=bound.dimension,
        got=given.dimension,
    )


def _error_of(failure: Failure) -> VisualSearchError:
    return VisualSearchError(failure.code, failure.message, **failure.details)
