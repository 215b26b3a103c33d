"""Real servers, as the suite `services` sets them up, and backends over them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from executors.embed.triton.backend import TritonBackend
from executors.models.reference import Reference, write_reference
from executors.models.repository import load_towers
from executors.models.spec import Towers
from executors.triton_server.installation import Installation
from tests.services.conftest import triton_installation
from tests.support.models.models import TINY, tiny_config, tiny_model, write_entry
from tests.support.triton.triton_faults import BATCHING, TIMEOUT_S, TOTAL_S, MakeBackend, MakeServer, pictures, truth
from tests.support.triton.triton_server import RawTriton

__all__ = ["triton_installation"]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The local model repository, with stored reference vectors."""
    folder = tmp_path_factory.mktemp("local")
    write_entry(folder, tiny_model(), tiny_config() + BATCHING)
    towers = load_towers(folder, TINY)
    inputs = pictures(3, 99)
    write_reference(folder, towers.image, Reference(inputs, truth(folder, inputs)))
    return folder


@pytest.fixture
def towers(local: Path) -> Towers:
    return load_towers(local, TINY)


@pytest.fixture
def make_server(triton_installation: Installation, local: Path, tmp_path: Path) -> Iterator[MakeServer]:
    """Makes servers, not started yet, each with a copy of the local entry or what the test writes in its place."""
    made: list[RawTriton] = []

    def make(write: Callable[[Path], object] | None = None) -> RawTriton:
        folder = tmp_path / f"server-{len(made)}"
        server = RawTriton(triton_installation, folder, [TINY], tmp_path / f"{folder.name}.log")
        if write is None:
            server.replace(TINY, local / TINY)
        else:
            write(folder)
        made.append(server)
        return server

    yield make
    for server in made:
        server.close()


@pytest.fixture
async def make_backend(local: Path, towers: Towers) -> AsyncIterator[MakeBackend]:
    """Makes and starts backends, and closes them at the end."""
    made: list[TritonBackend] = []

    async def make(servers: list[RawTriton], **changes: Any) -> TritonBackend:
        options = {"timeout_s": TIMEOUT_S, "total_timeout_s": TOTAL_S, "in_flight": 8, "cpu_batch": 4, "preferred": 0}
        made.append(TritonBackend(local, towers, [server.url for server in servers], **(options | changes)))
        await made[-1].start()
        return made[-1]

    yield make
    for backend in made:
        await backend.close()
