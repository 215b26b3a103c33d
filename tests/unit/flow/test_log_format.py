"""Every log line has a time. In JSON format, every line is JSON, including those of libraries and of print."""

import io
import json
import logging
import os
import subprocess
import sys

from executors.flow.log_format import JsonFormatter, JsonLines, TextFormatter

PROGRAM = """
import asyncio, logging, sys, threading, warnings
from executors.flow.log_configuration import configure_logs
from executors.flow.log_format import write_json_lines

write_json_lines()
configure_logs("json")
print("a print\\nof two lines\\n\\n", end="")
print("\\x1b[1mbold\\x1b[0m", file=sys.stderr)
warnings.warn("a warning", stacklevel=1)
logging.getLogger("uvicorn.error").error("of uvicorn")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
raise ValueError("the end")
"""


def test_whatever_a_program_writes_is_json() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False, env=dict(os.environ)
    )
    lines = [json.loads(line) for line in (done.stdout + done.stderr).splitlines()]
    told = " | ".join(line["message"] for line in lines)
    for part in (
        "a print",
        "of two lines",
        "bold",
        "a warning",
        "of uvicorn",
        "ZeroDivisionError",
        "ValueError: the end",
    ):
        assert part in told
    assert all(line["time"].endswith("Z") and line["level"] for line in lines)
    assert "Traceback" in next(line for line in lines if "the end" in line["message"])["trace"]
    assert done.returncode == 1


def record(message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("embed/rep-0", logging.ERROR, __file__, 1, message, arguments, None)


def test_a_line_of_text_begins_with_its_time_and_is_not_cut() -> None:
    line = TextFormatter("%(name)s[%(levelname).1s]:%(message)s").format(record("%s", "\x1b[31m" + "x" * 600))
    assert line.endswith("Z embed/rep-0[E]:" + "x" * 600)
    assert line[:4].isdigit()


def test_a_json_line_has_the_message_with_its_arguments() -> None:
    assert json.loads(JsonFormatter().format(record("%d of %d", 1, 2)))["message"] == "1 of 2"


def test_a_line_that_comes_in_pieces_is_written_whole() -> None:
    below = io.StringIO()
    stream = JsonLines(below, "INFO")
    for piece in ("one ", "line", "\n", '{"message": "json"}\n', "no end"):
        stream.write(piece)
    first, second = below.getvalue().splitlines()
    assert json.loads(first)["message"] == "one line"
    assert json.loads(second) == {"message": "json"}


def test_a_json_line_has_the_name_that_its_format_gives() -> None:
    record = logging.LogRecord("IndexShard", logging.INFO, __file__, 1, "loaded", (), None)
    assert json.loads(JsonFormatter("index/shard-0/rep-0%(message)s").format(record))["name"] == "index/shard-0/rep-0"
    line = json.loads(JsonFormatter().format(record))
    assert (line["name"], line["logger"]) == ("flow", "IndexShard")


def test_a_warning_that_is_printed_is_no_error() -> None:
    target = io.StringIO()
    stream = JsonLines(target, "ERROR")
    stream.write("warning: VS_X is no setting\nerror: no\n")
    assert [json.loads(line)["level"] for line in target.getvalue().splitlines()] == ["WARNING", "ERROR"]
