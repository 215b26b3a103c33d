"""Runs `visual-search reindex`: starts the rebuild of graphs, and watches until it has ended on every shard."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from executors.cli.exit_status import INTERRUPTED, OK, SOME_FAILED, is_unavailable
from executors.cli.service import client_for
from executors.cli.terminal.interruption import stop_on_signal
from executors.cli.terminal.output import cell, count_of, print_error, print_json, stderr_console, stdout_console
from executors.cli.terminal.progress import make_view
from executors.client import VisualSearchClient
from executors.client.answers import optional_error
from executors.errors import VisualSearchError

_POLL_S: Final = 0.5
# How long the status may lack a shard before the watching ends.
_PATIENCE_S: Final = 60.0
# A status may be slightly old, and lack a rebuild that has just begun or ended.
_GRACE_S: Final = 3.0
_BROKEN_OFF: Final = "the rebuild was aborted; the old graph stays in use"


@dataclass(slots=True)
class Graph:
    """One collection over all shards: its documents, those in graphs, and those that a rebuild still has to read."""

    documents: int = 0
    in_graph: int = 0
    to_read: int = 0
    rebuilding: bool = False


@dataclass(slots=True)
class _Part:
    """One collection on one shard.

    Attributes:
        rebuilds: how many rebuilds had finished when it was last seen.
        expected: it had a graph when the rebuild was requested, or a rebuild was seen.
        built: a rebuild has finished since.
        failed: why the last rebuild failed, if it did.
    """

    rebuilds: int = 0
    expected: bool = False
    built: bool = False
    failed: str | None = None


class Watch:
    """Follows a rebuild by one status after the other.

    Args:
        collection: the only collection to watch; None for all.
        before: the status before the rebuild was requested.
    """

    def __init__(self, collection: str | None, before: Mapping[str, Any]) -> None:
        self._collection = collection
        self._parts: dict[tuple[int, str], _Part] = {}
        self.graphs = graphs_of(before, collection)
        for shard, name, line in _lines(before, collection):
            self._parts[shard, name] = _Part(int(line.get("rebuilds") or 0), expected=bool(line.get("in_graph")))

    @property
    def building(self) -> bool:
        """Whether any graph is being rebuilt."""
        return any(each.rebuilding for each in self.graphs.values())

    @property
    def to_read(self) -> int:
        """How many documents the rebuilds still have to read."""
        return sum(each.to_read for each in self.graphs.values())

    def silence(self, status: Mapping[str, Any]) -> VisualSearchError | None:
        """Why a status lacks a shard or collection; None if it lacks none."""
        index = status.get("index") or {}
        if index.get("error"):
            return optional_error(index["error"])
        missing, told = index.get("missing") or [], {(shard, name) for shard, name, _ in _lines(status)}
        listed = {each.get("name") for each in index.get("collections") or []}
        # A collection that is not listed any more was dropped, so no status will mention it.
        lacking = [shard for shard, name in self._parts if (shard, name) not in told and name in listed]
        if not missing and not lacking and index.get("shards"):
            return None
        reason = optional_error(status.get("reason"))
        silent = [*missing, *lacking]
        which = f"shard {silent[0]} does not answer" if silent else "no shard answers"
        return reason or VisualSearchError("shard_missing", which)

    def note(self, status: Mapping[str, Any]) -> None:
        """Note a status that lacks no shard."""
        known, self._parts = self._parts, {}
        for shard, name, line in _lines(status, self._collection):
            part = self._parts[shard, name] = known.get((shard, name), _Part())
            rebuilds = int(line.get("rebuilds") or 0)
            # Compared with the previous status, because the count starts again after a restart.
            part.built |= rebuilds > part.rebuilds
            part.rebuilds = rebuilds
            part.expected |= line.get("rebuilding") is not None
            part.failed = line.get("failed")
        self.graphs = graphs_of(status, self._collection)

    def failed(self) -> dict[str, str]:
        """The collections that were not rebuilt on every shard that has a graph, each with the reason."""
        reasons: dict[str, str] = {}
        for (_, name), part in sorted(self._parts.items()):
            if part.built or not (part.expected or part.failed):
                continue
            if part.failed or name not in reasons:
                reasons[name] = part.failed or _BROKEN_OFF
        return reasons


def reindex(options: argparse.Namespace) -> int:
    """Run the command and return its exit status. After Ctrl-C the rebuild continues in the service.

    Raises:
        VisualSearchError: `collection_not_found`, or another error of the service.
    """
    started = time.monotonic()
    try:
        watch = asyncio.run(_reindex(options))
    except asyncio.CancelledError:
        watch = None
    if watch is None:
        stderr_console().print("the service continues the rebuild; `visual-search status --json` shows its progress")
        return INTERRUPTED
    _print(options, watch, time.monotonic() - started)
    return SOME_FAILED if watch.failed() else OK


def _print(options: argparse.Namespace, watch: Watch, seconds: float) -> None:
    failed = watch.failed()
    built = {name: each for name, each in sorted(watch.graphs.items()) if name not in failed}
    if options.json:
        lines = [
            {"collection": name, "documents": each.documents, "in_graph": each.in_graph} for name, each in built.items()
        ]
        print_json({"collections": lines, "failed": failed, "seconds": round(seconds, 2)})
        return
    console = stdout_console()
    for name, each in built.items():
        what = (
            f"graph of {count_of(each.in_graph, 'document')} rebuilt"
            if each.in_graph
            else f"{count_of(each.documents, 'document')}, too few for a graph; searches compare with each of them"
        )
        console.print(cell(f"{name}: {what}"), soft_wrap=True)
    for name, reason in failed.items():
        print_error(f"{name}: {reason}")
    note = f", {len(failed):,} failed" if failed else ""
    console.print(f"{count_of(len(built), 'collection')} in {seconds:.1f} s{note}")


async def _reindex(options: argparse.Namespace) -> Watch | None:
    """Request the rebuild and watch it; None if the watching was interrupted."""
    async with client_for(options) as client:
        # Both requests fail if a shard is missing. Without its counts, the result of the rebuild could not be known.
        if options.collection:
            await client.collection(options.collection)
        else:
            await client.collections()
        before = await client.status()
        watch = Watch(options.collection, before)
        silence = watch.silence(before)
        if silence is not None:
            raise silence
        await client.reindex(options.collection)
        with stop_on_signal() as stop:
            if not await _follow(client, watch, stop):
                return None
    if options.collection and options.collection not in watch.graphs:
        raise VisualSearchError("collection_not_found", f"{options.collection!r} was dropped during the rebuild")
    return watch


async def _follow(client: VisualSearchClient, watch: Watch, stop: asyncio.Event) -> bool:
    """Watch until everything is rebuilt, or no rebuild runs any more; False if it was interrupted."""
    view = make_view(stderr_console())
    status = await _whole_status(client, watch, stop)
    if status is None:
        return False
    watch.note(status)
    remaining, idle_since = watch.to_read, time.monotonic()
    view.start("building", remaining)
    try:
        while watch.building or (watch.failed() and time.monotonic() < idle_since + _GRACE_S):
            if await _stopped(stop):
                return False
            status = await _whole_status(client, watch, stop)
            if status is None:
                return False
            watch.note(status)
            if watch.building:
                idle_since = time.monotonic()
            before, remaining = remaining, watch.to_read
            view.advance(number=max(0, before - remaining))
    finally:
        view.stop()
    return True


async def _whole_status(client: VisualSearchClient, watch: Watch, stop: asyncio.Event) -> Mapping[str, Any] | None:
    """The next status that lacks no shard; None if the watching was interrupted.

    Raises:
        VisualSearchError: every status lacked a shard for too long; this is the reason.
    """
    end = time.monotonic() + _PATIENCE_S
    while True:
        try:
            status = await client.status(attempts=1)
            silence = watch.silence(status)
        except VisualSearchError as error:
            if not is_unavailable(error):
                raise
            silence = error
        if silence is None:
            return status
        if time.monotonic() >= end:
            raise silence
        if await _stopped(stop):
            return None


async def _stopped(stop: asyncio.Event) -> bool:
    """Wait until it is time for the next status; True if the watching was interrupted."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), _POLL_S)
    return stop.is_set()


def graphs_of(status: Mapping[str, Any], collection: str | None) -> dict[str, Graph]:
    """The graphs in a status, by collection."""
    graphs: dict[str, Graph] = {}
    for _, name, line in _lines(status, collection):
        graph = graphs.setdefault(name, Graph())
        graph.documents += int(line.get("documents") or 0)
        graph.in_graph += int(line.get("in_graph") or 0)
        rebuilding = line.get("rebuilding")
        if rebuilding is not None:
            graph.rebuilding = True
            graph.to_read += max(0, int(rebuilding.get("total") or 0) - int(rebuilding.get("done") or 0))
    return graphs


def _lines(status: Mapping[str, Any], collection: str | None = None) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    """Shard, collection and graph report, of every collection or only of the one that is given."""
    for shard in (status.get("index") or {}).get("shards") or []:
        for line in shard.get("graphs") or []:
            name = str(line.get("collection"))
            if collection in (None, name):
                yield int(shard.get("shard") or 0), name, line
