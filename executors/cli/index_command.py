"""`visual-search index`: from folders to a summary that tells of every file."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from executors.cli.exit_status import INTERRUPTED, OK, SOME_FAILED, UNAVAILABLE
from executors.cli.failures import print_failures, write_failures
from executors.cli.files import Scan, clashing_names, scan_folders
from executors.cli.index_state import FileResult, IndexOptions, IndexOutcome
from executors.cli.indexing import FileSender
from executors.cli.interruption import stop_on_signal
from executors.cli.journal import JournalScope
from executors.cli.journal_file import open_journal, scopes_of
from executors.cli.loading import Shrink
from executors.cli.output import (
    count_of,
    print_error,
    print_json,
    print_warning,
    printable,
    stderr_console,
    stdout_console,
)
from executors.cli.progress import make_view
from executors.cli.service import client_for
from executors.client import VisualSearchClient
from executors.errors import VisualSearchError

_SHOWN_RESULTS = ("created", "replaced", "unchanged", "skipped", "failed")


@dataclass(frozen=True, slots=True)
class _Run:
    """How a run ended."""

    outcome: IndexOutcome
    interrupted: bool
    seconds: float


def index(options: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        VisualSearchError: nothing could be begun.
    """
    if options.report and Path(options.report).suffix.lower() not in (".csv", ".json"):
        raise VisualSearchError("invalid_parameter", "--report: the file's name must end in .csv or .json")
    scan = scan_folders(options.folders)
    if options.id == "path" and (clashes := clashing_names(scan.files)):
        first, second = clashes[0]
        raise VisualSearchError(
            "invalid_parameter",
            f"{count_of(len(clashes), 'file')} would get the id of another folder's, such as {first.path!r} and "
            f"{second.path!r}; index a common parent folder, or use --id sha256",
        )
    try:
        run = asyncio.run(_index(options, scan))
    except asyncio.CancelledError:
        return INTERRUPTED
    return _conclude(options, run)


async def _index(options: argparse.Namespace, scan: Scan) -> _Run:
    async with client_for(options) as client:
        index_uuid = await ready_index_uuid(client)
        journal = open_journal()
        try:
            with stop_on_signal() as stop:
                folders = {file.folder for file in scan.files}
                scopes = scopes_of(journal, index_uuid, options.collection, folders, options.id)
                return await _send(client, options, scan, scopes, stop)
        finally:
            if journal is not None:
                journal.close()


async def _send(
    client: VisualSearchClient,
    options: argparse.Namespace,
    scan: Scan,
    scopes: Mapping[str, JournalScope],
    stop: asyncio.Event,
) -> _Run:
    view, started = make_view(stderr_console()), time.monotonic()

    def on_result(result: FileResult) -> None:
        if options.json:
            print_json(result_to_json(result))
        view.advance(failed=result.error is not None, counted=result.result != "skipped")

    sender = FileSender(client, _index_options(options), scopes, on_result)
    view.start("indexing", len(scan.files) + len(scan.faults))
    try:
        for file, error in scan.faults:
            sender.report(file, file.name, "failed", error)
        outcome = await sender.send(scan.files, stop)
    finally:
        view.stop()
    return _Run(outcome, stop.is_set() and outcome.service_error is None, time.monotonic() - started)


def _index_options(options: argparse.Namespace) -> IndexOptions:
    shrink: Shrink | None = None
    if not options.no_shrink:
        from executors.cli import shrinking

        shrink = shrinking.shrink
    return IndexOptions(
        collection=options.collection,
        tags=options.tags,
        id_mode=options.id,
        shrink=shrink,
        requests=options.requests,
        resume=not options.no_resume,
    )


async def ready_index_uuid(client: VisualSearchClient) -> str:
    """The identity of the index behind a service, once that is ready; nothing is waited for where nothing answers.

    Raises:
        VisualSearchError: `unavailable`, or what keeps the service from being ready.
    """
    for _ in range(20):
        status = await client.status(attempts=1)
        uuid = (status.get("index") or {}).get("uuid")
        if uuid and status.get("ready", True):
            return str(uuid)
        await asyncio.sleep(0.5)
    reason = status.get("reason") or {}
    raise VisualSearchError("not_ready", f"the service is not ready: {reason.get('message', 'it does not say why')}")


def result_to_json(result: FileResult) -> dict[str, object]:
    """One file as it is printed with `--json`."""
    return {
        "path": result.file.path,
        "id": result.id,
        "result": result.result,
        "error": result.error.to_json() if result.error else None,
    }


def _conclude(options: argparse.Namespace, run: _Run) -> int:
    """Say what became of everything, and how to go on."""
    outcome = run.outcome
    console = stderr_console() if options.json else stdout_console()
    if options.report:
        try:
            write_failures(Path(options.report), outcome.failures)
        except OSError as error:
            print_warning(f"{options.report} can't be written: {error.strerror or error}")
    if outcome.failures:
        print_failures(console, outcome.failures)
    console.print(_summary(run), soft_wrap=True)
    if outcome.journal_error:
        print_warning(f"what was acknowledged last can't be remembered for a later run: {outcome.journal_error}")
    if outcome.service_error is not None:
        print_error(outcome.service_error)
    if outcome.unsent:
        console.print(
            f"{count_of(outcome.unsent, 'file')} not acknowledged; the same command again goes on from here",
            soft_wrap=True,
        )
    if run.interrupted:
        return INTERRUPTED
    if outcome.service_error is not None:
        return UNAVAILABLE
    return SOME_FAILED if outcome.failures else OK


def _summary(run: _Run) -> Text:
    """`240 files in 2.1 s (114.3/s): 238 created, 2 failed`"""
    counts = run.outcome.counts
    worked = sum(counts.values()) - counts["skipped"]
    text = Text(f"{count_of(sum(counts.values()), 'file')} in {run.seconds:.1f} s")
    if worked:
        text.append(f" ({worked / max(run.seconds, 1e-9):,.1f}/s)")
    known = [name for name in _SHOWN_RESULTS if counts[name]]
    others = sorted(set(counts) - set(_SHOWN_RESULTS))
    text.append(": " if known or others else "")
    for number, name in enumerate((*known, *others)):
        text.append(", " if number else "")
        note = " (acknowledged before)" if name == "skipped" else ""
        text.append(f"{counts[name]:,} {printable(name)}{note}", style="red" if name == "failed" else "")
    return text
