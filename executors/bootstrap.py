"""The module that a flow file imports first (`metas: {py_modules: [executors.bootstrap]}`); it prepares a plain `jina flow`.

Jina imports it in the main process between two expansions of the file's variables, and all processes of the flow inherit
its effects. It applies the changes to Jina (`executors.flow.jina_patches.patches` lists them), gives the variables of the
file their defaults, configures logs, and makes failures and signals end the program cleanly.
"""

import sys
from pathlib import Path

from executors.flow.jina_patches.patches import apply
from executors.flow.log_format import write_json_lines
from executors.flow.program import end_cleanly
from executors.flow.variables import quiet_libraries, set_flow_variables, warn_of_unknown_variables
from executors.settings import wants_json

if Path(sys.argv[0]).name == "jina":
    if wants_json():
        write_json_lines()
    end_cleanly()
quiet_libraries()
apply()
set_flow_variables()
warn_of_unknown_variables()
