"""The process that runs the flow, with small programs in its place."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from executors.demo import flow_process
from executors.demo.flow_process import FlowProcess, flow_command, free_ports, processes_of_group
from executors.errors import VisualSearchError

READY = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health/ready" else 404); self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(os.environ["VS_HTTP_PORT"])), Handler).serve_forever()
"""
STUBBORN = """
import os, signal, time
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
if os.fork() == 0:
    while True: time.sleep(1)
"""


def make_flow(tmp_path: Path, program: str) -> FlowProcess:
    return FlowProcess([sys.executable, "-c", program], tmp_path / "flow", tmp_path / "flow.log", {"MORE": "yes"})


def test_it_is_ready_inside_and_gone_afterwards(tmp_path: Path) -> None:
    with make_flow(tmp_path, READY) as flow:
        assert flow._process is not None
        group = flow._process.pid
        assert processes_of_group(group) == [group]
        assert group != os.getpgid(0)
    assert processes_of_group(group) == []
    assert flow.seconds_to_ready > 0


def test_it_has_an_address_and_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VS_HTTP_PORT", "8080")
    monkeypatch.setenv("VS_SHARDS", "3")
    for name in ("VS_KEYS_FILE", "VS_API_KEY", "VS_METRICS_PORT", "VS_ROOT_PATH"):
        monkeypatch.setenv(name, "of a service that lasts")
    program = "import os; print({key: value for key, value in os.environ.items() if key[:3] == 'VS_' or key == 'MORE'})"
    flow = make_flow(tmp_path, program)
    with pytest.raises(VisualSearchError) as caught:
        flow.start()
    said = caught.value.message
    assert f"'VS_WORKSPACE': '{tmp_path / 'flow' / 'index'}'" in said
    assert f"'VS_HTTP_PORT': '{flow.url.rpartition(':')[2]}'" in said
    assert "'VS_SHARDS': '3'" in said
    assert "'MORE': 'yes'" in said
    assert "8080" not in said
    assert "of a service that lasts" not in said


def test_a_start_that_fails_shows_the_end_of_the_log(tmp_path: Path) -> None:
    program = "for n in range(50): print('line', n)\nprint('error: the model is missing'); raise SystemExit(1)"
    with pytest.raises(VisualSearchError) as caught, make_flow(tmp_path, program):
        pass
    assert "exit status 1" in caught.value.message
    assert "error: the model is missing" in caught.value.message
    assert "line 49" in caught.value.message
    assert "line 10\n" not in caught.value.message


def test_one_that_never_becomes_ready_is_given_up_and_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_process, "START_TIMEOUT_S", 0.3)
    flow = make_flow(tmp_path, "import time; time.sleep(60)")
    with pytest.raises(VisualSearchError, match="not ready"), flow:
        pass
    assert flow._process is not None
    assert processes_of_group(flow._process.pid) == []


def test_processes_that_ignore_every_signal_are_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_process, "STOP_TIMEOUT_S", 0.2)
    monkeypatch.setattr(flow_process, "TERMINATE_TIMEOUT_S", 0.2)
    flow = make_flow(tmp_path, STUBBORN + READY)
    flow.start()
    assert flow._process is not None
    assert len(processes_of_group(flow._process.pid)) == 2
    assert flow.stop() == []
    assert processes_of_group(flow._process.pid) == []


def test_a_process_that_has_ended_leaves_its_children_to_be_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_process, "STOP_TIMEOUT_S", 0.2)
    flow = make_flow(tmp_path, "import os, time\nif os.fork(): os._exit(3)\ntime.sleep(60)")
    with pytest.raises(VisualSearchError, match="exit status 3"), flow:
        pass
    assert flow._process is not None
    assert processes_of_group(flow._process.pid) == []


def test_stopping_twice_or_before_the_start_is_fine(tmp_path: Path) -> None:
    flow = make_flow(tmp_path, READY)
    assert flow.stop() == []
    flow.start()
    assert flow.stop() == []
    assert flow.stop() == []


def test_zombies_do_not_count() -> None:
    child = os.posix_spawn(sys.executable, [sys.executable, "-c", ""], {}, setpgroup=0)
    deadline = time.monotonic() + 10
    while processes_of_group(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert os.waitpid(child, 0)[0] == child


def test_ports_are_different_and_free() -> None:
    assert len(set(free_ports(20))) == 20


def test_the_command_is_that_of_this_environment(tmp_path: Path) -> None:
    command = flow_command(tmp_path / "flow.yml")
    assert Path(command[0]).parent == Path(sys.executable).parent
    assert command[1:] == ["flow", "--uses", str(tmp_path / "flow.yml")]
