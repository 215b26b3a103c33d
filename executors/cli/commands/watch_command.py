"""Runs `visual-search status --watch`: the state of the service, read each second."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from rich.live import Live
from rich.table import Table

from executors.cli.exit_status import OK
from executors.cli.service import client_for
from executors.cli.terminal.output import cell, stdout_console
from executors.client import VisualSearchClient
from executors.errors import VisualSearchError

_EVERY_S: Final = 1.0
Report = Mapping[str, Any]


def watch(options: argparse.Namespace) -> int:
    """Show the state until Ctrl-C: in place in a terminal, elsewhere as a line for each second."""
    try:
        asyncio.run(_watch(options))
    except KeyboardInterrupt:
        return OK
    return OK


async def _watch(options: argparse.Namespace) -> None:
    console = stdout_console()
    before: tuple[float, Report] | None = None
    async with client_for(options) as client:
        with Live(console=console, auto_refresh=False) if console.is_terminal else _Lines() as shown:
            while True:
                state, now = await _state(client, before)
                shown.update(_table(client.url, state) if console.is_terminal else _line(state), refresh=True)
                before = now or before
                await asyncio.sleep(_EVERY_S)


class _Lines:
    """Prints each state as a line, for programs that read a pipe."""

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def update(self, line: Any, *, refresh: bool) -> None:
        print(line, flush=refresh)


async def _state(
    client: VisualSearchClient, before: tuple[float, Report] | None
) -> tuple[dict[str, str], tuple[float, Report] | None]:
    """The state to show, and when which report was read."""
    try:
        report = await client.status(attempts=1)
    except VisualSearchError as error:
        return {"health": str(error)}, None
    now = time.monotonic()
    passed = now - before[0] if before else 0.0
    return state_of(report, before[1] if before else None, passed), (now, report)


def state_of(report: Report, before: Report | None, seconds: float) -> dict[str, str]:
    """Return what is shown of an answer of `/status`, by its name.

    Args:
        report: the answer.
        before: the answer before it; None at first.
        seconds: the time between the two.
    """
    index, gateway = report.get("index") or {}, report.get("gateway") or {}
    graphs = [graph for shard in index.get("shards") or [] for graph in shard.get("graphs") or []]
    rebuilding = [graph["rebuilding"] for graph in graphs if graph.get("rebuilding")]
    silent = [str(each) for each in report.get("silent") or []]
    reason = (report.get("reason") or {}).get("message")
    health = "ready" if report.get("ready") else f"not ready: {reason}"
    documents = index.get("documents")
    counted = f"{index.get('documents_counted') or 0:,}"
    state = {
        "health": f"{health}; silent: {', '.join(silent)}" if silent else health,
        "documents": counted if documents is not None else f"{counted} in the shards that answer",
        "requests in flight": f"{gateway.get('in_flight', 0)} of {gateway.get('max_concurrency')}",
    }
    if before is not None and seconds > 0:
        earlier = before.get("gateway") or {}
        asked = max(0, int(gateway.get("requests", 0)) - int(earlier.get("requests", 0)))
        took = float(gateway.get("request_seconds", 0)) - float(earlier.get("request_seconds", 0))
        state["requests a second"] = f"{asked / seconds:.1f}"
        state["mean time"] = f"{1000 * took / asked:.1f} ms" if asked else "-"
    done = sum(int(each.get("done") or 0) for each in rebuilding)
    total = sum(int(each.get("total") or 0) for each in rebuilding)
    state["rebuilds"] = f"{len(rebuilding)} running, {done:,} of {total:,} documents" if rebuilding else "none"
    return state


def _line(state: Mapping[str, str]) -> str:
    return "; ".join([time.strftime("%H:%M:%S"), *(f"{name}: {value}" for name, value in state.items())])


def _table(url: str, state: Mapping[str, str]) -> Table:
    table = Table(title=f"{url}, {time.strftime('%H:%M:%S')}", show_header=False)
    for name, value in state.items():
        table.add_row(name, cell(value))
    return table
