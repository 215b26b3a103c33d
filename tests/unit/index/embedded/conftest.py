"""An open store in a folder of its own."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from executors.index.embedded.store import EmbeddedStore
from tests.support.stores.records import IDENTITY, IMAGES


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "shard"


@pytest.fixture
async def store(folder: Path) -> AsyncIterator[EmbeddedStore]:
    store = EmbeddedStore(folder)
    await store.open()
    await store.adopt(IDENTITY)
    await store.ensure_collection(IMAGES)
    yield store
    await store.close()


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Make threads switch far more often than they usually do."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)
