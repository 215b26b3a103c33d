from __future__ import annotations

from pathlib import Path

import pytest

from executors.cores import available_cores
from executors.embed.backends import make_backend
from executors.embed.onnx import OnnxBackend
from executors.errors import VisualSearchError
from executors.models.spec import Towers
from executors.settings import Settings
from tests.support.models.models import tiny_model, write_entry


def test_the_settings_reach_the_backend(tmp_path: Path) -> None:
    towers = Towers(write_entry(tmp_path, tiny_model()))
    backend = make_backend(Settings(models_dir=tmp_path, embed_batch=3, threads=2), towers, "RR")
    assert isinstance(backend, OnnxBackend)
    assert backend.towers == towers
    status = backend.status()
    assert (status["batch"], status["threads"], status["ready"]) == (3, 2, False)


def test_replicas_share_the_cores_by_default(tmp_path: Path) -> None:
    towers = Towers(write_entry(tmp_path, tiny_model()))
    for replicas in (1, 2, 200):
        backend = make_backend(Settings(models_dir=tmp_path, replicas=replicas, threads=0), towers, "")
        assert backend.status()["threads"] == max(min(2, available_cores()), available_cores() // replicas)


def test_a_device_that_is_none_stops_the_start(tmp_path: Path) -> None:
    towers = Towers(write_entry(tmp_path, tiny_model()))
    with pytest.raises(VisualSearchError, match="CUDA_VISIBLE_DEVICES"):
        make_backend(Settings(models_dir=tmp_path), towers, "first")
