"""What a crash may have cut short: writes that one shard stored and whose older copies elsewhere were not removed yet.

Such a write was never acknowledged, but it is there, and so is the older copy. Before anything is served, the last writes of
every shard are superseded everywhere else once more. In the same way, a drop that not every shard was told of is told to
all. Where that had been done, it changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from executors.documents import ImageDoc
from executors.gateway.shards.membership import Membership
from executors.index.versions import version_before
from executors.index.wire.columns import unpack

_WRITES_A_ROUND: Final = 2_000


class Shards(Protocol):
    """The part of `IndexClient` that is needed here."""

    async def ask(self, endpoint: str, columns: Mapping[str, Any]) -> ImageDoc:
        """One request to all shards; what they answer, or an error."""


async def settle(shards: Shards, membership: Membership, window_ms: int) -> None:
    """Complete the drops, and supersede the writes, of the last moments: as old as `window_ms` before the newest.

    Raises:
        VisualSearchError: a shard does not answer.
    """
    if membership.shards == 1 or not membership.last_version:
        return
    since = version_before(membership.last_version, window_ms)
    before: dict[str, int | None] = {}
    while True:
        columns = {"since": since, "before": before, "limit": _WRITES_A_ROUND}
        reports = unpack(await shards.ask("/recent", columns))["shards"]
        drops = {(version, name) for report in reports for name, version in report["drops"]}
        for version, name in sorted(drops):
            await shards.ask("/drop", {"collection": name, "version": version})
        for report in reports:
            if report["ids"]:
                writes = {name: report[name] for name in ("collections", "ids", "versions", "digests")}
                owners = [int(report["shard"][1])] * len(report["ids"])
                await shards.ask("/supersede", writes | {"owners": owners})
        before = {str(report["shard"][1]): report["next"] for report in reports}
        if all(each is None for each in before.values()):
            return
