"""Changes to the command `jina` before it reads a flow file; `visual-search-jina-command.pth` imports this at its start.

By itself, the command prints a logo and a table of its arguments first, even if every line should be JSON.
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path

import jina_cli

from executors.errors import VisualSearchError
from executors.flow.jina_home import import_jina
from executors.flow.log_format import write_json_lines
from executors.flow.paths import check_flow_argument
from executors.settings import wants_json

_read_arguments = jina_cli._get_run_args


def read_arguments() -> Namespace:
    """Return the arguments of the command; if the flow file can't be read, end it with one line and no traceback."""
    arguments: Namespace = _read_arguments(print_args=False)
    if arguments.cli == "flow":
        try:
            check_flow_argument(arguments.uses, find_file)
        except VisualSearchError as error:
            sys.exit(f"error: {error}")
    return arguments


def find_file(name: str) -> str | None:
    """Return the path at which Jina finds a file; None if it finds none."""
    from jina.jaml.helper import complete_path

    path: str = complete_path(name, raise_nonexist=False)
    return path if Path(path).exists() or Path(path).is_symlink() else None


jina_cli._get_run_args = read_arguments
if wants_json():
    write_json_lines()
import_jina()
if "HeadRuntime" in sys.orig_argv:
    # When a head is started on its own, Jina ignores `--py-modules`.
    try:
        import executors.bootstrap  # noqa: F401
    except VisualSearchError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        # Python itself is still starting: it would go on after any exception, and report SystemExit as its own failure.
        os._exit(1)
