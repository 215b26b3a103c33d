"""`visual-search reindex`: has the graphs built anew, and watches until they are, or until it is certain that some are not."""

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
# How long a service may not tell of every shard before the watching ends.
_PATIENCE_S: Final = 60.0
# What a process tells may be a moment old: no rebuild, where one has just begun, or ended.
_GRACE_S: Final = 3.0
_BROKEN_OFF: Final = "the rebuild was broken off; the old graph is in use"


@dataclass(slots=True)
class Graph:
    """One collection over all shards: its documents, those in graphs, and those that a rebuild has still to read."""

    documents: int = 0
    in_graph: int = 0
    to_read: int = 0
    rebuilding: bool = False


@dataclass(slots=True)
class _Part:
    """One collection on one shard.

    Attributes:
        rebuilds: how many had been finished when it was last seen.
        expected: there was a graph when the rebuild was asked for, or one was seen being built anew.
        built: a rebuild was finished since.
        failed: why the last one was given up, where the shard tells.
    """

    rebuilds: int = 0
    expected: bool = False
    built: bool = False
    failed: str | None = None


class Watch:
    """What the statuses tell of a rebuild, one after the other.

    Args:
        collection: the only one that is looked at; None for each.
        before: the status before the rebuild was asked for.
    """

    def __init__(self, collection: str | None, before: Mapping[str, Any]) -> None:
        self._collection = collection
        self._parts: dict[tuple[int, str], _Part] = {}
        self.graphs = graphs_of(before, collection)
        for shard, name, line in _lines(before, collection):
            self._parts[shard, name] = _Part(int(line.get("rebuilds") or 0), expected=bool(line.get("in_graph")))

    @property
    def building(self) -> bool:
        """Whether anything is being built anew."""
        return any(each.rebuilding for each in self.graphs.values())

    @property
    def to_read(self) -> int:
        """How many documents the rebuilds have still to read."""
        return sum(each.to_read for each in self.graphs.values())

    def silence(self, status: Mapping[str, Any]) -> VisualSearchError | None:
        """Why a status does not tell of every shard and collection; None when it does."""
        index = status.get("index") or {}
        if index.get("error"):
            return optional_error(index["error"])
        missing, told = index.get("missing") or [], {(shard, name) for shard, name, _ in _lines(status)}
        listed = {each.get("name") for each in index.get("collections") or []}
        # A collection that is not listed any more was dropped: nobody will tell of it.
        lacking = [shard for shard, name in self._parts if (shard, name) not in told and name in listed]
        if not missing and not lacking and index.get("shards"):
            return None
        reason = optional_error(status.get("reason"))
        silent = [*missing, *lacking]
        which = f"shard {silent[0]} does not answer" if silent else "no shard answers"
        return reason or VisualSearchError("shard_missing", which)

    def note(self, status: Mapping[str, Any]) -> None:
        """Take in a status that tells of everything."""
        known, self._parts = self._parts, {}
        for shard, name, line in _lines(status, self._collection):
            part = self._parts[shard, name] = known.get((shard, name), _Part())
            rebuilds = int(line.get("rebuilds") or 0)
            # From one status to the next: after a restart the count begins anew.
            part.built |= rebuilds > part.rebuilds
            part.rebuilds = rebuilds
            part.expected |= line.get("rebuilding") is not None
            part.failed = line.get("failed")
        self.graphs = graphs_of(status, self._collection)

    def failed(self) -> dict[str, str]:
        """The collections that are not built anew on every shard that has a graph, each with the reason."""
        reasons: dict[str, str] = {}
        for (_, name), part in sorted(self._parts.items()):
            if part.built or not (part.expected or part.failed):
                continue
            if part.failed or name not in reasons:
                reasons[name] = part.failed or _BROKEN_OFF
        return reasons


def reindex(options: argparse.Namespace) -> int:
    """Run the command; after Ctrl-C the rebuild goes on in the service.

    Raises:
        VisualSearchError: `collection_not_found`, or the service's own.
    """
    started = time.monotonic()
    try:
        watch = asyncio.run(_reindex(options))
    except asyncio.CancelledError:
        watch = None
    if watch is None:
        stderr_console().print("the service goes on with it; `visual-search status --json` shows how far it is")
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
            f"graph of {count_of(each.in_graph, 'document')} built anew"
            if each.in_graph
            else f"{count_of(each.documents, 'document')}, compared one by one: too few for a graph"
        )
        console.print(cell(f"{name}: {what}"), soft_wrap=True)
    for name, reason in failed.items():
        print_error(f"{name}: {reason}")
    note = f", {len(failed):,} failed" if failed else ""
    console.print(f"{count_of(len(built), 'collection')} in {seconds:.1f} s{note}")


async def _reindex(options: argparse.Namespace) -> Watch | None:
    """What became of it; None when the watching was interrupted."""
    async with client_for(options) as client:
        # Both are refused while a shard is missing: without its counts nobody could say later what was built.
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
        raise VisualSearchError("collection_not_found", f"{options.collection!r} was dropped while it was built anew")
    return watch


async def _follow(client: VisualSearchClient, watch: Watch, stop: asyncio.Event) -> bool:
    """Watch until everything is built, or nothing is being built any more; False when it was interrupted."""
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
    """The next status that tells of every shard; None when the watching was interrupted.

    Raises:
        VisualSearchError: why there was none for too long.
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
    """Wait until the service should be asked again; whether the watching is to end."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), _POLL_S)
    return stop.is_set()


def graphs_of(status: Mapping[str, Any], collection: str | None) -> dict[str, Graph]:
    """What `/status` says of the graphs, by collection."""
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
    """Shard, collection and what the shard tells of it; of one collection only, if it is named."""
    for shard in (status.get("index") or {}).get("shards") or []:
        for line in shard.get("graphs") or []:
            name = str(line.get("collection"))
            if collection in (None, name):
                yield int(shard.get("shard") or 0), name, line
