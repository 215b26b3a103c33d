"""The managed Triton server of a replica: started, watched, restarted, ended."""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from executors.devices import Device
from executors.errors import VisualSearchError
from executors.triton_server import guard
from executors.triton_server.exit_reasons import describe_end, why_it_ended
from executors.triton_server.installation import Installation
from executors.triton_server.log_file import claim_log, tail_of
from executors.triton_server.ports import ReservedPort
from executors.triton_server.process import GUARD_S, LOG_BYTES, Life, LifePlan
from executors.triton_server.start_watch import StartWatch

_log = logging.getLogger(__name__)

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0
# A server that ran this long was healthy: the next restart begins with the first pause again.
_SOUND_S: Final = 60.0
# Triton's message if another program listens on a port of ours in spite of the reservation.
_PORT_TAKEN: Final = "already in use"
_LOOK_AT_START_S: Final = 0.5


class TritonServer:
    """Supervises one server; no method blocks for long, all may be called from any thread.

    Args:
        installation: the packages that it runs with.
        models_dir: the model repository.
        models: the entries to load; others of the repository are not loaded.
        device: the one GPU that it sees, or the CPU.
        threads: for the computing of one model; 0 for as many as there are cores.
        logs_dir: the folder of its log; made if missing.
        name: of the log; another server with this name gets the next free one (`embed-0`, `embed-0-2`, …).
    """

    def __init__(
        self,
        installation: Installation,
        *,
        models_dir: Path,
        models: Sequence[str],
        device: Device,
        threads: int,
        logs_dir: Path,
        name: str,
    ) -> None:
        self._plan = LifePlan(installation, models_dir, tuple(models), device, threads, name)
        self._logs_dir = logs_dir
        self._name = name
        self._lock = threading.Lock()
        self._log = Path()
        self._log_lock = -1
        self._ports: tuple[ReservedPort, ReservedPort] | None = None
        self._running: Life | None = None
        self._watcher: threading.Thread | None = None
        self._wake_reader, self._wake_writer = -1, -1
        self._stopping = False
        self._restarts = 0
        self._reason = ""
        self._failure: VisualSearchError | None = VisualSearchError("triton_failed", "the server was not started")
        self._last_exit = ""

    def start(self) -> None:
        """Start the server and the thread that watches it; returns at once, long before a model is loaded.

        Raises:
            VisualSearchError: `triton_failed` when no process can be started; a server that starts and then ends by
                itself (a damaged model, say) shows in `failure`.
        """
        if self._watcher is not None or self._stopping:
            raise RuntimeError("a server is started once")
        try:
            guard.remove_abandoned_regions()
            self._log, self._log_lock = claim_log(self._logs_dir, self._name)
            self._wake_reader, self._wake_writer = os.pipe()
            self._ports = ReservedPort(), ReservedPort()
            self._running = self._begin("start")
        except OSError as error:
            self._free()
            message = f"the managed Triton can't be started: {error.strerror or error}"
            raise VisualSearchError("triton_failed", message) from None
        self._failure = None
        self._watcher = threading.Thread(target=self._supervise, name=f"triton-{self._name}", daemon=True)
        self._watcher.start()

    @property
    def url(self) -> str:
        """`host:port` of its gRPC; may change with a restart."""
        return self._ports[0].url if self._ports else ""

    def restart(self, reason: str) -> None:
        """Kill it, even if it is stopped or hung, and start it again after a pause; returns at once.

        Args:
            reason: one line, for the log and the status.
        """
        with self._lock:
            running = self._running
            if running is None or self._stopping or self._reason:
                return
            self._reason = reason
            self._end(running)

    def failure(self) -> VisualSearchError | None:
        """The error that keeps it from running now (`triton_failed`); None while it runs, ready or not."""
        with self._lock:
            return self._failure

    def stop(self) -> None:
        """End it for good: the server, its stubs, its guard, its shared memory; usually takes less than a second."""
        with self._lock:
            self._stopping = True
            running = self._running
            if running is not None:
                self._end(running)
            elif self._wake_writer >= 0:
                os.write(self._wake_writer, b".")
        if self._watcher is not None and self._watcher is not threading.current_thread():
            self._watcher.join(2 * GUARD_S)

    def status(self) -> dict[str, Any]:
        """The report in `/status`, as JSON values; `pid` is None while it is not running."""
        with self._lock:
            running = self._running
            return {
                "pid": running.pid or None if running else None,
                "url": self.url,
                "metrics_url": f"http://{self._ports[1].url}/metrics" if self._ports else "",
                "device": str(self._plan.device),
                "restarts": self._restarts,
                "since": datetime.fromtimestamp(running.since, UTC).isoformat(timespec="seconds") if running else None,
                "last_exit": self._last_exit or None,
                "log": self._log.name,
            }

    def _begin(self, note: str) -> Life:
        assert self._ports is not None
        grpc_port, metrics_port = self._ports
        return self._plan.begin(grpc_port=grpc_port.number, metrics_port=metrics_port.number, log=self._log, note=note)

    def _end(self, running: Life) -> None:
        """Have the guard end everything."""
        if running.end():
            os.write(self._wake_writer, b".")

    def _supervise(self) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            running = self._running
            if running is not None:
                self._wait_for_end(running)
                self._record_end(running)
                if time.time() - running.since > _SOUND_S:
                    pause = _FIRST_PAUSE_S
            if self._sleep(pause):
                break
            pause = min(2 * pause, _LONGEST_PAUSE_S)
            with self._lock:
                if self._stopping:
                    break
                self._restarts += 1
                try:
                    if _PORT_TAKEN in self._last_exit:
                        self._ports = ReservedPort(), ReservedPort()
                    self._running = self._begin(f"restart {self._restarts} ({self._last_exit})")
                    self._failure, self._reason = None, ""
                except OSError as error:  # no more processes, no memory: the next try may succeed
                    self._last_exit = f"it can't be started again: {error.strerror or error}"
                    self._failure = self._down(self._last_exit)
        self._free()

    def _wait_for_end(self, running: Life) -> None:
        """Return when the guard has ended; its standard output gives the server's process id, then ends with it."""
        assert running.guard.stdout is not None
        output, said = running.guard.stdout.fileno(), b""
        while True:
            left = running.kill_guard_at - time.monotonic()
            starting = running.start is not None and not running.start.over
            pause = _LOOK_AT_START_S if starting else max(0.0, left) if left < 60 else None
            ready, _, _ = select.select([output, self._wake_reader], [], [], pause)
            if self._wake_reader in ready:
                os.read(self._wake_reader, 64)
            if output in ready:
                part = os.read(output, 64)
                said += part
                if not part:
                    break
                if said.endswith(b"\n"):
                    running.pid = int(said)
                    running.start = StartWatch(running.pid)
            if running.start and not ready and running.start.is_hopeless(tail_of(self._log, running.log_start)):
                self._give_up(running)
            if time.monotonic() > running.kill_guard_at:
                running.guard.kill()
        running.guard.wait()
        if running.pid:
            # If the guard was killed, the kernel has killed the server; stubs may exist for a moment longer.
            guard.kill_group(running.pid)
        guard.remove_regions(running.shm_prefix)

    def _give_up(self, running: Life) -> None:
        """End a server that would wait for a process of its own that is gone."""
        with self._lock:
            if not self._stopping and not self._reason:
                running.given_up = True
                self._end(running)

    def _record_end(self, running: Life) -> None:
        status = running.guard.returncode
        running.close()
        with self._lock:
            self._running = None
            if self._stopping:
                what = "the server was stopped"
            elif self._reason:
                what = f"restarted: {self._reason}"
            else:
                why = why_it_ended(tail_of(self._log, running.log_start))
                what = describe_end(status, why, given_up=running.given_up)
            self._last_exit = what
            self._failure = self._down(what)
        log = guard.BoundedLog(self._log, LOG_BYTES)
        log.note(f"ended after {time.time() - running.since:.1f} s: {what}")
        log.close()
        if not self._stopping:
            _log.warning("the managed Triton %s ended: %s; its log: %s", self._name, what, self._log)

    def _down(self, what: str) -> VisualSearchError:
        message = f"the managed Triton is down: {what} (its log: {self._log.name})"
        return VisualSearchError("triton_failed", message, log=self._log.name)

    def _sleep(self, pause: float) -> bool:
        """Wait before a restart; True if it must not be restarted."""
        until = time.monotonic() + pause
        while not self._stopping and (left := until - time.monotonic()) > 0:
            ready, _, _ = select.select([self._wake_reader], [], [], left)
            if ready:
                os.read(self._wake_reader, 64)
        return self._stopping

    def _free(self) -> None:
        for port in self._ports or ():
            port.release()
        with self._lock:
            for handle in (self._wake_reader, self._wake_writer, self._log_lock):
                if handle >= 0:
                    os.close(handle)
            self._wake_reader = self._wake_writer = self._log_lock = -1
