"""Start and stop: a failure is one line with exit status 1 that names the wrong setting; a stop leaves no process behind."""

import json
import os
import re
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.support.flows.flow import (
    FLOW,
    OPENSEARCH_FLOW,
    RunningFlow,
    answered_status,
    kill_flow,
    processes_of_group,
    running_flow,
    start_flow,
    stop_flow,
    wait_until,
)


def ended(flow: RunningFlow, within_s: float = 30) -> int:
    try:
        return flow.process.wait(within_s)
    finally:
        kill_flow(flow)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_stop_leaves_nothing_behind(tmp_path: Path, models_dir: Path, how: signal.Signals) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    flow = start_flow(tmp_path, TMPDIR=str(temporary))
    wait_until(flow)
    group = flow.process.pid
    assert len(processes_of_group(group)) > 5
    # One that watches is told, and does not hold up the end.
    with requests.get(f"{flow.http_url}/watch", stream=True, timeout=20) as watched:
        lines = watched.iter_lines(decode_unicode=True)
        assert "event: health" in [next(lines) for _ in range(5)]
        flow.process.send_signal(how)
        assert "event: end" in list(lines)
    assert flow.process.wait(20) == 0
    assert processes_of_group(group) == []
    assert list(temporary.iterdir()) == []
    assert "Traceback" not in flow.log


def test_a_main_process_killed_hard_takes_its_pods_along(tmp_path: Path, models_dir: Path) -> None:
    flow = start_flow(tmp_path)
    wait_until(flow)
    os.kill(flow.process.pid, signal.SIGKILL)
    flow.process.wait(10)
    deadline = time.monotonic() + 15
    while processes_of_group(flow.process.pid) and time.monotonic() < deadline:
        time.sleep(0.2)
    left = processes_of_group(flow.process.pid)
    kill_flow(flow)
    assert left == []


def test_a_sound_start_warns_of_nothing_and_listens_on_loopback_only(tmp_path: Path, models_dir: Path) -> None:
    with running_flow(tmp_path) as flow:
        assert "[W]" not in flow.log
        assert "Warning" not in flow.log
        group = set(processes_of_group(flow.process.pid))
        addresses = listening_addresses(group)
        assert addresses
        assert addresses <= {"127.0.0.1", "::1"}
        wait_for_line(flow, "ready after")
        assert f"HTTP at http://127.0.0.1:{flow.http_port} (described at /docs)" in flow.log
        assert f"gRPC at grpc://127.0.0.1:{flow.grpc_port}\n" in flow.log
        assert f"the index is in {flow.environment['VS_WORKSPACE']};" in flow.log
        assert "no key is asked for" in flow.log
        assert "the index is empty" in flow.log
        assert all(re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z \S+@\d+\[[IE]\]:", line) for line in flow.log.splitlines())


def listening_addresses(pids: set[int]) -> set[str]:
    sockets = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(link.readlink())
            except OSError:
                continue
            if target.startswith("socket:["):
                sockets.add(target[8:-1])
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in sockets:
            found.add(socket.inet_ntoa(bytes.fromhex(fields[1].split(":")[0])[::-1]))
    for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in sockets:
            found.add("::" if int(fields[1].split(":")[0], 16) == 0 else "::1")
    return found


def test_a_missing_model_ends_the_start_with_one_line(tmp_path: Path) -> None:
    flow = start_flow(tmp_path, VS_MODELS_DIR=str(tmp_path / "nothing"), VS_MODEL="clip-vit-b32")
    assert ended(flow) == 1
    assert flow.log.startswith("error: model_missing: ")
    assert flow.log.count("\n") == 1
    assert "visual-search models build clip-vit-b32" in flow.log


def test_a_workspace_held_by_another_flow_ends_the_start(tmp_path: Path, models_dir: Path) -> None:
    with running_flow(tmp_path) as first:
        second = start_flow(tmp_path)
        assert ended(second) == 1
        assert "store_locked" in second.log
        assert "Traceback" not in second.log
        wait_until(first, "/health/full")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"executors": [{"shard": 3}]}, "shards"),
        ({"with": {"timeout_sent": 1}}, "timeout_send"),
        ({"gatway": {}}, "gateway"),
    ],
)
def test_a_wrong_key_in_the_flow_file_is_an_error(tmp_path: Path, change: dict, named: str) -> None:
    content = yaml.safe_load(FLOW.read_text())
    for key, value in change.items():
        if isinstance(value, list):
            content[key][0].update(value[0])
        else:
            content.setdefault(key, {}).update(value)
    path = tmp_path / "flow.yml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    flow = start_flow(tmp_path, path)
    assert ended(flow) == 1
    assert "invalid_flow" in flow.log
    assert named in flow.log
    assert "Traceback" not in flow.log


def test_a_bad_setting_is_an_error(tmp_path: Path) -> None:
    flow = start_flow(tmp_path, VS_SHARDS="none")
    assert ended(flow) == 1
    assert "invalid_setting: VS_SHARDS" in flow.log
    assert "Traceback" not in flow.log


def test_a_store_without_its_settings_is_an_error_before_anything_starts(tmp_path: Path) -> None:
    flow = start_flow(tmp_path, OPENSEARCH_FLOW, VS_OPENSEARCH_URLS="")
    assert ended(flow) == 1
    last = flow.log.strip().splitlines()[-1]
    assert last == "error: invalid_setting: VS_OPENSEARCH_URLS: the store `opensearch` needs at least one URL"
    assert "stage" not in flow.log


def test_json_logs_on_request_in_every_line(tmp_path: Path) -> None:
    """From the default model, which is made first, over a misspelt setting and IPv6 to the end."""
    models = str(tmp_path / "models")
    variables: dict[str, Any] = {"VS_LOG_FORMAT": "json", "VS_MODELS_DIR": models, "VS_HOST": "::1", "VS_SHARD": "9"}
    flow = start_flow(tmp_path, **variables)
    try:
        wait_for_line(flow, "ready after")
        assert answered_status(f"http://[::1]:{flow.http_port}/health/full") == 200
    finally:
        stop_flow(flow)
    lines = [json.loads(line) for line in flow.log.splitlines()]
    assert all(line["time"].endswith("Z") and line["message"] for line in lines)
    assert {line["level"] for line in lines} == {"INFO", "WARNING"}
    told = "\n".join(line["message"] for line in lines)
    assert "VS_SHARD is not a setting and has no effect; did you mean VS_SHARDS?" in told
    assert f"the model efficientnet-lite0 is not in {models} yet" in told
    assert f"HTTP at http://[::1]:{flow.http_port}" in told


def wait_for_line(flow: RunningFlow, text: str) -> None:
    deadline = time.monotonic() + 60
    while text not in flow.log:
        assert flow.process.poll() is None, flow.log
        assert time.monotonic() < deadline, flow.log
        time.sleep(0.1)


def test_a_port_that_is_taken_is_named_by_its_setting_before_any_stage_starts(tmp_path: Path, models_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for name in ("VS_HTTP_PORT", "VS_GRPC_PORT"):
            variables: dict[str, Any] = {name: str(port)}
            flow = start_flow(tmp_path, **variables)
            assert ended(flow) == 1
            last = flow.log.strip().splitlines()[-1]
            assert last.startswith(f"error: invalid_setting: {name}: port {port} of 127.0.0.1 is taken by")
            assert "server bound" not in flow.log
            assert "Traceback" not in flow.log


def test_an_address_that_is_not_this_machines_is_named_by_its_setting(tmp_path: Path, models_dir: Path) -> None:
    flow = start_flow(tmp_path, VS_HOST="192.0.2.7", VS_INSECURE="on")
    assert ended(flow) == 1
    assert "error: invalid_setting: VS_HOST: nothing can listen at 192.0.2.7: " in flow.log
    assert "VS_GRPC_PORT" not in flow.log


def test_every_address_is_those_of_ipv4_too(tmp_path: Path, models_dir: Path) -> None:
    with running_flow(tmp_path, VS_HOST="::", VS_INSECURE="on") as flow:
        for port in (flow.http_port, flow.grpc_port):
            for host in ("127.0.0.1", "::1"):
                socket.create_connection((host, port), timeout=10).close()


def test_a_folder_that_can_not_be_written_is_named_by_its_setting(tmp_path: Path, models_dir: Path) -> None:
    folder = tmp_path / "file"
    folder.touch()
    flow = start_flow(tmp_path, VS_WORKSPACE=str(folder))
    assert ended(flow) == 1
    assert f"error: storage_unavailable: VS_WORKSPACE: {folder}: it is a file" in flow.log
    assert "Traceback" not in flow.log


def test_the_flow_starts_from_any_folder_and_keeps_its_index(tmp_path: Path, models_dir: Path) -> None:
    import requests

    from tests.support.flows.api import Api, unit_vectors

    with running_flow(tmp_path) as flow:
        api = Api(flow.http_url, "kept")
        api.index_vectors({"a": unit_vectors(1)[0]})
        uuid = requests.get(f"{flow.http_url}/status", timeout=30).json()["index"]["uuid"]
    with running_flow(tmp_path) as flow:
        assert Api(flow.http_url, "kept").search_vector(unit_vectors(1)[0])[0]["id"] == "a"
        assert requests.get(f"{flow.http_url}/status", timeout=30).json()["index"]["uuid"] == uuid


def test_stopping_while_starting_leaves_nothing_behind(tmp_path: Path, models_dir: Path) -> None:
    flow = start_flow(tmp_path)
    time.sleep(2.0)
    stop_flow(flow, signal.SIGTERM)
    assert processes_of_group(flow.process.pid) == []
