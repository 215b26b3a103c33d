"""A managed Triton, for real: its answers, its batches, its life and its end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tritonclient.grpc as triton
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tritonclient.utils import InferenceServerException

from executors.embed.devices import CPU, Device
from executors.triton import guard
from executors.triton.installation import Installation
from executors.triton.launch import THREADS_VARIABLE
from executors.triton.plain_paths import is_plain
from executors.triton.server import TritonServer

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

MODEL = "efficientnet-lite0"
# Starts a server, says what it started, and lives on; the tests kill it.
OWNER = """
import sys, time
from pathlib import Path
from executors.embed.devices import CPU
from executors.triton.installation import Installation
from executors.triton.server import TritonServer
packages, models, logs = map(Path, sys.argv[1:])
server = TritonServer(Installation(packages, "cpu"), models_dir=models, models=["efficientnet-lite0"], device=CPU,
    threads=1, logs_dir=logs, name="owned")
server.start()
while server.status()["pid"] is None: time.sleep(0.01)
print(server.url, server.status()["pid"], flush=True)
time.sleep(120)
"""
Start = Callable[..., TritonServer]


@pytest.fixture
def start(triton_installation: Installation, models_dir: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts servers, and stops them after the test."""
    started: list[TritonServer] = []

    def start(
        repository: Path = models_dir,
        models: tuple[str, ...] = (MODEL,),
        device: Device = CPU,
        installation: Installation = triton_installation,
    ) -> TritonServer:
        server = TritonServer(
            installation,
            models_dir=repository,
            models=models,
            device=device,
            threads=2,
            logs_dir=tmp_path / "logs",
            name="embed-0",
        )
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()
    assert [pid for server in started for pid in processes(server)] == []


@pytest.fixture(scope="module")
def shared(
    triton_installation: Installation, models_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    """One server for the tests that only ask it something."""
    server = TritonServer(
        triton_installation,
        models_dir=models_dir,
        models=[MODEL],
        device=CPU,
        threads=2,
        logs_dir=tmp_path_factory.mktemp("logs"),
        name="shared",
    )
    server.start()
    wait_ready(server.url)
    yield server
    server.stop()


def until(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


def wait_ready(url: str, model: str = MODEL) -> None:
    def ready() -> bool:
        with triton.InferenceServerClient(url) as client, suppress(InferenceServerException):
            return bool(client.is_model_ready(model))
        return False

    until(ready)


def embed(url: str, pictures: NDArray[np.uint8], model: str = MODEL, version: str = "") -> NDArray[np.float32]:
    tensor = triton.InferInput("image", list(pictures.shape), "UINT8")
    tensor.set_data_from_numpy(pictures)
    with triton.InferenceServerClient(url) as client:
        vectors = client.infer(model, [tensor], model_version=version, client_timeout=20).as_numpy("embedding")
    return np.asarray(vectors, np.float32)


def infer_at_once(url: str, model: str, batches: list[NDArray[np.uint8]]) -> list[NDArray[np.float32] | str]:
    """The vectors of each batch, or what the server said against it; all are sent at the same time."""

    def infer(pictures: NDArray[np.uint8]) -> NDArray[np.float32] | str:
        tensor = triton.InferInput("image", list(pictures.shape), "UINT8")
        tensor.set_data_from_numpy(pictures)
        try:
            return np.asarray(client.infer(model, [tensor], client_timeout=30).as_numpy("embedding"), np.float32)
        except InferenceServerException as error:
            return str(error)

    with triton.InferenceServerClient(url) as client, ThreadPoolExecutor(len(batches)) as pool:
        return list(pool.map(infer, batches))


def random_pictures(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, (count, 224, 224, 3), dtype=np.uint8)


def group_of(pid: int) -> list[int]:
    """The living processes of the server's group: itself and its stubs."""
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if fields[0] != "Z" and int(fields[2]) == pid:
                found.append(int(folder.name))
    return found


def processes(server: TritonServer) -> list[int]:
    pid = server.status()["pid"]
    return group_of(pid) if pid else []


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def regions(owner: int | None = None) -> list[str]:
    """Shared memory of the servers that a process owns."""
    return [file.name for file in guard.SHARED_MEMORY.glob(f"{guard.PREFIX}{owner or os.getpid()}-*")]


def environment_of(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode().rstrip("\0").split("\0")
    return dict(entry.split("=", 1) for entry in entries)


def metric(server: TritonServer, name: str, model: str = MODEL) -> float:
    with urllib.request.urlopen(server.status()["metrics_url"], timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"{name}{{") and f'"{model}"' in line)


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
    began = time.monotonic()
    server.restart("no answer for 3 s")
    server.restart("a second caller saw it, too")
    assert time.monotonic() - began < 0.5
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
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as owner:
        assert owner.stdout is not None
        url, pid = owner.stdout.readline().split()
        wait_ready(url)
        server, its_guard = int(pid), parent_of(int(pid))
        assert len(group_of(server)) >= 2, "the server and its stubs"
        assert regions(owner.pid)
        owner.kill()
        began = time.monotonic()
        until(lambda: not group_of(server) and not regions(owner.pid) and not Path(f"/proc/{its_guard}/fd").exists(), 5)
        assert time.monotonic() - began < 3


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
    began = time.monotonic()
    server.stop()
    server.stop()
    assert time.monotonic() - began < 3
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


def write_entry(repository: Path, name: str, *, scale: dict[int, float], config: str = "") -> None:
    """A user's own entry: the mean colour of an 8 x 8 picture, times a number that differs from version to version."""
    for version, factor in scale.items():
        nodes = [
            helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["floats"], ["colour"], axes=[1, 2], keepdims=0),
            helper.make_node("Mul", ["colour", "factor"], ["embedding"]),
        ]
        graph = helper.make_graph(
            nodes,
            "mean",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 8, 8, 3])],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 3])],
            [helper.make_tensor("factor", TensorProto.FLOAT, [1], [factor])],
        )
        file = repository / name / str(version) / "model.onnx"
        file.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), str(file))
    text = f"""name: "{name}"
backend: "onnxruntime"
max_batch_size: 16
input {{ name: "image" data_type: TYPE_UINT8 dims: [ 8, 8, 3 ] }}
output {{ name: "embedding" data_type: TYPE_FP32 dims: [ 3 ] }}
dynamic_batching {{ }}
{config}"""
    (repository / name / "config.pbtxt").write_text(text)


def test_two_versions_of_a_users_model_are_served_beside_each_other(start: Start, tmp_path: Path) -> None:
    repository = tmp_path / "models"
    write_entry(repository, "mine", scale={1: 1.0, 2: 10.0}, config="version_policy { all { } }\n")
    write_entry(repository, "unwanted", scale={1: 1.0})
    server = start(repository, ("mine",))
    wait_ready(server.url, "mine")
    picture = np.full((2, 8, 8, 3), 5, np.uint8)
    assert embed(server.url, picture, "mine", "1").tolist() == [[5.0] * 3] * 2
    assert embed(server.url, picture, "mine", "2").tolist() == [[50.0] * 3] * 2
    with triton.InferenceServerClient(server.url) as client:
        assert not client.is_model_ready("unwanted")


def write_lookup(repository: Path, name: str) -> None:
    """An entry whose model fails on the values of one picture (a look-up beyond its table of ten), not on its shape."""
    nodes = [
        helper.make_node("Cast", ["image"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "look-up",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 1])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor("table", TensorProto.FLOAT, [10], [float(number) for number in range(10)])],
    )
    file = repository / name / "1" / "model.onnx"
    file.parent.mkdir(parents=True)
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), str(file))
    (repository / name / "config.pbtxt").write_text(f"""name: "{name}"
backend: "onnxruntime"
max_batch_size: 64
input {{ name: "image" data_type: TYPE_UINT8 dims: [ 1 ] }}
output {{ name: "embedding" data_type: TYPE_FP32 dims: [ 1 ] }}
dynamic_batching {{ preferred_batch_size: [ 40 ] max_queue_delay_microseconds: 300000 }}
""")


def test_a_picture_that_fails_in_the_model_does_not_fail_its_neighbours(start: Start, tmp_path: Path) -> None:
    write_lookup(tmp_path / "models", "table")
    server = start(tmp_path / "models", ("table",))
    wait_ready(server.url, "table")
    values = [number % 10 if number % 8 else 200 for number in range(40)]
    answers = infer_at_once(server.url, "table", [np.full((1, 1), value, np.uint8) for value in values])
    for value, answer in zip(values, answers, strict=True):
        if value == 200:
            assert "out of data bounds" in str(answer)
        else:
            assert np.array_equal(answer, [[value]])
    until(lambda: metric(server, "nv_inference_exec_count", "table"))
    assert metric(server, "nv_inference_exec_count", "table") < 20, "they ran in batches"


def test_a_size_that_the_model_refuses_is_that_requests_error(start: Start, tmp_path: Path) -> None:
    repository = tmp_path / "models"
    write_entry(repository, "mine", scale={1: 1.0})
    config = repository / "mine" / "config.pbtxt"
    config.write_text(config.read_text().replace("dims: [ 8, 8, 3 ]", "dims: [ -1, -1, 3 ]"))
    server = start(repository, ("mine",))
    wait_ready(server.url, "mine")
    pictures = [np.full((1, side, side, 3), side, np.uint8) for side in [8, 9, 8, 8, 7, 8] * 4]
    for picture, answer in zip(pictures, infer_at_once(server.url, "mine", pictures), strict=True):
        if picture.shape[1] == 8:
            assert np.array_equal(answer, [[8.0] * 3])
        else:
            assert "invalid dimensions" in str(answer).lower()


def test_a_damaged_model_is_named_and_a_repaired_one_is_served_without_a_new_start(
    start: Start, tmp_path: Path
) -> None:
    repository = tmp_path / "models"
    write_entry(repository, "mine", scale={1: 1.0})
    file = repository / "mine" / "1" / "model.onnx"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    server = start(repository, ("mine",))
    failure = until(server.failure)
    assert failure.code == "triton_failed"
    assert "model 'mine' version 1: mine/1/model.onnx can't be loaded" in failure.message
    assert str(tmp_path) not in failure.message
    file.write_bytes(whole)
    wait_ready(server.url, "mine")
    assert server.failure() is None


def test_an_entry_that_is_not_there_is_named(start: Start, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    server = start(tmp_path / "models", ("nowhere",))
    assert "'nowhere': model not found" in until(server.failure).message


def test_a_model_of_another_shape_than_its_configuration_says_what_differs(start: Start, tmp_path: Path) -> None:
    repository = tmp_path / "models"
    write_entry(repository, "mine", scale={1: 1.0})
    config = repository / "mine" / "config.pbtxt"
    config.write_text(config.read_text().replace("dims: [ 3 ]", "dims: [ 4 ]"))
    message = until(start(repository, ("mine",)).failure).message
    assert "output 'embedding' of mine/1/model.onnx has the shape [-1, 3], the configuration says [-1, 4]" in message


def copy_of(installation: Installation, folder: Path) -> Installation:
    """The same packages at another place."""

    def link_or_copy(source: str, target: str) -> None:
        # What a test may write to is never shared.
        if Path(source).stat().st_size > 1_000_000 and Path(source).suffix == ".so":
            with suppress(OSError):  # another disk
                os.link(source, target)
                return
        shutil.copy2(source, target)

    shutil.copytree(
        installation.folder,
        folder,
        symlinks=True,
        copy_function=link_or_copy,
        ignore=shutil.ignore_patterns(".cache", "__pycache__"),
    )
    return Installation(folder, installation.variant)


def folders_of_links() -> list[Path]:
    return list(guard.SHARED_MEMORY.glob(f"{guard.PREFIX}{os.getpid()}-*-paths"))


@pytest.mark.parametrize("name", ["tri tön", "trön", "mit leer", "日本", "it's $HOME; (a)"])
def test_it_runs_where_the_packages_lie_at_an_unusual_place(
    start: Start, triton_installation: Installation, tmp_path: Path, name: str
) -> None:
    server = start(installation=copy_of(triton_installation, tmp_path / name))
    wait_ready(server.url)
    assert embed(server.url, random_pictures(2)).shape == (2, 1280)
    server.stop()
    assert folders_of_links() == []


@pytest.mark.parametrize("name", ["m_ö", "mödels mit leer 日本", "it's $HOME; (a)"])
def test_it_serves_models_at_an_unusual_place(start: Start, tmp_path: Path, name: str) -> None:
    repository = tmp_path / name
    write_entry(repository, "mine", scale={1: 1.0})
    server = start(repository, ("mine",))
    wait_ready(server.url, "mine")
    assert embed(server.url, np.full((1, 8, 8, 3), 5, np.uint8), "mine").tolist() == [[5.0] * 3]
    server.stop()
    assert folders_of_links() == []


def test_it_serves_a_model_whose_weights_are_in_a_file_of_their_own_at_an_unusual_place(
    start: Start, tmp_path: Path
) -> None:
    repository = tmp_path / "mödels mit leer"
    write_entry(repository, "mine", scale={1: 3.0})
    file = repository / "mine" / "1" / "model.onnx"
    model = onnx.load(file)
    # Only raw data is put into a file of its own.
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array([3], np.float32), "factor"))
    onnx.save(model, file, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (file.parent / "weights.bin").is_file()
    server = start(repository, ("mine",))
    wait_ready(server.url, "mine")
    assert embed(server.url, np.full((1, 8, 8, 3), 5, np.uint8), "mine").tolist() == [[15.0] * 3]


def test_it_runs_with_an_interpreter_at_an_unusual_place(
    start: Start, triton_installation: Installation, tmp_path: Path
) -> None:
    moved = copy_of(triton_installation, tmp_path / "triton")
    real = moved.python.resolve()
    python = tmp_path / "Jörg Müller" / "bin" / real.name
    python.parent.mkdir(parents=True)
    shutil.copy2(real, python)
    (tmp_path / "Jörg Müller" / "lib").symlink_to(real.parents[1] / "lib")
    link = next(each for each in moved.python.parent.iterdir() if each.is_symlink() and each.readlink().is_absolute())
    link.unlink()
    link.symlink_to(python)
    (moved.environment / "pyvenv.cfg").unlink()
    (moved.environment / "pyvenv.cfg").write_text(f"home = {python.parent}\n")
    assert not is_plain(moved.python.resolve())
    server = start(installation=moved)
    wait_ready(server.url)
    assert embed(server.url, random_pictures(1)).shape == (1, 1280)


def test_links_to_an_unusual_place_do_not_outlive_a_killed_owner_and_are_made_anew_for_a_killed_server(
    start: Start, triton_installation: Installation, models_dir: Path, tmp_path: Path
) -> None:
    moved = copy_of(triton_installation, tmp_path / "tri tön")
    server = start(installation=moved)
    wait_ready(server.url)
    (links,) = folders_of_links()
    for pid in (server.status()["pid"], parent_of(server.status()["pid"])):
        os.kill(pid, signal.SIGKILL)
    until(lambda: server.status()["restarts"] == 1 and server.status()["pid"])
    wait_ready(server.url)
    assert not links.exists()
    assert len(folders_of_links()) == 1

    command = [sys.executable, "-c", OWNER, *map(str, [moved.folder, models_dir, tmp_path])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as owner:
        assert owner.stdout is not None
        url, _ = owner.stdout.readline().split()
        wait_ready(url)
        assert any(name.endswith("-paths") for name in regions(owner.pid))
        owner.kill()
        until(lambda: not regions(owner.pid), 5)
    assert moved.is_whole(), "the links are removed, not what they lead to"


@pytest.mark.parametrize(
    ("stub", "why"),
    [
        ("#!/nowhere/interpreter\n", "/backends/python/triton_python_backend_stub: "),
        ("#!/bin/sh\nexit 3\n", "ended at its start (its log: embed-0.log)"),
        ("#!/bin/sh\nkill -9 $$\n", "ended at its start (its log: embed-0.log)"),
    ],
)
def test_a_stub_that_cannot_start_is_a_failure_in_seconds(
    start: Start, triton_installation: Installation, tmp_path: Path, stub: str, why: str
) -> None:
    broken = copy_of(triton_installation, tmp_path / "triton")
    file = broken.backends / "python" / "triton_python_backend_stub"
    file.unlink()
    file.write_text(stub)
    file.chmod(0o755)
    began = time.monotonic()
    failure = until(start(installation=broken).failure, 20)
    assert failure.code == "triton_failed"
    assert "a process that it needs to serve a model ended at its start" in failure.message
    assert why in failure.message
    assert "embed-0.log" in failure.message
    assert time.monotonic() - began < 15
