"""Real Triton servers as someone else would run them: no supervisor, an address that tests choose, and ways to harm them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import tritonclient.grpc as triton_client

from executors.embed.devices import CPU
from executors.triton import guard
from executors.triton.installation import Installation
from executors.triton.launch import command_line, environment
from tests.support.flow import free_port

START_TIMEOUT_S = 60


@dataclass(slots=True)
class RemoteTriton:
    """A server, and what tests do to it."""

    process: subprocess.Popen[bytes]
    port: int
    metrics_url: str
    log_file: Path
    shm_prefix: str

    @property
    def url(self) -> str:
        """`host:port` of its gRPC."""
        return f"127.0.0.1:{self.port}"

    def signal(self, how: signal.Signals) -> None:
        """Send a signal to the server and its stubs."""
        os.killpg(self.process.pid, how)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        with suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        self.process.wait(20)
        guard.remove_regions(self.shm_prefix)

    def count(self, counter: str, model: str) -> float:
        """One of Triton's own counters, such as `nv_inference_request_success`, over all versions of the model."""
        with urllib.request.urlopen(self.metrics_url, timeout=10) as answer:
            text = answer.read().decode()
        found = re.findall(rf'^{counter}{{[^}}]*model="{re.escape(model)}"[^}}]*}} (\S+)', text, re.MULTILINE)
        return sum(float(value) for value in found)


def start_triton(
    installation: Installation, models_dir: Path, models: Sequence[str], folder: Path, port: int | None = None
) -> RemoteTriton:
    """Start a server; returns before it is ready."""
    folder.mkdir(parents=True, exist_ok=True)
    port, metrics_port = port or free_port(), free_port()
    shm_prefix = f"{guard.PREFIX}{os.getpid()}-{uuid.uuid4().hex[:8]}-"
    command = command_line(
        installation,
        models_dir=models_dir,
        models=models,
        device=CPU,
        grpc_port=port,
        metrics_port=metrics_port,
        server_id="remote",
        shm_prefix=shm_prefix,
    )
    log_file = folder / f"triton-{port}.log"
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(installation, device=CPU, threads=1),
            start_new_session=True,
        )
    return RemoteTriton(process, port, f"http://127.0.0.1:{metrics_port}/metrics", log_file, shm_prefix)


def wait_for_models(server: RemoteTriton, models: Sequence[str]) -> None:
    """Wait until the models can be called; fail at once when the process ends."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise AssertionError(
                f"Triton ended with {server.process.returncode}:\n{server.log_file.read_text()[-3000:]}"
            )
        try:
            with triton_client.InferenceServerClient(server.url) as client:
                if all(client.is_model_ready(name, client_timeout=2) for name in models):
                    return
        except triton_client.InferenceServerException:
            time.sleep(0.1)
    raise AssertionError(f"Triton was not ready in {START_TIMEOUT_S} s:\n{server.log_file.read_text()[-3000:]}")


@contextmanager
def running_triton(
    installation: Installation, models_dir: Path, models: Sequence[str], folder: Path, port: int | None = None
) -> Iterator[RemoteTriton]:
    """A server that is ready, gone at the end."""
    server = start_triton(installation, models_dir, models, folder, port)
    try:
        wait_for_models(server, models)
        yield server
    finally:
        server.kill()
