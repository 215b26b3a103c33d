"""The changes to the command `jina` in this environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("runtime", "expected"), [("HeadRuntime", True), ("WorkerRuntime", False)], ids=["a head", "an executor"]
)
def test_a_head_that_is_started_by_itself_behaves_as_one_of_a_flow(runtime: str, expected: bool) -> None:
    """It reconnects soon and leaves out what is silent; an executor takes the same from `--py-modules`."""
    run = start("--runtime-cls", runtime, "--help", PYTHONPROFILEIMPORTTIME="1")
    imported = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
    assert run.returncode == 0
    assert "executors.flow.jina_command" in imported
    assert ("executors.bootstrap" in imported) == expected


def test_a_head_with_a_setting_that_can_not_be_read_ends_with_a_line() -> None:
    run = start("--runtime-cls", "HeadRuntime", "--help", VS_SHARDS="many")
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith("error: invalid_setting: VS_SHARDS")
    assert len(run.stderr.splitlines()) == 1


def start(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`jina executor` with these arguments, to its end."""
    return subprocess.run(
        [sys.executable, Path(sys.executable).with_name("jina"), "executor", *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
