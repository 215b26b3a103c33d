"""The embedded store keeps the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import settings

from executors.index.embedded.store import EmbeddedStore
from executors.index.store import Store
from tests.integration.store_contract import StoreContract
from tests.integration.store_machine import machine_for


class Folder:
    """One folder, opened again and again; whatever is still open is closed at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._opened: list[Store] = []

    async def open(self) -> Store:
        store = EmbeddedStore(self.folder)
        await store.open()
        self._opened.append(store)
        return store

    async def close(self) -> None:
        for store in self._opened:
            await store.close()


class TestEmbeddedStore(StoreContract):
    @pytest.fixture
    async def harness(self, tmp_path: Path) -> AsyncIterator[Folder]:
        harness = Folder(tmp_path / "shard")
        yield harness
        await harness.close()


TestEmbeddedStoreMachine = machine_for(Folder).TestCase
TestEmbeddedStoreMachine.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


@pytest.mark.slow
class TestEmbeddedStoreMachineForLong(machine_for(Folder).TestCase):  # type: ignore[misc]  # made at run time
    settings = settings(max_examples=500, stateful_step_count=50, deadline=None)
