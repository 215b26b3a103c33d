"""A folder that can't be written is refused with the reason that holds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.settings.folders import check_folder


def test_a_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    check_folder("VS_WORKSPACE", tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize(
    ("flags", "reason"), [(os.ST_RDONLY, "mounted read-only"), (0, "this user may not write there")]
)
def test_why_it_can_not_be_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: int, reason: str
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    state = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result([*list(state)[:8], flags, state.f_namemax]))
    with pytest.raises(VisualSearchError, match=reason) as refused:
        check_folder("VS_WORKSPACE", tmp_path)
    assert (refused.value.code, str(tmp_path) in refused.value.message) == ("storage_unavailable", True)
