"""Built repositories, and a server with a file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from executors.models.build import build_model
from tests.support.models.built_models import DEFAULT
from tests.support.models.fetching import CONTENT
from tests.support.models.file_server import FileServer, file_server


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that this version of the code built; the one that other suites share may be older. Only for reading."""
    folder = tmp_path_factory.mktemp("built")
    build_model(DEFAULT, folder)
    return folder


@pytest.fixture
def repository(built: Path, tmp_path: Path) -> Path:
    """A repository for this test alone, with the default model in it."""
    shutil.copytree(built / DEFAULT, tmp_path / "models" / DEFAULT)
    return tmp_path / "models"


@pytest.fixture
def server() -> Iterator[FileServer]:
    """A server that has `/model.onnx`."""
    with file_server() as running:
        running.files["/model.onnx"] = CONTENT
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The path of the file to fetch; its folder does not exist yet."""
    return tmp_path / "downloads" / "model.onnx"
