"""One life of a managed server: started together with its guard, ended through it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from executors.devices import Device
from executors.triton_server import guard
from executors.triton_server.ascii_paths import server_paths
from executors.triton_server.command import command_line, environment
from executors.triton_server.installation import Installation
from executors.triton_server.start_watch import StartWatch

LOG_BYTES: Final = 8_000_000
# How long a guard may take to end the server, before the guard itself is killed (and the server with it).
GUARD_S: Final = 5.0


@dataclass(slots=True)
class Life:
    """A server that was started.

    Attributes:
        guard: the process that ends the server on request, or when its owner is gone.
        since: when it was started, by `time.time`.
        log_start: the size of the log before it, in bytes.
        shm_prefix: of the names of its shared memory.
        pid: of the server; 0 until the guard reports it.
        start: watches it while it starts; None until its process id is known.
        given_up: whether it was ended since it could not start any more.
        kill_guard_at: when the guard is killed, by `time.monotonic`.
    """

    guard: subprocess.Popen[bytes]
    since: float
    log_start: int
    shm_prefix: str
    pid: int = 0
    start: StartWatch | None = None
    given_up: bool = False
    kill_guard_at: float = float("inf")

    def end(self) -> bool:
        """Have the guard end everything; False if this was requested before."""
        assert self.guard.stdin is not None
        if self.guard.stdin.closed:
            return False
        with contextlib.suppress(OSError):
            # Closing alone is not enough: a process that was forked meanwhile may hold the pipe as well.
            self.guard.stdin.write(b".")
            self.guard.stdin.close()
        self.kill_guard_at = min(self.kill_guard_at, time.monotonic() + GUARD_S)
        return True

    def close(self) -> None:
        """Close the pipes to a guard that ended."""
        for stream in (self.guard.stdin, self.guard.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


@dataclass(frozen=True, slots=True)
class LifePlan:
    """The parts that every life of a server has in common; see `TritonServer`."""

    installation: Installation
    models_dir: Path
    models: tuple[str, ...]
    device: Device
    threads: int
    name: str

    def begin(self, *, grpc_port: int, metrics_port: int, log: Path, note: str) -> Life:
        """Start a server.

        Args:
            grpc_port: the port of its gRPC.
            metrics_port: the port of its counters.
            log: the log that it writes to.
            note: the first words of the line in the log that marks the start.

        Raises:
            OSError: no process can be started.
        """
        unique = f"{os.getpid()}-{secrets.token_hex(4)}"
        shm_prefix = f"{guard.PREFIX}{unique}-"
        paths = server_paths(self.installation, self.models_dir, guard.paths_folder(shm_prefix))
        command = command_line(
            paths.installation,
            models_dir=paths.models_dir,
            models=self.models,
            device=self.device,
            grpc_port=grpc_port,
            metrics_port=metrics_port,
            server_id=f"{self.name}-{unique}",
            shm_prefix=shm_prefix,
        )
        order = {
            "command": command,
            "environment": environment(
                paths.installation,
                device=self.device,
                threads=self.threads,
                home=paths.home,
                library_folders=paths.library_folders,
            ),
            "links": {str(link): str(target) for link, target in paths.links.items()},
            "files": {str(file): text for file, text in paths.files.items()},
            "log": str(log),
            "log_bytes": LOG_BYTES,
            "shm_prefix": shm_prefix,
            "note": f"{note}: {', '.join(self.models)} on {self.device}, gRPC 127.0.0.1:{grpc_port}",
        }
        since = time.time()
        log_start = log.stat().st_size if log.exists() else 0
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(guard.__file__), json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # A relocated interpreter needs this to find its library.
            env={"LD_LIBRARY_PATH": str(self.installation.library_folders[0])},
            cwd="/",
            start_new_session=True,
        )
        return Life(process, since, log_start, shm_prefix)
