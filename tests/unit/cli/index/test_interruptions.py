"""`visual-search index` as a process: signals, a closed pipe, and a terminal."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from executors.cli import main
from tests.support.flows.wire_service import WireService

MakeFiles = Callable[..., Path]
NAMES = [f"{n:03}.jpg" for n in range(60)]


def run_process(*arguments: str, **kwargs: object) -> subprocess.Popen[str]:
    """The command in a process of its own, for what concerns signals and pipes."""
    command = [sys.executable, "-m", "executors.cli", *arguments]
    root = Path(__file__).parents[4]
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | kwargs
    return subprocess.Popen(command, text=True, cwd=root, **streams)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_ctrl_c_stops_cleanly_and_the_next_run_goes_on(service: WireService, make_files: MakeFiles) -> None:
    folder = make_files(*NAMES)
    service.delay_s = 0.5
    process = run_process("index", str(folder), "--url", service.url, "--requests", "2")
    wait_for(lambda: len(service.requests) == 2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "32 created" in out
    assert "28 files not acknowledged; run the same command again to continue" in out
    service.delay_s = 0
    assert len(service.documents) == 32
    service.requests.clear()
    assert main(["index", str(folder), "--url", service.url]) == 0
    assert len(service.sent_ids()) == 28


def test_a_second_ctrl_c_does_not_wait(service: WireService, make_files: MakeFiles) -> None:
    service.delay_s = 60
    process = run_process("index", str(make_files(*NAMES)), "--url", service.url)
    wait_for(lambda: len(service.requests) == 4)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_a_kill_loses_no_acknowledgement_that_was_told(service: WireService, make_files: MakeFiles) -> None:
    folder = make_files(*NAMES)
    service.delay_s = 0.2
    process = run_process("index", str(folder), "--url", service.url, "--json", "--requests", "1")
    assert process.stdout is not None
    told = [json.loads(process.stdout.readline())["id"] for _ in range(3)]
    process.kill()
    process.communicate()
    service.delay_s = 0
    service.requests.clear()
    assert main(["index", str(folder), "--url", service.url]) == 0
    assert not set(told) & set(service.sent_ids())
    assert len(service.documents) == 60


def test_a_closed_pipe_ends_without_complaint(service: WireService, make_files: MakeFiles) -> None:
    process = run_process("index", str(make_files(*NAMES)), "--url", service.url, "--json")
    assert process.stdout is not None
    service.delay_s = 0.2
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr as stderr:
        err = stderr.read()
    assert process.wait(20) == 141
    assert "Traceback" not in err
    assert "BrokenPipe" not in err


def test_on_a_terminal_there_is_a_bar_and_elsewhere_there_is_none(service: WireService, make_files: MakeFiles) -> None:
    service.delay_s = 0.3
    folder = make_files(*NAMES)
    primary, secondary = os.openpty()
    process = run_process("index", str(folder), "--url", service.url, stderr=secondary)
    os.close(secondary)
    out = process.communicate(timeout=30)[0]
    shown = os.read(primary, 100_000).decode()
    os.close(primary)
    assert "indexing" in shown
    assert re.search(r"\d+/60", shown)
    assert "left" in shown
    assert "60 created" in out
    plain = run_process("index", str(folder), "--url", service.url, "--no-resume")
    assert plain.communicate(timeout=30)[1] == ""
