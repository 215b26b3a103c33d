"""The module that a flow file imports first sets the file's variables; loading the file calls no other machine."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, socket, sys

asked = []

def refuse(*arguments, **_):
    asked.append(arguments)
    raise OSError("refused")

import executors.bootstrap
from jina import Flow

flow = Flow.load_config(sys.argv[1])
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
assert flow.address_public is None
assert asked == []
assert os.environ["JINA_OPTOUT_TELEMETRY"]
print(os.environ["VS_PORTS"], os.environ["VS_SHARDS"])
os.environ["VS_SHARDS"], os.environ["VS_HTTP_PORT"] = "3", "9999"
Flow.load_config(sys.argv[1])
print(os.environ["VS_PORTS"], os.environ["VS_SHARDS"])
"""


def test_a_flow_is_configured_anew_each_time_and_asks_no_public_address() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VS_")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, "flows/image-search.yml"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[-3:-1] == ["[54321, 8080] 2", "[54321, 9999] 3"]


OTHER_PROGRAM = """
import atexit, os, signal, sys
import executors.bootstrap

atexit.register(lambda: print("ended in its own way"))
os.kill(os.getpid(), signal.SIGINT)
"""


def test_a_program_that_loads_a_flow_keeps_its_own_way_to_end() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", OTHER_PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert "ended in its own way" in done.stdout
    assert "KeyboardInterrupt" in done.stderr
    assert done.returncode != 0


DEAD_DRIVER_PROGRAM = """
import executors.bootstrap
from executors.flow.jina_patches import flow_files
from jina.orchestrate.deployments import Deployment

flow_files._NVIDIA_SMI_S = 0.5
Deployment._roundrobin_cuda_device("RR", 2)
"""


STAGE_PROGRAM = """
import multiprocessing, time
from contextlib import suppress
import executors.bootstrap
from executors.flow.jina_patches import processes
from executors.flow.program import end_cleanly

there, told = multiprocessing.Event(), multiprocessing.Event()

def swallow(**_):
    while True:
        with suppress(BaseException):
            there.set()
            time.sleep(60)

end_cleanly()
processes.run = swallow
stage = multiprocessing.Process(target=processes.run_watched, kwargs={"is_shutdown": told})
stage.start()
there.wait()
stage.terminate()
stage.join(10)
print(stage.exitcode, told.is_set())
stage.kill()
"""


def test_a_stage_that_is_told_to_end_before_it_listens_ends_and_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", STAGE_PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "1 True\n", done.stderr


def test_a_driver_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    program.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DEAD_DRIVER_PROGRAM],
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "invalid_setting: nvidia-smi does not answer" in done.stderr


TELEMETRY_PROGRAM = """
import executors, onnx, onnxruntime
from onnx import TensorProto, helper

value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", value[:1], value[1:])
model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
"""


def test_onnx_runtime_writes_nothing_down_about_its_user(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", TELEMETRY_PROGRAM], env=environment, timeout=60, check=True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
