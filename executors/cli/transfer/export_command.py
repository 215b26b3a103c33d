"""Runs `visual-search export`: writes collections as lines of JSON to a file (which can be resumed) or a stream."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from executors.cli.exit_status import INTERRUPTED, OK, status_of
from executors.cli.output_file import open_output
from executors.cli.service import client_for, ready_index_uuid
from executors.cli.terminal.interruption import stop_on_signal
from executors.cli.terminal.output import count_of, print_error, print_json, printable, stderr_console
from executors.cli.terminal.progress import make_view
from executors.cli.transfer.exporter import Exporter, Position, begin, position_after
from executors.cli.transfer.format import CollectionLine, Header, parse_line
from executors.cli.transfer.part_file import PartFile, unwritable
from executors.client import DEFAULT_COLLECTION, VisualSearchClient
from executors.errors import VisualSearchError, collection_not_found
from executors.files.writing import link_target


@dataclass(frozen=True, slots=True)
class _Run:
    """How a run ended."""

    documents: int
    complete: bool
    seconds: float
    error: VisualSearchError | None = None


def export(options: argparse.Namespace) -> int:
    """Run the command and return its exit status.

    Raises:
        VisualSearchError: the export could not start.
    """
    path = None if options.file == "-" else Path(options.file)
    is_stream = path is None or (path.exists() and not path.is_file())
    if path is not None and not is_stream:
        # A link stays a link: its target is written, and the part file beside the target.
        path = link_target(path)
        options.file = str(path)
    if is_stream and (options.resume or options.json):
        name = "--resume" if options.resume else "--json"
        raise VisualSearchError("invalid_parameter", f"{name} can't be used with a stream; name a file to export to")
    try:
        if path is None:
            run = asyncio.run(_to_stream(options, lambda content: _write_through(sys.stdout.buffer, content)))
        elif is_stream:
            with open_output(path) as stream:
                run = asyncio.run(_to_stream(options, lambda content: _write_through(stream, content)))
        else:
            run = asyncio.run(_to_file(options, path))
    except asyncio.CancelledError:
        return INTERRUPTED
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise unwritable(Path(options.file), error) from None
    return _conclude(options, run)


async def _to_stream(options: argparse.Namespace, write: Callable[[bytes], Any]) -> _Run:
    async with client_for(options) as client:
        header = await _header(client, options)
        return await _write(client, options, header, begin(header.collections), write)


async def _to_file(options: argparse.Namespace, path: Path) -> _Run:
    async with client_for(options) as client:
        index_uuid = await ready_index_uuid(client)
        # The collections are looked up before the part file is created.
        header = await _header(client, options)
        file = PartFile(path, resume=options.resume)
        try:
            if file.last:
                known = _header_of(file.first, index_uuid, options)
                position = position_after(known, file.last, file.lines)
                run = await _write(client, options, None, position, file.write)
            else:
                run = await _write(client, options, header, begin(header.collections), file.write)
            if run.complete:
                await asyncio.to_thread(file.finish)
            return run
        finally:
            file.close()


async def _header(client: VisualSearchClient, options: argparse.Namespace) -> Header:
    """The header of a new export.

    Raises:
        VisualSearchError: `collection_not_found` if a collection that the user named does not exist.
    """
    found = {each.name: each for each in await client.collections()}
    names = list(dict.fromkeys(options.collection)) if options.collection else list(found)
    for name in names:
        if name not in found and name != DEFAULT_COLLECTION:
            raise collection_not_found(name)
    collections = [
        CollectionLine(each.name, each.model_id, each.dimension, each.documents)
        for each in (found[name] for name in names if name in found)
    ]
    return Header(collections, await ready_index_uuid(client), options.filter)


def _header_of(first: bytes, index_uuid: str, options: argparse.Namespace) -> Header:
    """The header of an interrupted export, checked against the options of this run.

    Raises:
        VisualSearchError: `invalid_parameter` if they differ.
    """
    header = parse_line(first)
    if not isinstance(header, Header):
        raise VisualSearchError("invalid_parameter", "the part file is not an export: its first line is not a header")
    differing: Mapping[str, bool] = {
        "of another index": header.index != index_uuid,
        "with another --filter": header.filter != options.filter,
        "of other collections": bool(options.collection)
        and not {each.name for each in header.collections} <= set(options.collection),
    }
    for what, holds in differing.items():
        if holds:
            raise VisualSearchError(
                "invalid_parameter", f"the interrupted export was started {what}; remove {options.file}.part first"
            )
    return header


async def _write(
    client: VisualSearchClient,
    options: argparse.Namespace,
    header: Header | None,
    position: Position,
    write: Callable[[bytes], Any],
) -> _Run:
    view, started = make_view(stderr_console()), time.monotonic()
    exporter = Exporter(client, options.filter, write, lambda number: view.advance(number=number))
    error = None
    with stop_on_signal() as stop:
        total = sum(each.documents for each in position.collections) if options.filter is None else None
        view.start("exporting", total)
        try:
            await exporter.write(header, position, stop)
        except VisualSearchError as raised:
            error = raised
        finally:
            view.stop()
    return _Run(exporter.documents, exporter.complete, time.monotonic() - started, error)


def _write_through(stream: BinaryIO, content: bytes) -> None:
    stream.write(content)
    stream.flush()


def _conclude(options: argparse.Namespace, run: _Run) -> int:
    """Print the result and how to continue; return the exit status."""
    console = stderr_console()
    where = "" if options.file == "-" else f" in {printable(options.file)}"
    if run.complete:
        if options.json:
            print_json({"file": options.file, "documents": run.documents})
        else:
            console.print(f"{count_of(run.documents, 'document')}{where}, {run.seconds:.1f} s", soft_wrap=True)
        return OK
    if run.error is not None:
        print_error(run.error)
    if Path(f"{options.file}.part").exists():
        console.print(
            f"{count_of(run.documents, 'document')}{where}.part; the same command with --resume continues it",
            soft_wrap=True,
        )
    else:
        console.print(f"{count_of(run.documents, 'document')} written; the output is not complete", soft_wrap=True)
    return INTERRUPTED if run.error is None else status_of(run.error)
