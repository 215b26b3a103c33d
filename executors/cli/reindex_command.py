"""`visual-search reindex`: has the graphs built anew, and watches until they are."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from executors.cli.exit_status import INTERRUPTED, OK
from executors.cli.interruption import stop_on_signal
from executors.cli.output import cell, count_of, print_json, stderr_console, stdout_console
from executors.cli.progress import make_view
from executors.cli.service import client_for
from executors.client import VisualSearchClient

_POLL_S: Final = 0.5


@dataclass(slots=True)
class Graph:
    """One collection over all shards: its documents, those in graphs, and those that a rebuild has still to read."""

    documents: int = 0
    in_graph: int = 0
    to_read: int = 0
    rebuilding: bool = False


def reindex(options: argparse.Namespace) -> int:
    """Run the command; after Ctrl-C the rebuild goes on in the service.

    Raises:
        VisualSearchError: `collection_not_found`, or the service's own.
    """
    started = time.monotonic()
    try:
        graphs = asyncio.run(_reindex(options))
    except asyncio.CancelledError:
        graphs = None
    if graphs is None:
        stderr_console().print("the service goes on with it; `visual-search status --json` shows how far it is")
        return INTERRUPTED
    seconds = time.monotonic() - started
    if options.json:
        lines = [
            {"collection": name, "documents": each.documents, "in_graph": each.in_graph}
            for name, each in sorted(graphs.items())
        ]
        print_json({"collections": lines, "seconds": round(seconds, 2)})
        return OK
    console = stdout_console()
    for name, each in sorted(graphs.items()):
        what = (
            f"graph of {count_of(each.in_graph, 'document')} built anew"
            if each.in_graph
            else f"{count_of(each.documents, 'document')}, compared one by one: too few for a graph"
        )
        console.print(cell(f"{name}: {what}"), soft_wrap=True)
    console.print(f"{count_of(len(graphs), 'collection')} in {seconds:.1f} s")
    return OK


async def _reindex(options: argparse.Namespace) -> dict[str, Graph] | None:
    """The graphs as they are at the end; None when the watching was interrupted."""
    async with client_for(options) as client:
        if options.collection:
            await client.collection(options.collection)
        await client.reindex(options.collection)
        with stop_on_signal() as stop:
            return await _watch(client, options.collection, stop)


async def _watch(client: VisualSearchClient, collection: str | None, stop: asyncio.Event) -> dict[str, Graph] | None:
    view = make_view(stderr_console())
    graphs = graphs_of(await client.status(), collection)
    remaining = sum(each.to_read for each in graphs.values())
    view.start("building", remaining)
    try:
        while any(each.rebuilding for each in graphs.values()):
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _POLL_S)
            if stop.is_set():
                return None
            graphs = graphs_of(await client.status(), collection)
            before, remaining = remaining, sum(each.to_read for each in graphs.values())
            view.advance(number=max(0, before - remaining))
    finally:
        view.stop()
    return graphs


def graphs_of(status: Mapping[str, Any], collection: str | None) -> dict[str, Graph]:
    """What `/status` says of the graphs, by collection."""
    graphs: dict[str, Graph] = {}
    for line in _lines(status):
        name = str(line.get("collection"))
        if collection not in (None, name):
            continue
        graph = graphs.setdefault(name, Graph())
        graph.documents += int(line.get("documents") or 0)
        graph.in_graph += int(line.get("in_graph") or 0)
        rebuilding = line.get("rebuilding")
        if rebuilding is not None:
            graph.rebuilding = True
            graph.to_read += max(0, int(rebuilding.get("total") or 0) - int(rebuilding.get("done") or 0))
    return graphs


def _lines(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for shard in (status.get("index") or {}).get("shards") or []:
        yield from shard.get("graphs") or []
