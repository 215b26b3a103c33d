"""What the command `jina` does before it reads a flow file: `visual-search-jina-command.pth` imports this when it starts.

Jina prints its logo and a table of its own arguments first, also where every line is to be JSON.
"""

from __future__ import annotations

import os
import sys
from functools import partial

import jina_cli

from executors.errors import VisualSearchError
from executors.jina_home import import_jina
from executors.log_format import write_json_lines
from executors.settings import wants_json

jina_cli._get_run_args = partial(jina_cli._get_run_args, print_args=False)
if wants_json():
    write_json_lines()
import_jina()
if "HeadRuntime" in sys.orig_argv:
    # Of a head that is started by itself, Jina ignores `--py-modules`.
    try:
        import executors.bootstrap  # noqa: F401
    except VisualSearchError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        os._exit(
            1
        )  # Python itself is starting: it would go on after any error, and take SystemExit for a failure of its own
