"""Runs a command and turns whatever happens into an exit status and at most one line."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from executors.cli.exit_status import CLOSED_PIPE, INTERRUPTED, OK, USAGE, status_of
from executors.cli.parser.arguments import make_parser
from executors.errors import VisualSearchError


def run(arguments: Sequence[str] | None = None) -> int:
    """Parse and run; never raises, but for defects of this software."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Any file's name can be printed, whatever the terminal's encoding is.
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            options = make_parser().parse_args(arguments)
        except SystemExit as ending:
            return OK if ending.code in (None, 0) else USAGE
        if options.command != "serve":  # there, the flow says it
            from executors.settings import unknown_variables

            for line in unknown_variables():
                print(f"warning: {line}", file=sys.stderr)
        status = _run_command(options)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        return CLOSED_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except VisualSearchError as error:
        from executors.cli.terminal.output import print_error

        print_error(error)
        return status_of(error)
    return status


def _run_command(options: argparse.Namespace) -> int:
    """Import only what this command needs: a help text or an error should not wait for the rest."""
    match options.command:
        case "serve":
            from executors.flow.serve import serve

            return serve(options.flow)
        case "index":
            from executors.cli.index.command import index

            return index(options)
        case "search":
            from executors.cli.commands.search_command import search

            return search(options)
        case "get":
            from executors.cli.commands.document_commands import get

            return get(options)
        case "delete":
            from executors.cli.commands.document_commands import delete

            return delete(options)
        case "count":
            from executors.cli.commands.document_commands import count

            return count(options)
        case "export":
            from executors.cli.transfer.export_command import export

            return export(options)
        case "import":
            from executors.cli.transfer.import_command import import_

            return import_(options)
        case "collections":
            from executors.cli.commands.collection_commands import collections

            return collections(options)
        case "reindex":
            from executors.cli.commands.reindex_command import reindex

            return reindex(options)
        case "status":
            from executors.cli.commands.service_commands import status

            return status(options)
        case "verify":
            from executors.cli.commands.service_commands import verify

            return verify(options)
        case "models":
            from executors.cli.commands.model_commands import models

            return models(options)
    raise AssertionError(f"the parser knows a command that this function does not: {options.command}")


def _discard_output() -> None:
    """Point stdout at nothing, or Python would complain about the pipe once more when it exits."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
