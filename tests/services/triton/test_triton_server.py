"""A managed Triton, for real: its answers, its batches, its life and its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from executors.devices import Device
from executors.triton_server.command import THREADS_VARIABLE
from executors.triton_server.installation import Installation
from executors.triton_server.server import TritonServer
from tests.support.triton.managed_triton import (
    MODEL,
    OWNER,
    Start,
    embed,
    environment_of,
    group_of,
    infer_at_once,
    metric,
    parent_of,
    processes,
    random_pictures,
    regions,
    until,
    wait_ready,
)

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]


def test_its_vectors_are_those_of_onnx_runtime_in_process(shared: TritonServer, models_dir: Path) -> None:
    pictures = random_pictures(9)
    session = onnxruntime.InferenceSession(
        str(models_dir / MODEL / "1" / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    expected = session.run(["embedding"], {"image": pictures})[0]
    vectors = embed(shared.url, pictures)
    assert vectors.shape == (9, 1280)
    assert (vectors * expected).sum(axis=1).min() > 0.9999


def test_concurrent_single_pictures_are_executed_in_batches(shared: TritonServer) -> None:
    counted = {name: metric(shared, name) for name in ("nv_inference_count", "nv_inference_exec_count")}
    answers = infer_at_once(shared.url, MODEL, [random_pictures(1)] * 64)
    assert [np.shape(each) for each in answers] == [(1, 1280)] * 64
    # Triton counts a moment after it has answered.
    until(lambda: metric(shared, "nv_inference_count") - counted["nv_inference_count"] == 64)
    executions = metric(shared, "nv_inference_exec_count") - counted["nv_inference_exec_count"]
    assert executions <= 32, f"{executions:.0f} executions of 64 inferences"


def test_it_runs_with_its_threads_and_sees_no_gpu(shared: TritonServer) -> None:
    for pid in processes(shared):
        found = environment_of(pid)
        assert found["CUDA_VISIBLE_DEVICES"] == ""
        assert found[THREADS_VARIABLE] == "2"
        assert not {name for name in found if name.startswith(("VS_", "JINA", "PIP"))}


def test_with_a_gpu_it_sees_that_one_and_no_other(start: Start) -> None:
    server = start(device=Device("gpu", "GPU-8a1c"))
    pid = until(lambda: server.status()["pid"])
    assert environment_of(pid)["CUDA_VISIBLE_DEVICES"] == "GPU-8a1c"
    assert server.status()["device"] == "gpu GPU-8a1c"


def test_it_listens_on_this_machine_only(shared: TritonServer) -> None:
    inodes = {str(link.readlink()) for link in Path(f"/proc/{shared.status()['pid']}/fd").iterdir()}
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                listening.append(fields[1].split(":")[0])
    assert listening
    # 127.0.0.1, and the same as an IPv6 address, in the kernel's notation.
    assert set(listening) <= {"0100007F", "0000000000000000FFFF00000100007F"}


def test_a_killed_server_comes_back_on_the_same_port(start: Start) -> None:
    server = start()
    url = server.url
    wait_ready(url)
    os.kill(server.status()["pid"], signal.SIGKILL)
    failure = until(server.failure)
    assert failure.code == "triton_failed"
    assert "ended by SIGKILL" in failure.message
    wait_ready(url)
    assert server.failure() is None
    assert (server.url, server.status()["restarts"]) == (url, 1)
    assert embed(url, random_pictures(1)).shape == (1, 1280)


def test_a_stopped_server_is_killed_and_restarted_when_it_is_called_hung(start: Start) -> None:
    server = start()
    wait_ready(server.url)
    hung = server.status()["pid"]
    os.kill(hung, signal.SIGSTOP)
    server.restart("no answer for 3 s")
    server.restart("a second caller saw it, too")
    assert server.status()["restarts"] == 0, "the caller does not wait for it"
    until(lambda: server.status()["restarts"] == 1)
    wait_ready(server.url)
    assert group_of(hung) == []
    assert "no answer for 3 s" in server.status()["last_exit"]
    assert "no answer for 3 s" in logs_of(server)[0].read_text("utf-8", "replace")


def logs_of(server: TritonServer) -> list[Path]:
    return list(server._logs_dir.glob("*.log"))


def test_it_never_outlives_a_killed_owner(triton_installation: Installation, models_dir: Path, tmp_path: Path) -> None:
    arguments = [triton_installation.folder, models_dir, tmp_path]
    command = [sys.executable, "-c", OWNER, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as owner:
        assert owner.stdout is not None
        url, pid = owner.stdout.readline().split()
        wait_ready(url)
        server, its_guard = int(pid), parent_of(int(pid))
        assert len(group_of(server)) >= 2, "the server and its stubs"
        assert regions(owner.pid)
        owner.kill()
        until(
            lambda: not group_of(server) and not regions(owner.pid) and not Path(f"/proc/{its_guard}/fd").exists(), 30
        )


def test_a_killed_guard_takes_the_server_along_and_the_owner_starts_both_anew(start: Start) -> None:
    of_others = set(regions())
    server = start()
    wait_ready(server.url)
    old = server.status()["pid"]
    left = set(regions()) - of_others
    assert left
    os.kill(parent_of(old), signal.SIGKILL)
    until(lambda: server.status()["restarts"] == 1 and server.status()["pid"])
    assert group_of(old) == []
    assert not left & set(regions())
    assert "its guard was ended by SIGKILL" in server.status()["last_exit"]
    wait_ready(server.url)


def test_stopping_leaves_nothing_behind(start: Start) -> None:
    of_others = set(regions())
    server = start()
    wait_ready(server.url)
    pid = server.status()["pid"]
    assert set(regions()) > of_others
    server.stop()
    server.stop()
    assert group_of(pid) == []
    assert set(regions()) == of_others
    failure = server.failure()
    assert failure is not None
    assert "was stopped" in failure.message
    server.restart("of a stopped one: nothing happens")
    assert server.status()["pid"] is None


def test_two_servers_of_one_name_live_beside_each_other(start: Start) -> None:
    first, second = start(), start()
    wait_ready(first.url)
    wait_ready(second.url)
    assert first.url != second.url
    assert first.status()["metrics_url"] != second.status()["metrics_url"]
    assert {log.name for log in logs_of(first)} == {"embed-0.log", "embed-0-2.log"}
    first.stop()
    assert embed(second.url, random_pictures(1)).shape == (1, 1280)
