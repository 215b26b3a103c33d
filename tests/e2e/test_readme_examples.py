"""The examples of the README files work as they stand, pasted into a shell or a Python file."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.support.flows.flow import ROOT, RunningFlow

GATEWAY = "executors/gateway/README.md"


def example(name: str, readme: str = "README.md") -> str:
    """The code after the comment `<!-- tested: name -->`."""
    found = re.search(rf"<!-- tested: {name} -->\n```\w+\n(.*?)```", (ROOT / readme).read_text(), re.DOTALL)
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


def run_shell(text: str, flow: RunningFlow, folder: Path) -> str:
    return run(["bash", "-ec"], text, flow, folder)


def run_python(text: str, flow: RunningFlow, folder: Path) -> str:
    return run([sys.executable, "-W", "ignore", "-c"], text, flow, folder)


def test_the_curl_example(flow: RunningFlow, folder: Path) -> None:
    printed = run_shell(example("curl"), flow, folder)
    assert '"error":{' not in printed
    assert printed.count('"id":"cat.jpg"') >= 3
    assert (folder / "thumbnail.jpg").read_bytes().startswith(b"\xff\xd8")


def test_the_python_example_and_the_search_with_its_tags(flow: RunningFlow, folder: Path) -> None:
    printed = run_python(example("python"), flow, folder)
    assert printed.splitlines()[0].startswith("cat.jpg ")
    assert "1.000 cat.jpg {'from': 'README'}" in printed
    found = run_shell(example("search", GATEWAY), flow, folder)
    assert '"error":{' not in found
    assert '"id":"cat.jpg"' in found


def test_the_example_of_the_http_client(flow: RunningFlow, folder: Path) -> None:
    assert "1.000 cat.jpg {'from': 'client'}" in run_python(example("client", GATEWAY), flow, folder)


def test_the_example_of_several_terms(flow: RunningFlow, folder: Path, pictures: list[bytes]) -> None:
    for name, picture in (("cat.jpg", pictures[0]), ("dog.jpg", pictures[1])):
        requests.put(f"{flow.http_url}/documents/{name}", data=picture, timeout=30).raise_for_status()
    (found,) = json.loads(run_shell(example("terms", GATEWAY), flow, folder))["data"]
    assert found["error"] is None
    assert not {"cat.jpg", "dog.jpg"} & {each["id"] for each in found["matches"]}


def test_a_picture_as_the_body(flow: RunningFlow, folder: Path) -> None:
    printed = run_shell(example("picture", GATEWAY), flow, folder)
    assert '"error":{' not in printed
    assert '"id":"cat.jpg"' in printed
