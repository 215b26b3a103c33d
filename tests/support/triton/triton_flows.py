"""Helpers of the tests of whole flows with Triton: requests to a flow, and the list of its processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import requests

from tests.support.flows.flow import RunningFlow

T = TypeVar("T")


def embed_reports(flow: RunningFlow) -> list[dict[str, Any]]:
    status = requests.get(f"{flow.http_url}/status", timeout=30).json()
    found: list[dict[str, Any]] = status["stages"]["embed"]["replicas"]
    return found


def full_health(flow: RunningFlow) -> tuple[int, dict[str, Any]]:
    answer = requests.get(f"{flow.http_url}/health/full", timeout=30)
    return answer.status_code, answer.json()["stages"]["embed"]


def send(flow: RunningFlow, picture: bytes, name: str = "p.jpg", endpoint: str = "/embed") -> requests.Response:
    return requests.post(f"{flow.http_url}{endpoint}", files={"file": (name, picture)}, timeout=60)


def eventually(condition: Callable[[], T], seconds: float = 40.0) -> T:
    """Wait until `condition()` is true, and return what it gave."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not become true in time")


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def descendants(pid: int) -> list[int]:
    """Processes that a process started, and those that these started."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found = list(children.get(pid, []))
    for each in found:
        found += children.get(each, [])
    return found
