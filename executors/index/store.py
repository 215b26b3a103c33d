"""The contract of a store: the promises of one shard of the index, for every implementation.

There are two implementations (embedded, OpenSearch), and one set of tests checks both against it
(tests/contracts/store_contract.py). Every implementation keeps these rules:

- Durable before it returns: a write that `put`, `update`, `delete` or `supersede` acknowledged survives kill -9 and
  power loss.
- Idempotent by (collection, id, version): the same write executed twice leaves one copy and gives the same result.
- A write is refused (`stale_version`) if the shard holds, or remembers having deleted or superseded, the same id at the
  same or a newer version, or if its collection was dropped at the same or a newer one; except that the very same write
  (same version, still the live copy) repeats its result.
- One failing write never stops the others: outcomes are in the order of the request, errors in their place.
- A search that starts after a write returned finds what was written (fresh writes under an ANN structure, too).
- Errors are `VisualSearchError`: `collection_not_found`, `dimension_mismatch`, `model_mismatch`, `stale_version`,
  `storage_unavailable`, `shard_identity` (no identity was adopted yet).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from executors.index.filters import Filter
from executors.index.records import (
    NEWEST,
    Collection,
    DocumentKey,
    FacetCounts,
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
        """Finish running calls and release the files. Safe to call twice."""

    @property
    def start_notes(self) -> Sequence[str]:
        """Findings and actions of `open` that an operator should read in the log, a line each."""
        return ()

    @property
    @abstractmethod
    def identity(self) -> ShardIdentity | None:
        """The identity of this shard, or None if it never belonged to an index."""

    @abstractmethod
    async def adopt(self, identity: ShardIdentity, *, proposed: bool = False) -> None:
        """Become, or stay, this shard of this index.

        A shard without identity, or of an index that was never written to, takes it. A shard of the same index and
        number takes over `shards` (it may only grow) and `populated` (it never goes back to False).

        Args:
            identity: the identity to adopt.
            proposed: keep an identity of the same number, of any index. If several gateways propose at the same
                time, the first one is followed.

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
        """Drop a collection with all its documents; returns how many there were, None if there was no such collection.

        Writes into it that are not newer than `version` are refused from now on, also after it was created again. A
        late drop, with newer documents in the collection, removes the older ones and keeps the collection.
        """

    @abstractmethod
    async def put(self, records: Sequence[Record], *, refresh: bool = True) -> list[WriteOutcome]:
        """Insert or replace by id: `created`, `replaced`, or `unchanged` when the stored content was the same.

        The collection must exist (`collection_not_found`). Without `refresh`, a store may show the documents to searches
        a moment later: for bulk loads.
        """

    @abstractmethod
    async def supersede(self, writes: Sequence[Superseded]) -> list[WriteOutcome]:
        """Remove copies that are not newer than a write to another shard, and refuse such writes from now on.

        `replaced` or `unchanged` (same digest) if a copy was removed, `not_found` if there was none, the error
        `stale_version` if the copy here is newer (it stays).
        """

    @abstractmethod
    async def update(self, updates: Sequence[TagUpdate], *, refresh: bool = True) -> list[WriteOutcome]:
        """Change tags in place: `updated`, `unchanged`, or `not_found`. An older version than the stored one is stale.

        For `refresh` see `put`.
        """

    @abstractmethod
    async def delete(self, keys: Sequence[DocumentKey]) -> list[WriteOutcome]:
        """Remove documents: `deleted` or `not_found`. Older writes of these ids are refused from now on, known or not.

        Documents derived from a removed document, or from an id that was not there, are removed with it: documents of
        the same collection whose `parent` it is, and those derived from them (`descendants` of the outcome). A stale
        delete removes nothing; a delete that is executed again removes descendants that were written since under older
        versions.
        """

    @abstractmethod
    async def delete_children(self, collection: str, parents: Sequence[str], version: str) -> list[str]:
        """Remove the descendants of documents that another shard removed, but not `parents` itself; returns their ids.

        A child that was written under a newer version stays, with its descendants.
        """

    @abstractmethod
    async def delete_matching(self, collection: str, where: Filter, version: str, limit: int) -> list[str]:
        """Remove documents whose tags match, about `limit` at most, with all their descendants.

        Documents that were written under a newer version stay.

        Returns:
            The ids of all documents removed; none when nothing matches any more (also for an unknown collection).
        """

    @abstractmethod
    async def get(
        self, collection: str, ids: Sequence[str], *, embedding: bool = False, thumbnail: bool = False
    ) -> list[StoredDocument | None]:
        """Read documents by id; None for an id that does not exist (also for an unknown collection)."""

    @abstractmethod
    async def search(self, request: SearchRequest) -> list[Hits]:
        """The best hits of each query by true cosine, ties by id; a collection that this shard lacks is an error.

        Small collections and `exact` compare with every document; otherwise the best are found with a recall of at
        least 0.98, which the tests check. With a filter, k hits are returned whenever k documents match; with bounds of
        the score, whenever k documents are within them.
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
    async def facets(self, collection: str, paths: Sequence[str], where: Filter | None = None) -> FacetCounts:
        """Count the values of tags; see `executors.index.facets` for what counts as a value, and for which documents.

        Nothing is counted in an unknown collection, or at an unknown path.

        Raises:
            VisualSearchError: `too_many_values` for a path with more than `facets.MAX_DISTINCT` different values among
                the matching documents (a store may count fewer), or with texts that are too long together.
        """

    @abstractmethod
    async def sample(self, collection: str, limit: int) -> list[tuple[str, NDArray[np.float32]]]:
        """Random documents, each as likely as any other: ids, and vectors of D float32; none of an unknown collection.

        All of them if there are no more than `limit`; one whose vector is damaged may be left out.
        """

    @abstractmethod
    async def recent(self, since: str, before: int = NEWEST, limit: int = 1000) -> RecentWrites:
        """The live documents that were put under the version `since` or a newer one, the last put first, page by page.

        The first page also lists the drops of collections since then.

        A page may also contain documents written since. Puts arrive in about the order of their versions: a whole page
        of older ones counts as the end.
        """

    @abstractmethod
    async def reindex(self, collection: str | None = None) -> None:
        """Begin to rebuild the search structure of a collection (None: of each) from the documents; `status` shows it.

        Searches and writes go on. An unknown collection is ignored.
        """

    @abstractmethod
    async def status(self) -> StoreStatus:
        """Identity, collections with their counts, and the size on disk."""

    @abstractmethod
    async def verify(self, *, repair: bool = False) -> VerifyReport:
        """Read everything back and check it: files, checksums, and that memory and graph match the documents.

        With `repair`, everything derived from the documents (tag indexes, graphs) is repaired; `repaired` lists the
        repairs.
        """
