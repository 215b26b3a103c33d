"""Completes writes and drops that a crash interrupted.

A crash may come after one shard stored a write and before the older copies in other shards were removed. The write was not
acknowledged, but both copies are there. So before the gateway serves anything, it removes the older copies of every shard's
last writes once more, and sends the last drops to all shards again. Where that had been done, nothing changes.
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
        """Send one request to all shards; return their answer, or raise an error."""


async def settle(shards: Shards, membership: Membership, window_ms: int) -> None:
    """Complete the drops and writes since `window_ms` milliseconds before the newest write.

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
