"""One node of a real OpenSearch: started as a user that it accepts, killed, frozen, stopped."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from executors.triton_server.ports import ReservedPort

# OpenSearch refuses to run as root.
_USER = "nobody"
_HEAP = "-Xms1g -Xmx1g"


class OpenSearchNode:
    """A node with data and logs of its own.

    Args:
        home: where the server was put together; never written to.
        java: a Java runtime.
        folder: for configuration, data and logs; made here.
        name: of the node.
        heap: Java options for its memory.
    """

    def __init__(self, home: Path, java: Path, folder: Path, name: str = "node", heap: str = _HEAP) -> None:
        self._home, self._java, self._folder, self._heap = home, java, folder, heap
        self.name = name
        self._http, self._transport = ReservedPort(), ReservedPort()
        self._process: subprocess.Popen[bytes] | None = None
        self._make_folder()

    @property
    def url(self) -> str:
        return f"http://{self._http.url}"

    @property
    def transport(self) -> str:
        """The address at which other nodes reach it."""
        return self._transport.url

    @property
    def log(self) -> str:
        path = self._folder / "stdout.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self, seeds: Sequence[str] = (), managers: Sequence[str] = (), wait: bool = True, **more: Any) -> None:
        """Start it, alone or as one of a cluster; with `wait`, until it answers."""
        settings = {
            "cluster.name": "visual-search-tests",
            "node.name": self.name,
            "path.data": str(self._folder / "data"),
            "path.logs": str(self._folder / "logs"),
            "network.host": "127.0.0.1",
            "http.port": self._http.number,
            "transport.port": self._transport.number,
            "cluster.routing.allocation.disk.threshold_enabled": False,
            # As clusters come: a stray write to an index that is gone would make it anew.
            "action.auto_create_index": True,
            **more,
        }
        if seeds:
            settings |= {"discovery.seed_hosts": list(seeds), "cluster.initial_cluster_manager_nodes": list(managers)}
        else:
            settings["discovery.type"] = "single-node"
        (self._folder / "config" / "opensearch.yml").write_text(
            "".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items())
        )
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "JAVA_HOME": str(self._java),
            "OPENSEARCH_JAVA_HOME": str(self._java),
            "OPENSEARCH_PATH_CONF": str(self._folder / "config"),
            "OPENSEARCH_JAVA_OPTS": self._heap,
            "OPENSEARCH_TMPDIR": str(self._folder / "tmp"),
        }
        with (self._folder / "stdout.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._home / "bin" / "opensearch")],
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=_USER if os.getuid() == 0 else None,
                group=pwd.getpwnam(_USER).pw_gid if os.getuid() == 0 else None,
                extra_groups=[] if os.getuid() == 0 else None,
                start_new_session=True,
            )
        if wait:
            self.wait_ready()

    def wait_ready(self, seconds: float = 120.0) -> None:
        """Until it answers and its primaries are there."""
        deadline = time.monotonic() + seconds
        while True:
            assert self._process is not None
            assert self._process.poll() is None, f"OpenSearch ended:\n{self.log[-3000:]}"
            assert time.monotonic() < deadline, f"OpenSearch does not answer:\n{self.log[-3000:]}"
            try:
                with urllib.request.urlopen(f"{self.url}/_cluster/health?wait_for_status=yellow&timeout=5s") as answer:
                    if not json.load(answer)["timed_out"]:
                        return
            except (OSError, urllib.error.URLError):
                time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL, and nothing else."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def freeze(self) -> None:
        """SIGSTOP: connections are accepted, and nothing is answered."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def resident_mib(self) -> float:
        """Memory that it takes."""
        assert self._process is not None
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("/proc has no VmRSS: this needs Linux")

    def stop(self) -> None:
        """End it, however it is. Safe to call twice."""
        if self._process is not None and self._process.poll() is None:
            self.thaw()
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
        self._process = None

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request, as an operator would make it."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def _make_folder(self) -> None:
        shutil.copytree(self._home / "config", self._folder / "config")
        for name in ("data", "logs", "tmp"):
            (self._folder / name).mkdir(parents=True)
        if os.getuid() == 0:
            owner = pwd.getpwnam(_USER)
            for path in (self._folder, *self._folder.rglob("*")):
                os.chown(path, owner.pw_uid, owner.pw_gid)
