"""The contract of a store: what one shard of the index promises, whatever holds it.

Two implementations stand behind it (embedded, OpenSearch), and one set of tests holds both to it
(tests/contracts/store_contract.py). Rules that every implementation keeps:

- Durable before it returns: what `put`, `update`, `delete` and `supersede` answered survives kill -9 and power loss.
- Idempotent by (collection, id, version): the same write executed twice leaves one copy and gives the same result.
- A write is refused (`stale_version`) when the shard holds, or remembers having deleted or superseded, the same id at
  the same or a newer version, or when its collection was dropped at the same or a newer one; except that the very same
  write (same version, still the live copy) repeats its result.
- One write at fault never stops its neighbours: outcomes stand in the order of the request, errors in their place.
- What was written is found by any search that starts after the write returned (fresh writes under an ANN structure, too).
- Errors are `VisualSearchError`: `collection_not_found`, `dimension_mismatch`, `model_mismatch`, `stale_version`,
  `storage_unavailable`, `shard_identity` (no identity was adopted yet).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from executors.index.filters import Filter
from executors.index.records import (
    NEWEST,
    Collection,
    DocumentKey,
    Hits,
    RecentWrites,
    Record,
    SearchRequest,
    ShardIdentity,
    StoredDocument,
    StoreStatus,
    Superseded,
    TagUpdate,
    VerifyReport,
    WriteOutcome,
)


class Store(ABC):
    """One shard of the index. Every method may be called from several tasks at once."""

    @abstractmethod
    async def open(self) -> None:
        """Take the lock, check the files, load what searches need.

        Raises:
            VisualSearchError: `store_locked` or `store_invalid`.
        """

    @abstractmethod
    async def close(self) -> None:
        """Finish what is running and let go of the files. Safe to call twice."""

    @property
    def start_notes(self) -> Sequence[str]:
        """What `open` found and did that an operator should read in the log, a line each."""
        return ()

    @property
    @abstractmethod
    def identity(self) -> ShardIdentity | None:
        """Who this shard is, or None for one that never belonged to an index."""

    @abstractmethod
    async def adopt(self, identity: ShardIdentity, *, proposed: bool = False) -> None:
        """Become, or go on being, this shard of this index.

        A shard without identity, or of an index that was never written to, takes it. One of the same index and number
        takes over `shards` (it may only grow) and `populated` (it never goes back to False).

        Args:
            identity: who this shard is to be.
            proposed: keep an identity of the same number, whatever its index. Of several gateways that propose at the
                same time, the first one is followed.

        Raises:
            VisualSearchError: `shard_identity` for a shard that was written to and is of another index or number, or
                had more shards.
        """

    @abstractmethod
    async def ensure_collection(self, collection: Collection) -> None:
        """Create the collection, or check that it is bound to the same model and dimension.

        Raises:
            VisualSearchError: `model_mismatch` or `dimension_mismatch`.
        """

    @abstractmethod
    async def drop_collection(self, name: str, version: str) -> int | None:
        """Forget a collection with all its documents; how many there were, None if there was none of that name.

        Writes into it that are not newer than `version` are refused from now on, also after it was created again. A drop
        that comes so late that there are newer documents takes the older ones, and leaves the collection.
        """

    @abstractmethod
    async def put(self, records: Sequence[Record], *, refresh: bool = True) -> list[WriteOutcome]:
        """Insert or replace by id: `created`, `replaced`, or `unchanged` when the stored content was the same.

        The collection must exist (`collection_not_found`). Without `refresh`, a store may show the documents to searches
        a moment later: for bulk loads.
        """

    @abstractmethod
    async def supersede(self, writes: Sequence[Superseded]) -> list[WriteOutcome]:
        """Remove copies that are not newer than a write which another shard stored, and refuse such writes from now on.

        `replaced` or `unchanged` (same digest) where a copy was removed, `not_found` where there was none, the error
        `stale_version` where the copy here is newer (it stays).
        """

    @abstractmethod
    async def update(self, updates: Sequence[TagUpdate], *, refresh: bool = True) -> list[WriteOutcome]:
        """Change tags in place: `updated`, `unchanged`, or `not_found`. An older version than the stored one is stale.

        For `refresh` see `put`.
        """

    @abstractmethod
    async def delete(self, keys: Sequence[DocumentKey]) -> list[WriteOutcome]:
        """Remove documents: `deleted` or `not_found`; older writes of these ids are refused from now on, known or not.

        What came from a removed document, or from the id of one that was not there, goes with it: documents of the same
        collection whose `parent` it is, and what came from those (`descendants` of the outcome). A stale delete removes
        nothing; one that is executed again removes what came from the document under older versions since.
        """

    @abstractmethod
    async def delete_children(self, collection: str, parents: Sequence[str], version: str) -> list[str]:
        """Remove what came from documents that another shard removed: the ids of all descendants, none of `parents` itself.

        A child that was written under a newer version stays, with what came from it.
        """

    @abstractmethod
    async def delete_matching(self, collection: str, where: Filter, version: str, limit: int) -> list[str]:
        """Remove documents whose tags match, at most about `limit` of them, with all that came from them.

        Documents that were written under a newer version stay.

        Returns:
            The ids of everything that was removed; none when nothing matches any more (also: an unknown collection).
        """

    @abstractmethod
    async def get(
        self, collection: str, ids: Sequence[str], *, embedding: bool = False, thumbnail: bool = False
    ) -> list[StoredDocument | None]:
        """Read documents by id, None where there is none (also for an unknown collection)."""

    @abstractmethod
    async def search(self, request: SearchRequest) -> list[Hits]:
        """The best hits of each query by true cosine, ties by id; a collection that this shard lacks is an error.

        Small collections and `exact` compare with every document; else the best are found with a recall that the tests
        hold to 0.98. With a filter, k hits come back whenever k documents match.
        """

    @abstractmethod
    async def scroll(
        self,
        collection: str,
        after: str = "",
        limit: int = 1000,
        *,
        where: Filter | None = None,
        embedding: bool = False,
        thumbnail: bool = False,
    ) -> list[StoredDocument]:
        """The next documents (that match) in id order (by code points) after the id `after`; fewer only at the end."""

    @abstractmethod
    async def count(self, collection: str, where: Filter | None = None) -> int:
        """How many documents (that match) the collection holds here; 0 for an unknown one."""

    @abstractmethod
    async def recent(self, since: str, before: int = NEWEST, limit: int = 1000) -> RecentWrites:
        """The live documents that were put under the version `since` or a newer one, the last put first, page by page.

        The first page also lists the drops of collections since then.

        It may hold others that were written since. Puts come in about the order of their versions: a whole page of older
        ones is taken for the end.
        """

    @abstractmethod
    async def reindex(self, collection: str | None = None) -> None:
        """Begin to build the search structure of a collection (None: of each) anew from the documents; `status` shows it.

        Searches and writes go on. Nothing happens for an unknown collection.
        """

    @abstractmethod
    async def status(self) -> StoreStatus:
        """Identity, collections with their counts, and the size on disk."""

    @abstractmethod
    async def verify(self, *, repair: bool = False) -> VerifyReport:
        """Read everything back and check it: files, checksums, and that memory and graph agree with the truth.

        With `repair`, what can be made anew from the truth (tag indexes, graphs) is; `repaired` says what.
        """
