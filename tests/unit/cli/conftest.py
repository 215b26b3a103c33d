"""Fixtures of the command line's tests: a service that speaks the wire, a folder of files, a journal of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.wire_service import WireService, wire_service

MakeFiles = Callable[..., Path]


@pytest.fixture
def service() -> Iterator[WireService]:
    with wire_service() as running:
        yield running


@pytest.fixture
def make_files(tmp_path: Path) -> MakeFiles:
    """Make a folder of files, each with a content of its own unless one is given."""

    def make(*names: str, folder: str = "photos", **contents: bytes) -> Path:
        root = tmp_path / folder
        files = {name: f"content of {name}".encode() for name in names} | contents
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return root

    return make


@pytest.fixture(autouse=True)
def _data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal of the user who runs the tests is not touched."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("COLUMNS", raising=False)
