"""A full check of the documents in OpenSearch: content against digests, filter fields against tags, indices against the
catalog.
"""

from __future__ import annotations

import asyncio
from typing import Final

from executors.errors import VisualSearchError
from executors.index.opensearch.cluster import layout
from executors.index.opensearch.cluster.bulk import Action, BulkQueue
from executors.index.opensearch.cluster.catalog import Catalog, Entry, check_format
from executors.index.opensearch.cluster.connection import Connection, IndexGoneError
from executors.index.opensearch.cluster.typed_fields import Fields
from executors.index.opensearch.documents.document_sources import WRONG_FIELDS, faults_of, with_fields
from executors.index.opensearch.search.queries import LIVE
from executors.index.opensearch.search.reading import Hit, Reader
from executors.index.records import DocumentKey, VerifyReport

_PAGE: Final = 500
_MOST_FAULTS: Final = 1_000
_CHANGING_HANDS_S: Final = 5.0


class Verify:
    """Runs full checks; see `run`."""

    def __init__(
        self, connection: Connection, catalog: Catalog, reader: Reader, bulk: BulkQueue, fields: Fields, prefix: str
    ) -> None:
        self._connection, self._catalog, self._reader = connection, catalog, reader
        self._bulk, self._fields, self._prefix = bulk, fields, prefix

    async def run(self, *, repair: bool) -> VerifyReport:
        """See `Store.verify`; `repair` rebuilds filter fields from the tags, and removes indices that no collection
        uses.
        """
        keys: list[DocumentKey] = []
        faults: list[str] = []
        repaired: list[str] = []
        for entry in await self._catalog.entries():
            if entry.alias is not None:
                try:
                    await self._catalog.check_there(entry)
                    await self._check_collection(entry, entry.alias, keys, faults, repaired if repair else None)
                except IndexGoneError:
                    # The collection was dropped in the meantime.
                    continue
                except VisualSearchError as error:
                    if error.code != "store_invalid":
                        raise
                    faults.append(str(error))
        for index in await self._leftovers():
            if repair:
                await self._connection.call("DELETE", f"/{index}", timeout_s=30)
                repaired.append(f"the index {index!r}, which no collection uses, was deleted")
            else:
                faults.append(f"the index {index!r} belongs to no collection")
        return VerifyReport(len(keys), faults[:_MOST_FAULTS], keys, repaired)

    async def _check_collection(
        self, entry: Entry, alias: str, keys: list[DocumentKey], faults: list[str], repaired: list[str] | None
    ) -> None:
        assert entry.collection is not None
        for name, each in (await self._connection.call("GET", f"/{alias}/_mapping")).items():
            check_format(name, each["mappings"])
        known = await self._fields.reload(alias)
        await self._reader.refresh(alias)
        mended = 0
        async for hits in self._reader.scan(alias, LIVE, None, _PAGE):
            wrong: list[Hit] = []
            for hit in hits:
                source = hit["_source"]
                keys.append(DocumentKey(entry.name, source["id"], source["version"]))
                found = faults_of(source, entry.collection.dimension, known)
                if found == [WRONG_FIELDS] and repaired is not None:
                    wrong.append(hit)
                else:
                    faults += [f"document {source['id']!r} of {entry.name!r}: {fault}" for fault in found]
            mended += await self._mend(alias, wrong, known)
        if mended and repaired is not None:
            repaired.append(f"the filter fields of {mended} documents of {entry.name!r} were rebuilt")

    async def _mend(self, alias: str, hits: list[Hit], known: frozenset[str]) -> int:
        actions = [
            Action(
                alias, hit["_source"]["id"], with_fields(hit["_source"], known), (hit["_seq_no"], hit["_primary_term"])
            )
            for hit in hits
        ]
        # A document that was written in the meantime has been repaired by that write.
        return sum("error" not in item for item in await self._bulk.submit(actions, refresh=True))

    async def _leftovers(self) -> list[str]:
        """Indices that no collection uses, now and a while later: an index that is being made or replaced is unused for
        a moment.
        """
        before = await self._unowned()
        if not before:
            return []
        await asyncio.sleep(_CHANGING_HANDS_S)
        return sorted(before & await self._unowned())

    async def _unowned(self) -> set[str]:
        found = await self._connection.call("GET", f"/{layout.collection_pattern(self._prefix)}/_alias")
        # Read the catalog afterwards, so that a collection that was created since is counted with its index.
        entries = await self._catalog.entries()
        aliases = {alias for entry in entries for alias in (entry.alias, entry.building) if alias is not None}
        return {name for name, each in found.items() if not aliases & set(each["aliases"])}
