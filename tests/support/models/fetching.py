"""Fetching a file from a server that tests run themselves."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from executors.errors import VisualSearchError
from executors.models.fetch.downloads import download
from executors.models.fetch.transfer import Patience
from tests.support.models.file_server import FileServer

CONTENT: Final = np.random.default_rng(4).integers(0, 256, 2_000_000, np.uint8).tobytes()
SHA256: Final = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
QUICK: Final = Patience(attempts=3, backoff_s=0.02, connect_s=2, idle_s=2, progress_s=2)


def fetch(
    server: FileServer, target: Path, *, path: str = "/model.onnx", checksum: str = SHA256, size: int | None = None
) -> str:
    """Fetch a file of the server with little patience."""
    return download(server.url + path, target, checksum=checksum, size=size, patience=QUICK)


def refused(
    server: FileServer,
    target: Path,
    code: str,
    *,
    path: str = "/model.onnx",
    checksum: str = SHA256,
    size: int | None = None,
) -> VisualSearchError:
    """Fetch what can't be fetched, and see that nothing took the file's name."""
    with pytest.raises(VisualSearchError) as caught:
        fetch(server, target, path=path, checksum=checksum, size=size)
    assert caught.value.code == code
    assert not target.exists()
    return caught.value


def names(target: Path) -> list[str]:
    """Return the names in the folder of a fetched file."""
    return sorted(path.name for path in target.parent.iterdir())
