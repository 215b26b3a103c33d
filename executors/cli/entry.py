"""Runs a command, and turns every error into an exit status and one line on stderr."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from executors.cli.exit_status import CLOSED_PIPE, INTERRUPTED, OK, USAGE, status_of
from executors.cli.parser.command_table import COMMANDS
from executors.cli.parser.parser import make_parser
from executors.errors import VisualSearchError


def run(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments, run the command, and return its exit status; only defects of this software raise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # So every file name can be printed, in any encoding of the terminal.
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            options = make_parser().parse_args(arguments)
        except SystemExit as ending:
            return OK if ending.code in (None, 0) else USAGE
        command = COMMANDS[options.command]
        if command.needs != "flow file":  # the flow itself warns of them
            from executors.settings import unknown_variables

            for line in unknown_variables():
                print(f"warning: {line}", file=sys.stderr)
        status = command.run(options)
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


def _discard_output() -> None:
    """Point stdout at /dev/null, so that Python does not complain about the closed pipe again when it exits."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
