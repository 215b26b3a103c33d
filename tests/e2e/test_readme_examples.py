"""The README's examples work as they stand, pasted into a shell or a Python file."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.flow import ROOT, RunningFlow


def example(language: str) -> str:
    found = re.search(rf"<!-- tested: \w+ -->\n```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found
    return found.group(1)


@pytest.fixture
def folder(tmp_path: Path, one_picture: bytes) -> Path:
    (tmp_path / "cat.jpg").write_bytes(one_picture)
    return tmp_path


def run(command: list[str], text: str, flow: RunningFlow, folder: Path) -> str:
    text = text.replace("8080", str(flow.http_port)).replace("54321", str(flow.grpc_port))
    done = subprocess.run([*command, text], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_curl_example(flow: RunningFlow, folder: Path) -> None:
    printed = run(["bash", "-ec"], example("bash"), flow, folder)
    assert '"error":{' not in printed
    assert printed.count('"id":"cat.jpg"') >= 3
    assert (folder / "thumbnail.jpg").read_bytes().startswith(b"\xff\xd8")


def test_the_python_example(flow: RunningFlow, folder: Path) -> None:
    printed = run([sys.executable, "-W", "ignore", "-c"], example("python"), flow, folder)
    assert printed.splitlines()[0].startswith("cat.jpg ")
    assert "1.000 cat.jpg {'from': 'README'}" in printed
