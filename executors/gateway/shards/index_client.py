"""The sharded index as the gateway sees it: joined once, then written and read with an account of every shard."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from executors.documents import Failure, ImageDoc
from executors.errors import ABSENT, VisualSearchError, error_from_json
from executors.gateway.flow.stages import Stages
from executors.gateway.shards.crash_recovery import settle
from executors.gateway.shards.membership import Membership, ShardReport, form_index, unite_collections
from executors.index.records import Collection
from executors.index.wire.columns import unpack
from executors.index.wire.documents import collection_of

_LOWEST = 0


class IndexClient:
    """Sends requests to all shards at once. A read may be partial if the caller allows it; a write may not.

    Args:
        stages: sends requests to the stages.
        settle_ms: milliseconds, longer than any write takes; a crash may have interrupted writes younger than this.
    """

    def __init__(self, stages: Stages, settle_ms: int) -> None:
        self._stages = stages
        self._settle_ms = settle_ms
        self._lock = asyncio.Lock()
        self.membership: Membership | None = None

    async def join(self) -> Membership:
        """Ask every shard for its identity, decide which index they form, tell them, and complete interrupted writes.

        Raises:
            VisualSearchError: `not_ready`, `shard_identity`, `model_mismatch`, `unavailable`.
        """
        reports = [ShardReport.from_columns(each) for each in await self.shard_reports()]
        membership = await self._agree(form_index(reports))
        await self._adopt(membership, [])
        self.membership = membership
        await settle(self, membership, self._settle_ms)
        # The collections are certain only now that interrupted drops are completed.
        membership = await self._refresh()
        await self._adopt(membership, membership.collections.values())
        return membership

    async def shard_reports(self, *, whole: bool = False) -> list[dict[str, Any]]:
        """Return the status report of each shard that answers.

        Raises:
            VisualSearchError: with `whole`, `shard_missing` if a shard does not answer, or the error of one that can't
                report; otherwise that error only if no shard can report.
        """
        answers = await self._gather("/status")
        reports = [each for each in answers if "number" in each]
        failed = next((each["failed"] for each in answers if "failed" in each), None)
        if failed is not None and (whole or not reports):
            raise error_from_json(failed)
        if whole and len(reports) < self.joined().shards:
            raise _missing(len(reports), self.joined().shards)
        return reports

    async def verify(self, *, repair: bool = False) -> list[dict[str, Any]]:
        """Return the verification reports of all shards, or raise an error."""
        return list(unpack(await self.ask("/verify", {"repair": repair}))["shards"])

    async def reindex(self, collection: str | None) -> None:
        """Begin to rebuild the graphs in every shard."""
        await self.ask("/reindex", {"collection": collection})

    async def ask(self, endpoint: str, columns: Mapping[str, Any], *, allow_partial: bool = False) -> ImageDoc:
        """Send all shards a request that is not about single documents, and return the merged answer.

        Raises:
            VisualSearchError: `shard_missing` unless `allow_partial`, or the error of a shard.
        """
        return (await self.ask_each(endpoint, [columns], allow_partial=allow_partial))[0]

    async def ask_each(
        self, endpoint: str, requests: Sequence[Mapping[str, Any]], *, allow_partial: bool = False
    ) -> list[ImageDoc]:
        """Send several such requests in one message; see `ask`."""
        documents = [ImageDoc.from_values(id=f"report-{n}", hits=orjson.dumps(each)) for n, each in enumerate(requests)]
        answers = (await self._stages.post(endpoint, documents, target=self._stages.topology.index)).documents
        self.check_whole(answers, allow_partial=allow_partial)
        for answer in answers:
            if answer.error is not None:
                raise answer.error.to_error()
        return answers

    async def refresh(self) -> Membership:
        """Learn which collections there are now: another gateway may have created or dropped some.

        Raises:
            VisualSearchError: `not_ready`, `shard_missing`, or the error of a shard that can't answer.
        """
        async with self._lock:
            return await self._refresh()

    async def drop(self, name: str, version: str) -> int | None:
        """Drop a collection with all its documents.

        Returns:
            How many documents it had; None if no shard knew it.
        """
        async with self._lock:
            answer = await self.ask("/drop", {"collection": name, "version": version})
            self.forget([name])
        documents: int | None = unpack(answer)["documents"]
        return documents

    def forget(self, names: Iterable[str]) -> None:
        """Forget collections that were dropped."""
        membership = self.joined()
        gone = set(names)
        kept = {name: each for name, each in membership.collections.items() if name not in gone}
        self.membership = replace(membership, collections=kept)

    async def ensure_collections(self, wanted: Sequence[Collection]) -> dict[str, VisualSearchError]:
        """Create collections on every shard before their first document.

        Returns:
            The errors of collections that are bound to another model or dimension, by name.

        Raises:
            VisualSearchError: `not_ready`, or the error of a shard that can't answer.
        """
        async with self._lock:
            membership = self.joined()
            if any(_differs(membership.collections.get(each.name), each) for each in wanted):
                # Another gateway may have dropped the collection and created it again.
                membership = await self._refresh()
            refused: dict[str, VisualSearchError] = {}
            new: dict[str, Collection] = {}
            for collection in wanted:
                bound = membership.collections.get(collection.name) or new.get(collection.name)
                if bound is None:
                    new[collection.name] = collection
                elif bound != collection:
                    refused[collection.name] = mismatch(bound, collection)
            if new or not membership.populated:
                agreed = await self._still_agreed(membership)
                changed = replace(agreed, populated=True, collections=membership.collections | new)
                # Send only the new collections: one that another gateway has dropped must not come back.
                await self._adopt(changed, new.values())
                self.membership = changed
        return refused

    async def supersede(self, written: Sequence[tuple[ImageDoc, dict[str, Any]]]) -> list[str]:
        """Remove the older copies of documents that one shard has just stored from all other shards.

        Args:
            written: each stored document with the columns of its answer (its owner and digest).

        Returns:
            The result for each document: `replaced`, `unchanged`, `not_found` or `stale_version`.
        """
        columns = {
            "collections": [collection_of(document) for document, _ in written],
            "ids": [document.id for document, _ in written],
            "versions": [document.version for document, _ in written],
            "digests": [columns["digest"] for _, columns in written],
            "owners": [columns["shard"][1] for _, columns in written],
        }
        return list(unpack(await self.ask("/supersede", columns))["results"])

    def check_whole(self, documents: Sequence[ImageDoc], *, allow_partial: bool = False) -> None:
        """Put `shard_missing` into every answer that lacks a shard, unless the caller allows partial answers."""
        expected = self.joined().shards
        for document in documents:
            if document.error is not None and not document.shards_total:
                continue
            total = max(document.shards_total or 0, expected)
            document.put(shards_total=total)
            answered = document.shards_answered or 0
            # A document that is in none of the shards that answered may be in the missing one.
            unknown = document.error is None or document.error.code in ABSENT
            if answered < total and not allow_partial and unknown:
                document.error = Failure.of(_missing(answered, total), "index")

    def joined(self) -> Membership:
        """Return the index that the shards form.

        Raises:
            VisualSearchError: `not_ready`.
        """
        if self.membership is None:
            raise VisualSearchError("not_ready", "the gateway has not heard from every shard yet")
        return self.membership

    async def _refresh(self) -> Membership:
        reports = [ShardReport.from_columns(each) for each in await self.shard_reports(whole=True)]
        self.membership = replace(self.joined(), collections=unite_collections(reports))
        return self.membership

    async def _agree(self, membership: Membership) -> Membership:
        """Let the lowest shard decide the uuid of a new index, because several gateways may form it at the same time."""
        if membership.populated:
            return membership
        answers = await self._gather("/adopt", _columns_of(membership, [], proposed_to=_LOWEST))
        shards = [each["shard"] for each in answers if each.get("shard")]
        decided = next((str(uuid) for uuid, number, _ in shards if number == _LOWEST), None)
        if decided is None:
            raise VisualSearchError("not_ready", f"shard {_LOWEST} has not answered which index it belongs to")
        return replace(membership, uuid=decided)

    async def _still_agreed(self, membership: Membership) -> Membership:
        """Ask again which index the shards form, if this gateway has seen no write yet.

        Since it joined, other gateways may have written, or formed another index from the empty shards.
        """
        if membership.populated:
            return membership
        reports = await self.shard_reports(whole=True)
        return await self._agree(form_index([ShardReport.from_columns(each) for each in reports]))

    async def _adopt(self, membership: Membership, collections: Iterable[Collection]) -> None:
        answered = len(await self._gather("/adopt", _columns_of(membership, collections)))
        if answered < membership.shards:
            raise _missing(answered, membership.shards)

    async def _gather(self, endpoint: str, columns: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return the report of every shard that answers, without an error for the others."""
        request = ImageDoc.from_values(id="report", hits=orjson.dumps(columns or {}))
        answer = (await self._stages.post(endpoint, [request], target=self._stages.topology.index)).documents[0]
        if answer.error is not None:
            raise answer.error.to_error()
        return list(unpack(answer)["shards"])


def _columns_of(
    membership: Membership, collections: Iterable[Collection], *, proposed_to: int | None = None
) -> dict[str, Any]:
    return {
        "uuid": membership.uuid,
        "shards": membership.shards,
        "populated": membership.populated,
        "collections": [[each.name, each.model_id, each.dimension] for each in collections],
        "proposed_to": proposed_to,
    }


def _differs(bound: Collection | None, given: Collection) -> bool:
    return bound is not None and bound != given


def _missing(answered: int, total: int) -> VisualSearchError:
    return VisualSearchError("shard_missing", f"{answered} of {total} shards answered", answered=answered, total=total)


def mismatch(bound: Collection, given: Collection) -> VisualSearchError:
    """Return the error for vectors of `given` in a collection that has the binding `bound`."""
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
