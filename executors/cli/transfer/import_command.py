"""Runs `visual-search import`: sends the lines of an export, from a file (which can be resumed) or a stream."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from executors.cli import outcome
from executors.cli.exit_status import INTERRUPTED, OK, SOME_FAILED, status_of
from executors.cli.index.absent_ids import absent_ids
from executors.cli.journal_file import open_journal
from executors.cli.service import client_for, ready_index_uuid
from executors.cli.terminal.interruption import stop_on_signal
from executors.cli.terminal.output import (
    count_of,
    print_error,
    print_json,
    print_warning,
    printable,
    stderr_console,
    stdout_console,
)
from executors.cli.terminal.progress import ProgressView, make_view
from executors.cli.terminal.standard_input import require_standard_input
from executors.cli.transfer.format import Header
from executors.cli.transfer.import_journal import ImportJournal, ImportKey
from executors.cli.transfer.import_reader import open_input, read_chunks, read_first
from executors.cli.transfer.import_state import ImportState, LineResult, Tally
from executors.cli.transfer.importer import DocumentSender
from executors.client import DEFAULT_COLLECTION, Document, VisualSearchClient
from executors.errors import VisualSearchError
from executors.files.reading import unreadable


@dataclass(frozen=True, slots=True)
class _Run:
    """How a run ended."""

    sender: DocumentSender
    begun_at_line: int
    interrupted: bool
    journal_error: str | None
    seconds: float


def import_(options: argparse.Namespace) -> int:
    """Run the command and return its exit status.

    Raises:
        VisualSearchError: the import could not start.
    """
    is_stream = options.file == "-" or (Path(options.file).exists() and not Path(options.file).is_file())
    if is_stream and options.resume:
        raise VisualSearchError("invalid_parameter", "--resume can't be used with a stream; name a file to import")
    try:
        if options.file == "-":
            require_standard_input()
            run = asyncio.run(_import(options, None, 0))
        else:
            with open_input(options.file) as stream:
                path = None if is_stream else Path(options.file)
                run = asyncio.run(_import(options, path, stream.fileno()))
    except asyncio.CancelledError:
        return INTERRUPTED
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        failed = unreadable(error)
        raise VisualSearchError(failed.code, f"{options.file}: {failed.message}") from None
    return _conclude(options, run)


async def _import(options: argparse.Namespace, path: Path | None, descriptor: int) -> _Run:
    """Import from a descriptor; `path` is its file, or None for a stream, which can't be resumed."""
    async with client_for(options) as client:
        index_uuid = await ready_index_uuid(client)
        journal = open_journal() if path is not None else None
        with closing(journal) if journal is not None else nullcontext():
            key = ImportKey.of(index_uuid, options.collection, path) if path is not None else None
            keeper = ImportJournal(journal, key)
            state = await _state_to_go_on_from(client, options, keeper)
            return await _send(client, options, path, descriptor, keeper, state)


async def _state_to_go_on_from(
    client: VisualSearchClient, options: argparse.Namespace, keeper: ImportJournal
) -> ImportState:
    """The state of an earlier run, with `--resume`, if the index still has what that run imported."""
    found = keeper.find()
    if found is None or not found.place.line:
        return ImportState()
    if not options.resume:
        print_warning(
            f"an earlier import of this file ended after line {found.place.line:,}; use --resume to continue from there"
        )
        return ImportState()
    if found.last is not None and await absent_ids(client, [found.last[1]], found.last[0]):
        print_warning("the index no longer has what an earlier run imported, so everything is sent again")
        return ImportState()
    return found


async def _send(
    client: VisualSearchClient,
    options: argparse.Namespace,
    path: Path | None,
    descriptor: int,
    keeper: ImportJournal,
    state: ImportState,
) -> _Run:
    view, started, begun_at = make_view(stderr_console()), time.monotonic(), state.place
    first = read_first(path) if path is not None else None
    source = None
    if begun_at.line and first is not None:
        source = _source_of(first)
    sender = DocumentSender(
        client,
        collection=options.collection,
        source=source,
        requests=options.requests,
        state=state,
        keeper=keeper,
        on_result=_teller(options, view),
    )
    with stop_on_signal() as stop:
        expected = sum(each.documents for each in first.collections) if isinstance(first, Header) else None
        view.start("importing", max(0, expected - sum(state.tally.counts.values())) if expected is not None else None)
        try:
            if begun_at.line and isinstance(first, Header):
                await sender.create_collections(first)
            await sender.send(read_chunks(descriptor, begun_at), stop)
        finally:
            view.stop()
            keeper.flush()
        if sender.finished:
            keeper.forget()
        interrupted = stop.is_set() and sender.error is None
    return _Run(sender, begun_at.line, interrupted, keeper.error, time.monotonic() - started)


def _source_of(first: Header | Document) -> str | None:
    """The collection of the first line."""
    if isinstance(first, Header):
        return first.collections[0].name if first.collections else None
    return first.collection or DEFAULT_COLLECTION


def _teller(options: argparse.Namespace, view: ProgressView) -> Callable[[LineResult], None]:
    def tell(result: LineResult) -> None:
        if options.json:
            print_json(
                {
                    "line": result.line,
                    "id": result.id,
                    "collection": result.collection,
                    "result": result.result,
                    "error": result.error.to_json() if result.error else None,
                }
            )
        view.advance(failed=result.error is not None)

    return tell


def _conclude(options: argparse.Namespace, run: _Run) -> int:
    """Print the results and how to continue; return the exit status."""
    sender = run.sender
    console = stderr_console() if options.json else stdout_console()
    _print_failures(console, sender.tally)
    line = run.begun_at_line
    aside = f"from line {line + 1:,} on, with the results of earlier lines" if line else None
    console.print(outcome.summary(sender.tally.counts, "document", run.seconds, aside=aside), soft_wrap=True)
    if run.journal_error:
        print_warning(f"the journal can't be written, so a later run can't continue this import: {run.journal_error}")
    if sender.error is not None:
        print_error(sender.error)
    place = sender.state.place
    truncated = sender.finished and bool(place.open or place.lacking)
    if truncated and place.open:
        print_error("the input ends before its last line, so its export was interrupted and documents are missing")
    if truncated and place.lacking:
        print_error(
            f"{count_of(place.lacking, 'document')} missing: the input's last line says that there should be more"
        )
    if not sender.finished:
        _say_how_to_go_on(console, options, run)
    if run.interrupted:
        return INTERRUPTED
    if sender.error is not None:
        return status_of(sender.error)
    return SOME_FAILED if truncated or sender.tally.counts["failed"] else OK


def _say_how_to_go_on(console: Console, options: argparse.Namespace, run: _Run) -> None:
    line = run.sender.state.place.line
    if options.file == "-" or not Path(options.file).is_file():
        console.print("not everything was imported; run the import again (what was imported already stays unchanged)")
    elif line == 0:
        console.print(f"{printable(options.file)}: the same command starts again with the first line", soft_wrap=True)
    elif run.journal_error is None:
        text = f"{printable(options.file)}: the same command with --resume continues after line {line:,}"
        console.print(text, soft_wrap=True)


def _print_failures(console: Console, tally: Tally) -> None:
    """Print the first lines that failed, with their errors."""
    failures = sorted(tally.failures, key=lambda each: each.line)
    if failures:
        rows = [({"line": each.line, "id": each.id}, each.error) for each in failures]
        outcome.print_failures(console, rows, tally.codes, noun="line", where_all_are="--json")
