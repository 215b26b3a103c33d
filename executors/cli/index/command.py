"""Runs `visual-search index`: scan, send, find what is gone, report, and prune."""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import time
from collections.abc import Mapping, Set
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from executors.cli.exit_status import INTERRUPTED, OK, SOME_FAILED, UNAVAILABLE
from executors.cli.index.failure_report import write_failures
from executors.cli.index.files import STANDARD_INPUT, PictureFile, Scan, clashing_names, scan_folders
from executors.cli.index.gone import Gone, GoneFile, Pruned, emptied_folders, find_gone, prune
from executors.cli.index.loading import MAX_FILE_BYTES, Shrink
from executors.cli.index.selection import Selection
from executors.cli.index.sender import FileSender
from executors.cli.index.state import FileResult, IndexOptions, IndexOutcome
from executors.cli.index.summary import (
    gone_to_json,
    left_out_to_json,
    not_read,
    print_failures,
    print_gone,
    print_left_out,
    result_to_json,
    totals_to_json,
)
from executors.cli.journal import Journal, JournalScope
from executors.cli.journal_file import open_journal, scopes_of
from executors.cli.outcome import summary
from executors.cli.service import client_for, ready_index_uuid
from executors.cli.terminal.confirmation import confirmed
from executors.cli.terminal.interruption import stop_on_signal
from executors.cli.terminal.output import (
    count_of,
    is_unicode,
    print_error,
    print_json,
    print_warning,
    stderr_console,
    stdout_console,
)
from executors.cli.terminal.progress import make_view
from executors.cli.terminal.standard_input import read_standard_input
from executors.client import DEFAULT_COLLECTION, VisualSearchClient
from executors.errors import VisualSearchError
from executors.files.reading import unreadable


@dataclass(slots=True)
class _Run:
    """How a run ended. `gone_error` is set if the journal failed, so that it is not known which files are gone."""

    scan: Scan
    outcome: IndexOutcome
    interrupted: bool
    seconds: float
    gone: Gone = field(default_factory=Gone)
    gone_error: str | None = None


def index(options: argparse.Namespace) -> int:
    """Run the command and return its exit status.

    Raises:
        VisualSearchError: the run could not start.
    """
    _check_options(options)
    scan = scan_folders(
        [path for path in options.paths if path != "-"],
        Selection(options.exclude, follow=options.follow, everything=options.all),
    )
    if "-" in options.paths:
        scan.files.append(_read_input(options))
    if options.id == "path":
        _check_names(scan)
    journal = open_journal()
    with closing(journal) if journal is not None else nullcontext():
        try:
            run = asyncio.run(_index(options, scan, journal))
        except asyncio.CancelledError:
            return INTERRUPTED
        status = _conclude(options, run)
        if options.prune and status in (OK, SOME_FAILED):
            is_known = journal is not None and run.gone_error is None
            status = max(status, _prune(options, run.gone, is_known=is_known))
        return status


def _check_options(options: argparse.Namespace) -> None:
    if options.report and Path(options.report).suffix.lower() not in (".csv", ".json"):
        raise VisualSearchError("invalid_parameter", "--report: the file's name must end in .csv or .json")
    if options.id_prefix and options.id == "sha256":
        raise VisualSearchError(
            "invalid_parameter", "--id-prefix can't be combined with --id sha256: those ids are not paths"
        )
    if not is_unicode(options.id_prefix) or not is_unicode(options.name or ""):
        raise VisualSearchError("invalid_id", "--id-prefix, --name: not UTF-8")
    if "-" in options.paths and options.id == "path" and not options.name:
        raise VisualSearchError(
            "invalid_parameter", "the picture on standard input (-) needs an id: use --name ID, or --id sha256"
        )
    if options.name and "-" not in options.paths:
        raise VisualSearchError(
            "invalid_parameter", "--name is the id of the picture on standard input, so it needs the path -"
        )


def _check_names(scan: Scan) -> None:
    clashes = clashing_names(scan.files)
    for first, second in clashes:
        if second.folder == STANDARD_INPUT:
            raise VisualSearchError(
                "invalid_parameter",
                f"--name {second.name}: {first.path!r} would get the same id; give the picture on standard input (-) "
                "another one",
            )
    if clashes:
        first, second = clashes[0]
        raise VisualSearchError(
            "invalid_parameter",
            f"files of different folders would get the same id ({len(clashes):,} in all), such as {first.path!r} and "
            f"{second.path!r}; index their common parent folder, index each folder with its own --id-prefix, or use "
            "--id sha256",
        )


def _read_input(options: argparse.Namespace) -> PictureFile:
    try:
        content = read_standard_input(MAX_FILE_BYTES)
    except OSError as error:
        raise VisualSearchError("unreadable_file", f"standard input {unreadable(error).message}") from None
    # Standard input has no modification time; the current time makes every run send it.
    return PictureFile(STANDARD_INPUT, options.name or "-", len(content), time.time_ns(), content)


async def _index(options: argparse.Namespace, scan: Scan, journal: Journal | None) -> _Run:
    async with client_for(options) as client:
        index_uuid = await ready_index_uuid(client)
        with stop_on_signal() as stop:
            folders = {*scan.folders, *(file.folder for file in scan.files)}
            kind = f"path:{options.id_prefix}" if options.id_prefix else options.id
            try:
                scopes = scopes_of(journal, index_uuid, options.collection, folders, kind)
                emptied, journal_error = emptied_folders(scan, scopes), None
            except sqlite3.Error as error:
                scopes, emptied, journal_error = {}, set(), str(error)
            run = await _send(client, options, scan, scopes, stop)
            await _find_gone(run, scopes, emptied, journal_error)
            return run


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
            sender.report(file, options.id_prefix + file.name, "failed", error)
        outcome = await sender.send(scan.files, stop)
    finally:
        view.stop()
    seconds = time.monotonic() - started
    return _Run(scan, outcome, stop.is_set() and outcome.service_error is None, seconds)


async def _find_gone(
    run: _Run, scopes: Mapping[str, JournalScope], emptied: Set[str], journal_error: str | None
) -> None:
    """Compare the folders with the journal, unless the run was cut short."""
    outcome = run.outcome
    outcome.journal_error = run.gone_error = outcome.journal_error or journal_error
    if run.interrupted or outcome.service_error is not None or run.gone_error is not None:
        return
    try:
        run.gone = await asyncio.to_thread(find_gone, run.scan, scopes, emptied)
    except sqlite3.Error as error:
        run.gone_error = str(error)


def _index_options(options: argparse.Namespace) -> IndexOptions:
    shrink: Shrink | None = None
    if not options.no_shrink:
        from executors.cli.index import shrinking

        shrink = shrinking.shrink
    return IndexOptions(
        collection=options.collection,
        tags=options.tags,
        id_mode=options.id,
        shrink=shrink,
        requests=options.requests,
        resume=not options.no_resume,
        id_prefix=options.id_prefix,
        replace=options.replace,
    )


def _conclude(options: argparse.Namespace, run: _Run) -> int:
    """Print the results and how to continue; return the exit status."""
    outcome, scan, gone = run.outcome, run.scan, run.gone
    console = stderr_console() if options.json else stdout_console()
    missed = [FileResult(each.file, "", "left_out", not_read(each)) for each in scan.left_out if each.is_missed]
    if options.json:
        for each in scan.left_out:
            print_json(left_out_to_json(each))
        for file in () if options.prune else (*gone.files, *gone.doubtful):
            print_json(gone_to_json(file, "gone"))
        if scan.left_out or gone.files or gone.doubtful or gone.renamed:
            print_json(totals_to_json(scan, gone))
    if options.report:
        try:
            write_failures(Path(options.report), [*outcome.failures, *missed])
        except OSError as error:
            print_warning(f"{options.report} can't be written: {error.strerror or error}")
    if outcome.failures:
        print_failures(console, outcome.failures)
    console.print(summary(outcome.counts, "file", run.seconds), soft_wrap=True)
    print_left_out(console, scan.left_out)
    print_gone(console, gone, prune=options.prune)
    if outcome.journal_error:
        print_warning(
            f"the journal can't be written, so a later run will send some files again: {outcome.journal_error}"
        )
    elif run.gone_error:
        print_warning(f"the journal can't be read, so it is not known which indexed files are gone: {run.gone_error}")
    if outcome.service_error is not None:
        print_error(outcome.service_error)
    if outcome.unsent:
        console.print(
            f"{count_of(outcome.unsent, 'file')} not acknowledged; run the same command again to continue",
            soft_wrap=True,
        )
    if run.interrupted:
        return INTERRUPTED
    if outcome.service_error is not None:
        return UNAVAILABLE
    return SOME_FAILED if outcome.failures or missed else OK


def _prune(options: argparse.Namespace, gone: Gone, *, is_known: bool) -> int:
    """Remove documents whose files are gone, after confirmation; nothing if the journal does not know them."""
    if not is_known:
        print_error("--prune: without the journal of earlier runs it is not known which documents came from here")
        return SOME_FAILED
    files = [*gone.files, *gone.renamed]
    refused = bool(gone.doubtful) and not options.allow_empty
    if refused:
        print_error(
            f"{count_of(len(gone.doubtful), 'document')} kept: is the disk mounted? If the files are really gone, use "
            "--allow-empty to remove them"
        )
    elif gone.doubtful:
        files += gone.doubtful
    console = stderr_console() if options.json else stdout_console()
    number = count_of(len(files), "document")
    if files:
        place = options.collection or DEFAULT_COLLECTION
        if not options.yes and not confirmed(f"Remove {number} of {place} whose files are gone?"):
            console.print("nothing was removed")
            return SOME_FAILED
        pruned = asyncio.run(_remove(options, files))
        if options.json:
            for file, result in (
                *((each, "pruned") for each in pruned.removed),
                *((each, "kept") for each in pruned.kept),
            ):
                print_json(gone_to_json(file, result))
        descendants = (
            f", with {count_of(pruned.descendants, 'document')} that came from them" if pruned.descendants else ""
        )
        console.print(f"{count_of(len(pruned.removed), 'document')} removed from the index{descendants}")
        if pruned.journal_error:
            print_warning(
                f"the journal can't be written, so a later run will list these documents again: {pruned.journal_error}"
            )
        if pruned.kept:
            console.print(
                f"{count_of(len(pruned.kept), 'document')} kept, because another client has written them since"
            )
    return SOME_FAILED if refused else OK


async def _remove(options: argparse.Namespace, files: list[GoneFile]) -> Pruned:
    async with client_for(options) as client:
        return await prune(client, files, options.collection)
