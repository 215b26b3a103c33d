"""Asks an index what it holds under some ids: another client may have written or deleted them, or a backup was restored."""

from __future__ import annotations

from collections.abc import Iterable

from executors.cli.exit_status import is_unavailable
from executors.client import FoundDocument, VisualSearchClient
from executors.errors import ABSENT, VisualSearchError

IDS_A_REQUEST = 500


async def found_documents(
    client: VisualSearchClient, ids: Iterable[str], collection: str | None, *, with_embedding: bool = False
) -> dict[str, FoundDocument]:
    """What the index holds under some ids (at most IDS_A_REQUEST), by id; what it does not have or can't show is left out.

    Raises:
        VisualSearchError: the service, or the part of it that holds an id, does not answer.
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
        # A service may take fewer documents in a request than others do.
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
    """Those of some ids (at most IDS_A_REQUEST) that the index does not have or can't show.

    Raises:
        VisualSearchError: the service, or the part of it that holds an id, does not answer.
    """
    asked = set(ids)
    return asked - (await found_documents(client, asked, collection)).keys()


async def may_hold_documents(client: VisualSearchClient, collection: str) -> bool:
    """Whether a collection holds anything, or can't be seen as a whole.

    Raises:
        VisualSearchError: the service does not answer.
    """
    index = (await client.status()).get("index") or {}
    if index.get("missing"):
        return True
    return any(each.get("name") == collection and each.get("documents") != 0 for each in index.get("collections") or [])
