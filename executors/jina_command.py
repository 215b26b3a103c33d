"""What the command `jina` does before it reads a flow file: `visual-search-jina-command.pth` imports this when it starts.

Jina prints its logo and a table of its own arguments first, also where every line is to be JSON.
"""

from __future__ import annotations

from functools import partial

import jina_cli

from executors.jina_home import import_jina
from executors.log_format import write_json_lines
from executors.settings import wants_json

jina_cli._get_run_args = partial(jina_cli._get_run_args, print_args=False)
if wants_json():
    write_json_lines()
import_jina()
