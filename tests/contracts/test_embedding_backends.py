"""Every backend keeps the contract. Those that need a server are in `tests/services`."""

from __future__ import annotations

import pytest

from executors.devices import CPU
from executors.embed.onnx import OnnxBackend
from tests.contracts.embedding_contract import EmbeddingContract, MakeBackend, Repository


class TestOnnxBackend(EmbeddingContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls, repository: Repository) -> MakeBackend:
        return lambda: OnnxBackend(repository.models_dir, repository.towers, CPU, batch=4, threads=1)
