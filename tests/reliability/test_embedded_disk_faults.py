"""A disk that is full or read-only: a coded error, no acknowledgement, searches go on, and writes work again with room."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

OPEN = """
import asyncio, sys
from pathlib import Path
from executors.index.embedded.store import EmbeddedStore
try:
    asyncio.run(EmbeddedStore(Path(sys.argv[1])).open())
except Exception as error:
    print(error.code, error.message)
"""


def run(command: list[str], prefix: list[str] | None = None) -> str:
    done = subprocess.run(
        [*(prefix or []), sys.executable, *command],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def small_disk(folder: Path, options: str) -> list[str]:
    """Run a command in a mount namespace of its own with a small file system on the folder; it goes with the command."""
    script = f'mount -t tmpfs -o {options} none "$0" && exec "$@"'
    prefix = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, str(folder)]
    try:
        able = subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        able = False
    if not able:
        pytest.skip("this machine does not allow a mount namespace")
    return prefix


def expect_refused_and_recovered(answer: dict[str, Any]) -> None:
    assert answer["code"] == "storage_unavailable"
    assert answer["codes"] == ["storage_unavailable"] * 4
    assert answer["acknowledged"] > 10
    assert answer["while_full"] == {"found": True, "listed": True, "count": True, "first": {"n": 1}, "faults": []}
    assert answer["after"] == ["created"]
    assert answer["reopened"] is True
    assert answer["faults"] == []


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    answer = json.loads(run(["-m", "tests.support.disk_fault", str(tmp_path / "shard"), "limit"]))
    expect_refused_and_recovered(answer)


def test_a_full_file_system(tmp_path: Path) -> None:
    prefix = small_disk(tmp_path, "size=3m")
    answer = json.loads(run(["-m", "tests.support.disk_fault", str(tmp_path / "shard"), "ballast"], prefix))
    expect_refused_and_recovered(answer)


def test_a_read_only_file_system(tmp_path: Path) -> None:
    out = run(["-c", OPEN, str(tmp_path / "shard")], small_disk(tmp_path, "ro"))
    assert out.startswith("storage_unavailable ")
    assert str(tmp_path) not in out
