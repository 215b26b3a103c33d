"""Asks an index which documents it no longer has: another client may have deleted them, or a backup was restored."""

from __future__ import annotations

from collections.abc import Iterable

from executors.cli.exit_status import is_unavailable
from executors.client import VisualSearchClient
from executors.errors import VisualSearchError

IDS_A_REQUEST = 500


async def absent_ids(client: VisualSearchClient, ids: Iterable[str], collection: str | None) -> set[str]:
    """Those of some ids (at most IDS_A_REQUEST) that the index does not have or can't show.

    Raises:
        VisualSearchError: the service, or the part of it that holds an id, does not answer.
    """
    asked = list(dict.fromkeys(ids))
    if not asked:
        return set()
    try:
        answer = await client.get(asked, collection=collection)
    except VisualSearchError as error:
        if is_unavailable(error):
            raise
        if len(asked) == 1 or error.code in ("not_found", "collection_not_found"):
            return set(asked)
        # A service may take fewer documents in a request than others do.
        half = len(asked) // 2
        return await absent_ids(client, asked[:half], collection) | await absent_ids(client, asked[half:], collection)
    absent = set()
    for each, found in zip(asked, answer, strict=True):
        if found.error is not None:
            if is_unavailable(found.error):
                raise found.error
            absent.add(each)
    return absent
