"""Make a photo library, start a flow, index it, search with whole and changed pictures, and write a page."""

from __future__ import annotations

import argparse
import asyncio
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rich.console import Console

from executors.cli.commands.search_command import fetch_thumbnails
from executors.cli.exit_status import INTERRUPTED, OK, SOME_FAILED
from executors.cli.index.files import scan_folders
from executors.cli.index.sender import FileSender
from executors.cli.index.shrinking import shrink
from executors.cli.index.state import FileResult, IndexOptions, IndexOutcome
from executors.cli.index.summary import print_failures
from executors.cli.service import ready_index_uuid
from executors.cli.terminal.output import count_of, print_error, stdout_console
from executors.cli.terminal.progress import make_view
from executors.client import VisualSearchClient
from executors.demo.flow_process import FlowProcess, flow_command
from executors.demo.library import make_library
from executors.demo.presentation import DemoFigures, print_answers, shown_ids, summary_line, write_page
from executors.demo.trials import WHOLE, TrialResult, median_search_ms, plan_trials, recall_at_1, run_trials
from executors.errors import VisualSearchError
from executors.flow.serve import find_flow


@dataclass(frozen=True, slots=True)
class _Findings:
    """The results of the part that needs the flow."""

    outcome: IndexOutcome
    results: Sequence[TrialResult]
    thumbnails: Mapping[str, bytes | None]
    figures: DemoFigures


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo. The exit status is 0 if every step succeeded, otherwise 1, with a line that says which did not."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _run(options)
    except KeyboardInterrupt:
        return INTERRUPTED
    except VisualSearchError as error:
        print_error(error)
        return SOME_FAILED
    except OSError as error:
        print_error(f"{error.filename or 'a file'}: {error.strerror or error}")
        return SOME_FAILED
    return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m executors.demo", description=__doc__)
    parser.add_argument("--photos", type=Path, metavar="DIR", help="your own pictures instead of the demo's library")
    parser.add_argument(
        "--output", type=Path, default=Path("demo"), metavar="DIR", help="folder of the page (default: demo)"
    )
    parser.add_argument("--flow", metavar="FLOW.yml", help="the flow file (default: image-search.yml)")
    parser.add_argument("--keep", action="store_true", help="leave the flow running until Ctrl-C")
    return parser


def _run(options: argparse.Namespace) -> None:
    """Run all steps.

    Raises:
        VisualSearchError: a step failed.
        OSError: a file can't be read or written.
    """
    console = stdout_console()
    output: Path = options.output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    photos = options.photos
    if photos is None:
        photos = output / "photos"
        console.print(f"library: {count_of(len(make_library(photos)), 'picture')} in {photos}", soft_wrap=True)
    page = output / "index.html"
    with tempfile.TemporaryDirectory(prefix="visual-search-demo-") as folder:
        flow = FlowProcess(flow_command(find_flow(options.flow)), Path(folder), output / "flow.log")
        try:
            with console.status("starting the flow") if console.is_terminal else nullcontext():
                flow.start()
            console.print(f"flow: ready after {flow.seconds_to_ready:.1f} s at {flow.url}")
            findings = asyncio.run(_use(flow, photos, console))
            print_answers(console, findings.results)
            console.print(summary_line(findings.figures, findings.results), soft_wrap=True)
            write_page(page, findings.figures, findings.results, findings.thumbnails)
            console.print(f"page: {page}", soft_wrap=True)
            if options.keep:
                _keep(flow, console)
        finally:
            left = flow.stop()
    if left:
        raise VisualSearchError("internal", f"processes of the flow are still running: {left}", processes=left)
    console.print("flow: stopped, no process left")
    _check(findings)


async def _use(flow: FlowProcess, photos: Path, console: Console) -> _Findings:
    """Index the pictures and search with them."""
    scan = scan_folders([str(photos)])
    if not scan.files:
        raise VisualSearchError("unreadable_file", f"there is no picture in {photos}")
    async with VisualSearchClient(flow.url) as client:
        await ready_index_uuid(client)
        view = make_view(console)

        def on_result(result: FileResult) -> None:
            view.advance(failed=result.error is not None)

        sender = FileSender(client, IndexOptions(shrink=shrink), {}, on_result)
        view.start("indexing", len(scan.files))
        started = time.monotonic()
        try:
            outcome = await sender.send(scan.files, asyncio.Event())
        finally:
            view.stop()
        index_s = time.monotonic() - started
        if outcome.service_error is not None:
            raise outcome.service_error
        indexed = sum(outcome.counts.values()) - outcome.counts["failed"]
        console.print(f"index: {count_of(indexed, 'picture')} in {index_s:.1f} s ({indexed / index_s:.0f}/s)")
        if outcome.failures:
            print_failures(console, outcome.failures)
        failed = {failure.file.name for failure in outcome.failures}
        trials = plan_trials({Path(file.path): file.name for file in scan.files if file.name not in failed})
        started = time.monotonic()
        with console.status(f"searching with {len(trials):,} pictures") if console.is_terminal else nullcontext():
            results = await run_trials(client, trials)
        search_s = time.monotonic() - started
        one_search_ms = await median_search_ms(client, results)
        thumbnails = await fetch_thumbnails(client, shown_ids(results), None)
    figures = DemoFigures(indexed, index_s, len(results), search_s, one_search_ms, flow.seconds_to_ready)
    return _Findings(outcome, results, thumbnails, figures)


def _check(findings: _Findings) -> None:
    """Check the results.

    Raises:
        VisualSearchError: `internal`, with what is wrong.
    """
    failed = findings.outcome.failures
    if failed:
        raise VisualSearchError("internal", f"{count_of(len(failed), 'picture')} could not be indexed")
    errors = [result.error for result in findings.results if result.error is not None]
    if errors:
        raise VisualSearchError("internal", f"{count_of(len(errors), 'query')} failed, the first with {errors[0]}")
    whole = [result for result in findings.results if result.trial.change == WHOLE]
    if recall_at_1(whole) < 1:
        missed = [result.trial.expected for result in whole if not result.is_right]
        raise VisualSearchError(
            "internal", f"{len(missed)} of {len(whole)} whole pictures did not find themselves: {', '.join(missed[:5])}"
        )


def _keep(flow: FlowProcess, console: Console) -> None:
    console.print(f"flow: stays at {flow.url} until Ctrl-C (docs at {flow.url}/docs)")
    try:
        flow.wait()
    except KeyboardInterrupt:
        return


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
