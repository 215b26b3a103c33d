"""The topics of `/watch`, each with its whole present state, made from a status report. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

TOPICS: Final = ("health", "rebuilds", "jobs")
HEARTBEAT: Final = b": still here\n\n"
# More are not told one by one.
_MOST_GRAPHS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Event:
    """The state of one topic.

    Attributes:
        id: different for every event of this gateway, and of others.
        topic: its name, one of `TOPICS`, or `end`.
        data: its state as JSON values.
    """

    id: str
    topic: str
    data: dict[str, Any]

    def encoded(self) -> bytes:
        """Return the event as the format of server-sent events has it."""
        return f"id: {self.id}\nevent: {self.topic}\ndata: ".encode() + orjson.dumps(self.data) + b"\n\n"


def health_of(report: Mapping[str, Any], *, draining: bool) -> dict[str, Any]:
    """Return whether everything is healthy, and what is not.

    Args:
        report: the answer of `/status`.
        draining: whether the gateway is stopping.
    """
    index = report.get("index") or {}
    stages = {name: each["error"] for name, each in (report.get("stages") or {}).items() if each.get("error")}
    errors = stages | ({"index": index["error"]} if index.get("error") else {})
    ready, silent = bool(report.get("ready")), sorted(report.get("silent") or ())
    return {
        "ok": ready and not draining and not silent and not errors,
        "ready": ready,
        "draining": draining,
        "reason": report.get("reason"),
        "silent": silent,
        "missing_shards": list(index.get("missing") or ()),
        "errors": errors,
    }


def rebuilds_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rebuilds of graphs that run, those that failed last, and how many have ended well since the start.

    Args:
        report: the answer of `/status`.
    """
    graphs = list(_graphs(report))
    running = [
        {"shard": shard, "collection": each["collection"], **each["rebuilding"]}
        for shard, each in graphs
        if each.get("rebuilding")
    ]
    failed = [
        {"shard": shard, "collection": each["collection"], "reason": str(each["failed"])}
        for shard, each in graphs
        if each.get("failed")
    ]
    finished = sum(int(each.get("rebuilds") or 0) for _, each in graphs)
    return {"running": running[:_MOST_GRAPHS], "failed": failed[:_MOST_GRAPHS], "finished": finished}


def _graphs(report: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for shard in (report.get("index") or {}).get("shards") or ():
        for graph in shard.get("graphs") or ():
            yield int(shard["shard"]), graph
