"""Access to the current index of a collection, which rebuilds and drops may change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from executors.errors import VisualSearchError
from executors.index.opensearch.cluster.catalog import Catalog, Entry
from executors.index.opensearch.cluster.connection import IndexGoneError, ReadOnlyError
from executors.index.opensearch.cluster.typed_fields import Fields
from executors.index.opensearch.upkeep.rebuild import ABANDONED_MS, Rebuild
from executors.index.opensearch.write.conditional_writes import Target, UnknownFieldError
from executors.index.outcomes import refusal
from executors.index.records import WriteOutcome

T = TypeVar("T")
_PAUSE_S: Final = 0.05


class Access:
    """Finds the index of a collection.

    Args:
        timeout_s: how long to wait for a collection that is being replaced or dropped.
    """

    def __init__(self, catalog: Catalog, fields: Fields, rebuild: Rebuild, timeout_s: float) -> None:
        self._catalog = catalog
        self._fields = fields
        self._rebuild = rebuild
        self._timeout_s = timeout_s

    async def run(self, name: str, work: Callable[[Target, Entry], Awaitable[T]]) -> T | None:
        """Run work in a collection's index; None if there is no such collection.

        While the collection is being replaced or dropped, this waits.
        """
        deadline = time.monotonic() + self._timeout_s
        entry = await self._catalog.entry(name)
        while entry.alias is not None:
            failure: Exception | None = None
            try:
                return await work(Target(entry.alias, entry.building), entry)
            except IndexGoneError:
                await self._catalog.check_there(entry)
            except UnknownFieldError:
                await self._fields.reload(entry.alias)
            except VisualSearchError as error:
                if error.code != "storage_unavailable" or not (await self._catalog.entry(name, fresh=True)).beat:
                    raise
                failure = held_up_error(name) if isinstance(error, ReadOnlyError) and error.by_request else error
            if time.monotonic() > deadline:
                raise failure or VisualSearchError("storage_unavailable", f"the collection {name!r} keeps changing")
            await asyncio.sleep(_PAUSE_S)
            entry = await self._rebuild.recover(await self._catalog.entry(name, fresh=True))
        return None

    async def dropped(self, name: str) -> str:
        """The version of the last drop of a collection of that name; empty if none is remembered."""
        return (await self._catalog.entry(name)).dropped


def held_up_error(name: str) -> VisualSearchError:
    """The error for a write that a rebuild or a drop held up for too long."""
    return VisualSearchError(
        "storage_unavailable",
        f"a rebuild or a drop of the collection {name!r} holds up writes; if its process was killed, they continue"
        f" within {ABANDONED_MS // 1000} s",
        collection=name,
    )


async def by_collection(
    items: Sequence[T | VisualSearchError],
    apply: Callable[[str, Sequence[T]], Awaitable[list[WriteOutcome]]],
    name_of: Callable[[T], str],
) -> list[WriteOutcome]:
    """Apply writes collection by collection; outcomes in the order of the writes, including the writes that were
    refused before.

    Raises:
        VisualSearchError: nothing could be applied. If there are several collections, the failure of one is in its
            outcomes instead.
    """
    outcomes: dict[int, WriteOutcome] = {}
    groups: dict[str, list[tuple[int, T]]] = {}
    for n, item in enumerate(items):
        if isinstance(item, VisualSearchError):
            outcomes[n] = refusal(item)
        else:
            groups.setdefault(name_of(item), []).append((n, item))
    failures = []
    for name, group in groups.items():
        try:
            done = await apply(name, [item for _, item in group])
        except VisualSearchError as error:
            failures.append(error)
            done = [refusal(error)] * len(group)
        outcomes.update((n, outcome) for (n, _), outcome in zip(group, done, strict=True))
    if failures and len(failures) == len(groups):
        raise failures[0]
    return [outcomes[n] for n in range(len(items))]
