from __future__ import annotations

import os
from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.flow.serve import _check_manifest, find_flow


@pytest.mark.parametrize("kind", ["pipe", "device", "huge", "missing"])
def test_what_is_no_flow_file_is_refused_by_its_name_and_not_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "huge":
        with path.open("wb") as stream:
            stream.truncate(3 << 30)
    with pytest.raises(VisualSearchError) as refused:
        find_flow(str(path))
    assert refused.value.code == "invalid_flow"
    assert str(path) in refused.value.message


def test_a_flow_that_comes_with_the_package_is_found_by_its_name() -> None:
    assert find_flow(None) == find_flow("image-search.yml")


def test_a_file_that_is_no_flow_is_refused_by_its_name(tmp_path: Path) -> None:
    for name, content in {"flow.txt": "jtype: Flow", "flow.yml": "x: ["}.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(VisualSearchError) as refused:
            find_flow(str(tmp_path / name))
        assert refused.value.code == "invalid_flow"
        assert str(tmp_path / name) in refused.value.message


@pytest.mark.parametrize(("content", "says"), [(None, "No such file"), ("not TOML [", "invalid_setting"), ("", "")])
def test_serve_warns_of_a_manifest_that_can_t_be_read(
    content: str | None, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "ours.toml").write_text(content)
    _check_manifest(tmp_path / "ours.toml")
    warned = capsys.readouterr().err
    assert says in warned
    assert warned.startswith("warning: ") == bool(says)
    assert ("VS_MODELS_MANIFEST (ours.toml)" in warned) == bool(says)
