"""The backends over real Triton servers keep the same contract as the one in process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from executors.devices import CPU
from executors.embed.triton.backend import TritonBackend
from executors.embed.triton.managed import ManagedTritonBackend
from executors.triton_server.installation import Installation
from executors.triton_server.server import TritonServer
from tests.contracts.embedding_contract import EmbeddingContract, MakeBackend, Repository
from tests.support.triton.triton_server import RawTriton

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

OPTIONS: dict[str, Any] = {"timeout_s": 5.0, "total_timeout_s": 10.0, "in_flight": 8, "cpu_batch": 4}


def entries(repository: Repository) -> list[str]:
    return [tower.name for tower in repository.towers]


class TestTritonBackend(EmbeddingContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(
        cls, repository: Repository, triton_installation: Installation, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[MakeBackend]:
        log = tmp_path_factory.mktemp("triton") / "triton.log"
        server = RawTriton(triton_installation, repository.models_dir, entries(repository), log)
        server.start()
        try:
            server.wait_ready()
            yield lambda: TritonBackend(repository.models_dir, repository.towers, [server.url], preferred=0, **OPTIONS)
        finally:
            server.kill()


class TestManagedTritonBackend(EmbeddingContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(
        cls, repository: Repository, triton_installation: Installation, tmp_path_factory: pytest.TempPathFactory
    ) -> MakeBackend:
        logs: Path = tmp_path_factory.mktemp("logs")

        def make_backend() -> ManagedTritonBackend:
            server = TritonServer(
                triton_installation,
                models_dir=repository.models_dir,
                models=entries(repository),
                device=CPU,
                threads=1,
                logs_dir=logs,
                name="contract",
            )
            return ManagedTritonBackend(repository.models_dir, repository.towers, server, **OPTIONS)

        return make_backend
