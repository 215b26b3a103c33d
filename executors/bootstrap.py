"""What a flow file imports first (`metas: {py_modules: [executors.bootstrap]}`), so that a plain `jina flow` behaves.

Jina imports this module in the main process between two expansions of the file's variables, and the processes of the flow
inherit what it does: Jina is changed where it has to be (`executors.flow.jina_patches.patches` lists every change), the
variables of the file get their defaults, logs are configured, and failures and signals end the program cleanly.
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
