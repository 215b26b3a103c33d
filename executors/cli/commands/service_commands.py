"""Runs `visual-search status` and `verify`."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console

from executors.cli.commands.watch_command import watch
from executors.cli.exit_status import OK, SOME_FAILED, UNAVAILABLE
from executors.cli.service import client_for
from executors.cli.terminal.output import cell, count_of, make_table, print_json, stdout_console
from executors.client import VerifyResult
from executors.errors import SILENT

# OpenSearch may give very long reasons; `--json` prints all of one.
_LONGEST_REASON: Final = 160


def status(options: argparse.Namespace) -> int:
    """Print the status. The exit status is 3 if the service is not ready, or a part does not answer or has an error.

    Raises:
        VisualSearchError: `unavailable`.
    """

    if options.watch:
        return watch(options)

    async def ask() -> dict[str, Any]:
        async with client_for(options) as client:
            return {"url": client.url, **await client.status(attempts=1)}

    report = asyncio.run(ask())
    if options.json:
        print_json(report)
    else:
        _print_status(stdout_console(), report)
    return OK if report.get("ready", True) and not _faults(report) else UNAVAILABLE


def verify(options: argparse.Namespace) -> int:
    """Check the index. The exit status is 1 if there are faults that were not repaired.

    Raises:
        VisualSearchError: the check could not be completed.
    """

    async def ask() -> VerifyResult:
        async with client_for(options) as client:
            return await client.verify(repair=options.repair)

    result = asyncio.run(ask())
    if options.json:
        print_json(dataclasses.asdict(result))
        return OK if result.ok else SOME_FAILED
    console = stdout_console()
    for line in [*result.faults, *(f"{each}: stored twice" for each in result.double_ids)]:
        console.print(cell(line), soft_wrap=True)
    for line in result.repairs:
        console.print(cell(f"repaired: {line}"), soft_wrap=True)
    repaired = f", {result.repaired:,} repaired" if result.repaired else ""
    faults = len(result.faults) + len(result.double_ids)
    console.print(f"{count_of(result.documents, 'document')} checked, {count_of(faults, 'fault')}{repaired}")
    if result.double_ids and not options.repair:
        console.print(
            "visual-search verify --repair removes the older copy of ids that are stored twice", soft_wrap=True
        )
    return OK if result.ok else SOME_FAILED


def _print_status(console: Console, report: Mapping[str, Any]) -> None:
    index, model = report.get("index") or {}, report.get("model") or {}
    facts = {
        "service": f"{report.get('url')}, version {report.get('version')}, {_state(report)}",
        "model": f"{model.get('model_id')}, dimension {model.get('dimension')}",
        "index": f"{index.get('uuid')}, {_count(index)}",
    }
    for name, text in facts.items():
        console.print(cell(f"{name:<8}{text}"), soft_wrap=True)
    _print_rows(console, "Collections", index.get("collections") or [], ("name", "documents", "model_id", "dimension"))
    _print_rows(console, "Shards", index.get("shards") or [], ("shard", "documents", "bytes_on_disk"))
    for line in _troubled_collections(index):
        console.print(cell(line), style="yellow", soft_wrap=True)
    for line in _faults(report):
        console.print(cell(line), style="red", soft_wrap=True)


def _troubled_collections(index: Mapping[str, Any]) -> list[str]:
    """A line for each collection that can't be read, or whose last rebuild failed (its old graph is in use)."""
    reasons = {str(each["name"]): str(each["error"]) for each in index.get("collections") or [] if each.get("error")}
    for shard in index.get("shards") or []:
        for line in shard.get("graphs") or []:
            if line.get("failed"):
                # With OpenSearch, every process reports the same index.
                reasons.setdefault(str(line.get("collection")), f"the last rebuild failed: {line['failed']}")
    return [
        f"{name}: {textwrap.shorten(reason, _LONGEST_REASON, placeholder=' …')}"
        for name, reason in sorted(reasons.items())
    ]


def _state(report: Mapping[str, Any]) -> str:
    """Whether requests are answered, in a few words."""
    if not report.get("ready", True):
        return f"not ready ({(report.get('reason') or {}).get('message', 'it gives no reason')})"
    return "ready" if not _faults(report) else "not healthy, see below"


def _count(index: Mapping[str, Any]) -> str:
    """How many documents the index has, as far as that is known."""
    documents = index.get("documents")
    if documents is not None:
        return count_of(int(documents), "document")
    counted = int(index.get("documents_counted") or 0)
    return f"an unknown number of documents ({counted:,} in the shards that answer)"


def _faults(report: Mapping[str, Any]) -> list[str]:
    """A line for each process and stage that does not answer, or can't do its work."""
    index = report.get("index") or {}
    lines = [f"{name} does not answer" for name in report.get("silent") or []]
    lines += [
        f"shard {shard} does not answer"
        for shard in index.get("missing") or []
        if f"index/shard-{shard} does not answer" not in lines
    ]
    for name, stage in [("index", index), *(report.get("stages") or {}).items()]:
        if isinstance(stage, Mapping) and stage.get("error"):
            error = stage["error"]
            reason = f"{error.get('code')}: {error.get('message')}" if isinstance(error, Mapping) else str(error)
            if not lines or not isinstance(error, Mapping) or not _is_told(error, report):
                silent = not isinstance(error, Mapping) or error.get("code") in SILENT
                lines.append(f"{name} does not answer: {reason}" if silent else f"{name}: {reason}")
    return lines


def _is_told(error: Mapping[str, Any], report: Mapping[str, Any]) -> bool:
    """Whether the lines about silent processes already say the same as this error."""
    details = error.get("details") or {}
    return bool(details.get("silent") or details.get("shards")) and bool(report.get("silent"))


def _print_rows(console: Console, title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    if not rows:
        return
    numbers = tuple(name.replace("_", " ") for name in columns if name not in ("name", "model_id"))
    table = make_table(*(name.replace("_", " ") for name in columns), right=numbers, title=title)
    for row in rows:
        table.add_row(*(_number_cell(row.get(name)) for name in columns))
    console.print(table)


def _number_cell(value: Any) -> Any:
    return cell(f"{value:,}" if isinstance(value, int) else value)
