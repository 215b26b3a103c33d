"""The typed fields of each index: known to every process that writes, and added when tags need them, up to the maximum."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from executors.index.opensearch.cluster.connection import Connection, RefusedError
from executors.index.opensearch.cluster.layout import known_fields, typed_fields
from executors.index.opensearch.documents.tag_fields import all_fields, wanted_fields
from executors.index.records import Tags


class Fields:
    """The typed fields behind each alias.

    Args:
        most: how many an index may have.
    """

    def __init__(self, connection: Connection, most: int) -> None:
        self._connection = connection
        self._most = most
        self._known: dict[str, frozenset[str]] = {}
        # Paths that came when there was no room any more.
        self._left_out: dict[str, set[str]] = {}

    async def known(self, alias: str) -> frozenset[str]:
        """Typed fields that an index is known to have; it may have more."""
        found = self._known.get(alias)
        return await self.reload(alias) if found is None else found

    async def reload(self, alias: str) -> frozenset[str]:
        """Read the fields again: there may be fewer if another index took the alias."""
        mappings = await self._connection.call("GET", f"/{alias}/_mapping")
        (mapping,) = (each["mappings"] for each in mappings.values())
        self._known[alias] = known_fields(mapping)
        return self._known[alias]

    async def ensure(self, alias: str, tags: Iterable[Tags]) -> frozenset[str]:
        """Add the fields that these tags need, as long as there is room; returns all fields of the index."""
        known = await self.known(alias)
        left_out = self._left_out.setdefault(alias, set())
        wanted = {
            name: kind
            for name, kind in all_fields(wanted_fields(each, known) for each in tags).items()
            if name not in left_out
        }
        if not wanted:
            return known
        room = self._most - len(known)
        chosen = dict(list(wanted.items())[: max(0, room)])
        left_out.update(name for name in wanted if name not in chosen)
        return await self.add(alias, chosen) if chosen else known

    async def add(self, alias: str, fields: Mapping[str, str]) -> frozenset[str]:
        """Add fields by name, with their kinds; returns all fields of the index."""
        try:
            await self._connection.call("PUT", f"/{alias}/_mapping", typed_fields(dict(fields)))
        except RefusedError:
            # Other processes have used up the maximum, which the index itself enforces.
            self._left_out.setdefault(alias, set()).update(fields)
        return await self.reload(alias)

    def forget(self, alias: str) -> None:
        """Forget the fields, because another index has taken the alias."""
        self._known.pop(alias, None)
        self._left_out.pop(alias, None)
