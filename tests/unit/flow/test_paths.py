from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.flow.paths import check_flow_argument, is_flow_path
from executors.flow.serve import find_flow

FLOW = find_flow(None)


@pytest.mark.parametrize(
    "path", ["/home/me/My Pictures/flow.yml", "/a (1)/flow.yaml", "/a+b/[c]/flöw.yml", "C&A/'x'.yml", "flow.yml"]
)
def test_a_flow_file_may_be_in_any_folder(path: str) -> None:
    assert is_flow_path(path)


@pytest.mark.parametrize("text", ["jtype: Flow\nx: a.yml", "flow.txt", "", "Flow"])
def test_a_text_is_no_path(text: str) -> None:
    assert not is_flow_path(text)


@pytest.mark.parametrize(
    "given", ["https://example.com/flow.yml", "!Flow", "jtype: Flow", "Flow", "package.Flow", "{}"]
)
def test_what_is_no_path_is_left_to_jina(given: str) -> None:
    check_flow_argument(given, lambda _: None)


@pytest.mark.parametrize("given", [None, "", " ", "absent.yml", "/absent/flow.yml", "absent/flow.txt"])
def test_a_flow_file_that_is_not_there_is_told(given: str | None) -> None:
    with pytest.raises(VisualSearchError) as refused:
        check_flow_argument(given, lambda _: None)
    assert refused.value.code == "invalid_flow"


@pytest.mark.parametrize("kind", ["pipe", "folder", "bad", "text"])
def test_a_flow_file_that_can_t_be_read_is_told_by_its_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("flow.txt" if kind == "text" else "flow.yml")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_text("jtype: Flow" if kind == "text" else "x: [")
    with pytest.raises(VisualSearchError) as refused:
        check_flow_argument(str(path), lambda name: name)
    assert refused.value.code == "invalid_flow"
    assert str(path) in refused.value.message


def test_a_sound_flow_file_is_taken() -> None:
    check_flow_argument(str(FLOW), lambda name: name)


@pytest.mark.parametrize("arguments", [["--uses", "absent.yml"], []])
def test_the_command_says_it_in_one_line(arguments: list[str]) -> None:
    command = [str(Path(sys.executable).with_name("jina")), "flow", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: invalid_flow: ")
    assert "no flow file" in done.stderr
    assert done.stderr.count("\n") == 1


def test_jina_loads_a_flow_file_from_a_folder_with_a_space(tmp_path: Path) -> None:
    folder = tmp_path / "my (other) pictures+"
    folder.mkdir()
    (folder / "flow.yml").write_bytes(FLOW.read_bytes())
    script = "import sys; import executors.bootstrap; from jina import Flow; Flow.load_config(sys.argv[1])"
    environment = os.environ | {"VS_WORKSPACE": str(tmp_path / "workspace"), "VS_EMBED_BACKEND": "triton"}
    subprocess.run(
        [sys.executable, "-c", script, str(folder / "flow.yml")],
        check=True,
        timeout=60,
        env=environment | {"VS_TRITON_URLS": "127.0.0.1:1"},
    )
