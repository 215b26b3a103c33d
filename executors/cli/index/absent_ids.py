"""Asks the index which of some ids it holds: another client may have written or deleted them since."""

from __future__ import annotations

from collections.abc import Iterable

from executors.cli.exit_status import is_unavailable
from executors.client import FoundDocument, VisualSearchClient
from executors.errors import ABSENT, VisualSearchError

IDS_A_REQUEST = 500


async def found_documents(
    client: VisualSearchClient, ids: Iterable[str], collection: str | None, *, with_embedding: bool = False
) -> dict[str, FoundDocument]:
    """Read documents by id (at most IDS_A_REQUEST); those that the index does not have or can't return are left out.

    Raises:
        VisualSearchError: the service, or the shard that holds an id, does not answer.
    """
    asked = list(dict.fromkeys(ids))
    if not asked:
        return {}
    try:
        answer = await client.get(asked, collection=collection, with_embedding=with_embedding)
    except VisualSearchError as error:
        if is_unavailable(error):
            raise
        if len(asked) == 1 or error.code in ABSENT:
            return {}
        # The service may accept fewer documents per request (VS_MAX_DOCUMENTS).
        half = len(asked) // 2
        first = await found_documents(client, asked[:half], collection, with_embedding=with_embedding)
        return first | await found_documents(client, asked[half:], collection, with_embedding=with_embedding)
    found = {}
    for each, document in zip(asked, answer, strict=True):
        if document.error is None:
            found[each] = document
        elif is_unavailable(document.error):
            raise document.error
    return found


async def absent_ids(client: VisualSearchClient, ids: Iterable[str], collection: str | None) -> set[str]:
    """Return the ids (of at most IDS_A_REQUEST) that the index does not have or can't return.

    Raises:
        VisualSearchError: the service, or the shard that holds an id, does not answer.
    """
    asked = set(ids)
    return asked - (await found_documents(client, asked, collection)).keys()


async def may_hold_documents(client: VisualSearchClient, collection: str) -> bool:
    """Whether a collection has documents, or a shard is missing, so that this is not known.

    Raises:
        VisualSearchError: the service does not answer.
    """
    index = (await client.status()).get("index") or {}
    if index.get("missing"):
        return True
    return any(each.get("name") == collection and each.get("documents") != 0 for each in index.get("collections") or [])
