"""One configuration: the project's own loggers, Jina's, and those of libraries write lines of one form."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

PROGRAM = """
import logging, sys
from executors.flow.log_configuration import configure_logs
from executors.flow.log_format import JsonFormatter, TextFormatter
from executors.request_id import request_scope

configure_logs(sys.argv[1])
configure_logs(sys.argv[1], "index/shard-0/rep-0")
own, library = logging.getLogger("executors.index.store"), logging.getLogger("asyncio")
own.info("graph of %d rows saved", 7)
own.debug("left out")
with request_scope("a-request"):
    own.error("failed")
    library.warning("of a library")
assert len(logging.getLogger("executors").handlers) == 1
"""


def lines_of(log_format: str) -> list[str]:
    environment = {key: value for key, value in os.environ.items() if key != "JINA_LOG_CONFIG"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, log_format],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=True,
    )
    return [*done.stdout.splitlines(), *done.stderr.splitlines()]


def test_text_has_the_process_and_the_request_in_every_line() -> None:
    lines = [re.sub(r"^\S+Z |@\d+", "", line) for line in lines_of("text")]
    assert lines == [
        "index/shard-0/rep-0[I]:graph of 7 rows saved",
        "index/shard-0/rep-0[E][a-request]:failed",
        "index/shard-0/rep-0[W][a-request]:asyncio: of a library",
    ]


def test_json_has_the_process_and_the_request_in_every_line() -> None:
    lines = [json.loads(line) for line in lines_of("json")]
    assert [line["message"] for line in lines] == ["graph of 7 rows saved", "failed", "of a library"]
    assert [line["level"] for line in lines] == ["INFO", "ERROR", "WARNING"]
    assert {line["name"] for line in lines} == {"index/shard-0/rep-0"}
    assert [line.get("request_id") for line in lines] == [None, "a-request", "a-request"]
    assert [line["logger"] for line in lines] == ["executors.index.store", "executors.index.store", "asyncio"]


LOST_READER = """
import logging, os
from executors.flow.log_configuration import leave_out_write_failures
leave_out_write_failures()
reader, writer = os.pipe()
os.close(reader)
logging.basicConfig(stream=os.fdopen(writer, 'w', buffering=1))
logging.error('lost')
logging.error('a defect: %d', 'x')
os._exit(0)
"""


def test_a_log_whose_reader_is_gone_leaves_no_traceback() -> None:
    done = subprocess.run([sys.executable, "-c", LOST_READER], capture_output=True, text=True, timeout=60, check=True)
    assert "BrokenPipeError" not in done.stderr
    assert "a defect" in done.stderr
