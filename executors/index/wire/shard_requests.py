"""Requests to a shard as a whole, with columns in and columns out: everything that is not about single documents. It
imports no jina.
"""

from __future__ import annotations

import orjson

from executors.errors import VisualSearchError, collection_not_found
from executors.index.filters import Filter, parse_filter
from executors.index.records import NEWEST, Collection, ShardIdentity, Superseded, WriteOutcome
from executors.index.store import Store
from executors.index.wire.columns import Columns
from executors.index.wire.facets import PackedFacets, pack_facets
from executors.index.wire.hits import encode_vector
from executors.index.wire.pages import PackedPage, pack_page
from executors.process_figures import process_figures


async def supersede(number: int, store: Store, columns: Columns) -> Columns:
    """Remove the copies here of documents that another shard has just stored; writes that this shard owns are skipped."""
    rows = zip(columns["collections"], columns["ids"], columns["versions"], columns["digests"], strict=True)
    mine = [owner == number for owner in columns["owners"]]
    writes = [Superseded(*row) for row, own in zip(rows, mine, strict=True) if not own]
    outcomes = iter(await store.supersede(writes))
    return {"results": ["not_found" if own else _result_of(next(outcomes)) for own in mine]}


async def adopt(number: int, store: Store, columns: Columns) -> Columns:
    """Become a shard of the index that the gateway names, with its collections.

    With `proposed_to`, only the shard of that number is asked, and it keeps an identity that an earlier gateway
    proposed.
    """
    proposed_to = columns.get("proposed_to")
    if proposed_to not in (None, number):
        return {}
    identity = ShardIdentity(columns["uuid"], number, int(columns["shards"]), columns["populated"])
    await store.adopt(identity, proposed=proposed_to is not None)
    for name, model_id, dimension in columns["collections"]:
        await store.ensure_collection(Collection(name, model_id, int(dimension)))
    return {}


async def scroll(store: Store, columns: Columns) -> PackedPage:
    """The next documents by id.

    Raises:
        VisualSearchError: `collection_not_found`.
    """
    limit, wanted = int(columns["limit"]), columns["with"]
    documents = await store.scroll(
        columns["collection"],
        columns["after"],
        limit,
        where=filter_of(columns["filter"]),
        embedding="embedding" in wanted,
        thumbnail="thumbnail" in wanted,
    )
    if not documents:
        await _check_known(store, columns["collection"])
    return pack_page(documents, limit)


async def count(store: Store, columns: Columns) -> Columns:
    """Count documents.

    Raises:
        VisualSearchError: `collection_not_found`.
    """
    found = await store.count(columns["collection"], filter_of(columns["filter"]))
    if not found:
        await _check_known(store, columns["collection"])
    return {"count": found}


async def facets(store: Store, columns: Columns) -> PackedFacets:
    """Count the values of tags.

    Raises:
        VisualSearchError: `collection_not_found`, `too_many_values`.
    """
    found = await store.facets(columns["collection"], columns["paths"], filter_of(columns["filter"]))
    if not found.total:
        await _check_known(store, columns["collection"])
    return pack_facets(found)


async def sample(store: Store, columns: Columns) -> Columns:
    """Random documents with their vectors, and how many documents there are.

    Raises:
        VisualSearchError: `collection_not_found`.
    """
    name = columns["collection"]
    found = await store.sample(name, int(columns["limit"]))
    if not found:
        await _check_known(store, name)
    vectors = [encode_vector(vector) for _, vector in found]
    return {"count": await store.count(name), "ids": [each for each, _ in found], "vectors": vectors}


async def delete_matching(store: Store, columns: Columns) -> Columns:
    """Remove some of the documents that match.

    Raises:
        VisualSearchError: `collection_not_found`.
    """
    where = filter_of(columns["filter"])
    if where is None:
        raise VisualSearchError("internal", "a delete without a filter reached a shard")
    ids = await store.delete_matching(columns["collection"], where, columns["version"], int(columns["limit"]))
    if not ids:
        await _check_known(store, columns["collection"])
    return {"ids": ids}


async def delete_children(store: Store, columns: Columns) -> Columns:
    """Remove the descendants of documents that other shards removed."""
    return {"ids": await store.delete_children(columns["collection"], columns["parents"], columns["version"])}


async def drop(store: Store, columns: Columns) -> Columns:
    """Drop a collection."""
    return {"documents": await store.drop_collection(columns["collection"], columns["version"])}


async def reindex(store: Store, columns: Columns) -> Columns:
    """Begin to rebuild the search structures."""
    await store.reindex(columns["collection"])
    return {}


async def recent(number: int, store: Store, columns: Columns) -> Columns:
    """The most recent writes of documents that still exist, newest first, a page at a time."""
    before = columns["before"].get(str(number), NEWEST)
    if before is None:
        return {"collections": [], "ids": [], "versions": [], "digests": [], "next": None, "drops": []}
    page = await store.recent(columns["since"], before, int(columns["limit"]))
    return {
        "collections": [key.collection for key in page.keys],
        "ids": [key.id for key in page.keys],
        "versions": [key.version for key in page.keys],
        "digests": list(page.digests),
        "next": page.next,
        "drops": [list(each) for each in page.drops],
    }


async def verify(store: Store, columns: Columns) -> Columns:
    """Read back the whole shard and check it; with `repair`, rebuild what is made from the documents."""
    report = await store.verify(repair=bool(columns.get("repair")))
    return {
        "documents": report.documents,
        "faults": list(report.faults),
        "repaired": list(report.repaired),
        "keys": [[key.collection, key.id, key.version] for key in report.keys],
    }


async def status(number: int, shards: int, store: Store, columns: Columns) -> Columns:
    """The contents of this shard, with the number and count of shards as the flow was started; those in its files may
    differ.
    """
    found = await store.status()
    return {
        "number": number,
        "configured_shards": shards,
        "populated": bool(found.identity and found.identity.populated),
        "format_version": found.format_version,
        "last_version": found.last_version,
        "documents": sum(count for _, count in found.collections),
        "bytes_on_disk": found.bytes_on_disk,
        "collections": [
            {"name": each.name, "model_id": each.model_id, "dimension": each.dimension, "documents": count}
            | ({"error": found.unreadable[each.name]} if each.name in found.unreadable else {})
            for each, count in found.collections
        ],
        **found.details,
        "process": process_figures(),
    }


def filter_of(text: str | None) -> Filter | None:
    """The filter of a request, which travels as JSON text, because a protobuf struct would turn its integers into
    floats.

    Raises:
        VisualSearchError: `invalid_filter`, though the gateway has already refused invalid filters.
    """
    return None if text is None else parse_filter(orjson.loads(text))


async def _check_known(store: Store, name: str) -> None:
    if all(collection.name != name for collection, _ in (await store.status()).collections):
        raise collection_not_found(name)


def _result_of(outcome: WriteOutcome) -> str:
    return outcome.error.code if outcome.error else str(outcome.result)
