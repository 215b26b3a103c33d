"""A real Triton server that tests kill, stop, starve and reload as they like; no supervisor stands in the way."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from executors.devices import CPU
from executors.triton_server import guard
from executors.triton_server.command import command_line, environment
from executors.triton_server.installation import Installation
from executors.triton_server.ports import ReservedPort

READY_WITHIN_S = 40


class RawTriton:
    """One server process with a repository of its own, always at the same ports."""

    def __init__(self, installation: Installation, repository: Path, models: Sequence[str], log: Path) -> None:
        self.repository = repository
        self.models = list(models)
        self._installation = installation
        self._log = log
        self._ports = ReservedPort(), ReservedPort()  # kept from others between two starts, too
        self._grpc_port, self._metrics_port = (port.number for port in self._ports)
        self._prefix = f"vs-test-{os.getpid()}-{secrets.token_hex(4)}-"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self._grpc_port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, without waiting."""
        command = command_line(
            self._installation,
            models_dir=self.repository,
            models=self.models,
            device=CPU,
            grpc_port=self._grpc_port,
            metrics_port=self._metrics_port,
            server_id="test",
            shm_prefix=self._prefix,
        )
        with self._log.open("ab") as log:
            variables = environment(self._installation, device=CPU, threads=1)
            self._process = subprocess.Popen(
                command, env=variables, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )

    def wait_ready(self) -> None:
        """Until its models can be called."""
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            assert self._process is not None
            assert self._process.poll() is None, self._log.read_text()[-3000:]
            # A new client each time: calls that fail at once leave gRPC's blocking one no time to connect again.
            with triton.InferenceServerClient(self.url) as client, suppress(InferenceServerException):
                if all(client.is_model_ready(name, client_timeout=1) for name in self.models):
                    return
            time.sleep(0.05)
        raise AssertionError(f"not ready: {self._log.read_text()[-3000:]}")

    async def up(self) -> RawTriton:
        """Start it, and wait until it can be called."""
        self.start()
        await asyncio.to_thread(self.wait_ready)
        return self

    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Kill the server and its stubs at once, like the kernel when memory runs out."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
        guard.remove_regions(self._prefix)

    def close(self) -> None:
        """End it for good."""
        self.kill()
        for port in self._ports:
            port.release()

    def kill_stubs(self) -> int:
        """Kill the processes that run its models, not the server; returns how many."""
        return kill_others_of_group(self.pid)

    def freeze(self) -> None:
        """Stop the server; its connections stay open. The processes that run its models go on.

        Triton takes one of those for dead that shows no sign of life for a second by the clock, also a second in which all
        of it was stopped; when it goes on, the server mixes up its answers, and crashes (2.51; as issue 8882 of
        triton-inference-server/server). `freeze_stubs` makes that happen every time.
        """
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on."""
        os.kill(self.pid, signal.SIGCONT)

    def freeze_stubs(self) -> None:
        """Stop the processes that run its models, not the server."""
        for pid in stubs_of(self.pid):
            os.kill(pid, signal.SIGSTOP)

    def thaw_stubs(self) -> None:
        """Let them go on."""
        for pid in stubs_of(self.pid):
            os.kill(pid, signal.SIGCONT)

    def load(self, name: str) -> None:
        """Load a model, anew if its files changed."""
        with triton.InferenceServerClient(self.url) as client:
            client.load_model(name, client_timeout=READY_WITHIN_S)

    def unload(self, name: str) -> None:
        """Take a model away."""
        with triton.InferenceServerClient(self.url) as client:
            client.unload_model(name, client_timeout=READY_WITHIN_S)

    def replace(self, name: str, entry: Path) -> None:
        """Put other files in the place of an entry of the repository."""
        shutil.rmtree(self.repository / name, ignore_errors=True)
        shutil.copytree(entry, self.repository / name)

    def metrics(self, model: str) -> Counter[str]:
        """Triton's own counters of one model, such as `nv_inference_count`."""
        found: Counter[str] = Counter()
        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics_port}/metrics", timeout=10) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith("nv_inference") and f'model="{model}"' in line:
                    found[line.partition("{")[0]] += int(float(line.rpartition(" ")[2]))
        return found

    def requests(self, model: str) -> int:
        """How many requests it got, answered or failed."""
        metrics = self.metrics(model)
        return metrics["nv_inference_request_success"] + metrics["nv_inference_request_failure"]


def stubs_of(server: int) -> list[int]:
    """The processes that run a server's models, one an instance."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(ProcessLookupError, FileNotFoundError):
            own = os.getpgid(int(folder.name)) == server != int(folder.name)
            if own and "triton_python_backend_stub" in (folder / "cmdline").read_text():
                found.append(int(folder.name))
    return found


def kill_others_of_group(leader: int) -> int:
    """Kill the processes of a group, its leader spared; returns how many they were."""
    found = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(ProcessLookupError):
            if os.getpgid(int(folder.name)) == leader != int(folder.name):
                os.kill(int(folder.name), signal.SIGKILL)
                found += 1
    return found


def write_slow_entry(repository: Path, name: str, model_id: str, flag: Path, seconds: float) -> None:
    """An entry that computes what `tiny_model` does, in Python, and sleeps before it while `flag` exists."""
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(
        f"""name: "{name}" backend: "python" max_batch_size: 16
input {{ name: "image" data_type: TYPE_UINT8 dims: [ 8, 8, 3 ] }}
output {{ name: "embedding" data_type: TYPE_FP32 dims: [ 3 ] }}
instance_group {{ count: 1 kind: KIND_CPU }}
parameters {{ key: "model_id" value {{ string_value: "{model_id}" }} }}
"""
    )
    (folder / "model.py").write_text(
        f"""import os, time
import numpy as np
import triton_python_backend_utils as pb
MIXER = np.random.default_rng(0).uniform(0.5, 1.0, (3, 3)).astype(np.float32)
class TritonPythonModel:
    def execute(self, requests):
        if os.path.exists({str(flag)!r}):
            time.sleep({seconds})
        answers = []
        for request in requests:
            colour = pb.get_input_tensor_by_name(request, "image").as_numpy().astype(np.float32).mean(axis=(1, 2))
            vectors = colour / np.linalg.norm(colour, axis=1, keepdims=True) @ MIXER
            answers.append(pb.InferenceResponse([pb.Tensor("embedding", vectors.astype(np.float32))]))
        return answers
"""
    )
