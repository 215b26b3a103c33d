"""Several versions of one model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.models.build import build_model
from executors.models.manifest import ManifestModel
from executors.models.repository import check_model, load_tower, load_towers
from executors.models.run_onnx import run_in_process
from executors.models.verify import verify_model
from tests.support.models.built_models import (
    DEFAULT,
    MODEL_ID,
    add_version,
    cut_model,
    write_own,
)
from tests.support.models.models import TINY, tiny_model
from tests.support.models.two_towers import TWO_TOWERS, write_two_towers


@pytest.mark.parametrize("manifest", [{}, None], ids=["own", "ours"])
def test_an_old_version_may_be_removed(repository: Path, manifest: dict[str, ManifestModel] | None) -> None:
    entry = repository / DEFAULT
    shutil.copytree(entry / "1", entry / "2")
    identity = build_model(DEFAULT, repository, manifest=manifest).model_id
    second = build_model(f"{DEFAULT}:2", repository, manifest=manifest)
    assert (second.result, second.model_id) == ("unchanged", load_tower(repository, f"{DEFAULT}:2").model_id)
    shutil.rmtree(entry / "1")
    told: list[str] = []
    for choice in (f"{DEFAULT}:2", DEFAULT, f"{DEFAULT}:2"):
        assert build_model(choice, repository, told.append, manifest).model_id == identity
        assert not (entry / "1").exists()
    assert any("VS_MODEL=efficientnet-lite0:2 chooses" in line for line in told)
    assert check_model(repository, f"{DEFAULT}:2").version == 2
    with pytest.raises(VisualSearchError, match="has no version 3"):
        build_model(f"{DEFAULT}:3", repository, manifest=manifest)


def test_the_version_that_is_named_is_the_one_that_is_reported(tmp_path: Path) -> None:
    entry = write_own(tmp_path)
    add_version(entry, 2, tiny_model(seed=5))
    ids = [build_model(choice, tmp_path).model_id for choice in (f"{TINY}:2", f"{TINY}:1", TINY)]
    assert ids[0] == load_tower(tmp_path, f"{TINY}:2").model_id != ids[1] == ids[2]


def test_two_towers_of_version_2_alone_are_built(tmp_path: Path) -> None:
    towers = write_two_towers(tmp_path)
    assert towers.text is not None
    for tower in towers:
        (tmp_path / tower.name / "1").rename(tmp_path / tower.name / "2")
    build_model(f"{TWO_TOWERS}:2", tmp_path)
    loaded = load_towers(tmp_path, f"{TWO_TOWERS}:2")
    assert loaded.text is not None
    assert [each.version for each in loaded] == [2, 2]
    assert verify_model(tmp_path, f"{TWO_TOWERS}:2", run_in_process(tmp_path)).ok


def test_a_new_version_is_served_beside_the_old_one(tmp_path: Path) -> None:
    write_own(tmp_path)
    first = build_model(TINY, tmp_path)
    add_version(tmp_path / TINY, 2, tiny_model(seed=5))
    assert build_model(TINY, tmp_path).result == "rebuilt"
    one, two = load_tower(tmp_path, TINY), load_tower(tmp_path, f"{TINY}:2")
    assert one.model_id == first.model_id
    assert two.model_id not in ("", one.model_id)
    assert verify_model(tmp_path, f"{TINY}:2", run_in_process(tmp_path)).ok
    assert verify_model(tmp_path, TINY, run_in_process(tmp_path)).ok
    assert build_model(TINY, tmp_path).result == "unchanged"
    shutil.rmtree(tmp_path / TINY / "2")
    build_model(TINY, tmp_path)
    with pytest.raises(VisualSearchError, match="has no version 2") as caught:
        load_tower(tmp_path, f"{TINY}:2")
    assert caught.value.code == "model_missing"


def test_a_rebuild_does_not_lose_versions_that_were_added(repository: Path) -> None:
    entry = repository / DEFAULT
    model = (entry / "1" / "model.onnx").read_bytes()
    add_version(entry, 2, model)
    assert build_model(DEFAULT, repository).model_id == MODEL_ID
    identity = load_tower(repository, f"{DEFAULT}:2").model_id
    cut_model(entry)
    assert build_model(DEFAULT, repository).result == "rebuilt"
    assert load_tower(repository, f"{DEFAULT}:2").model_id == identity
    assert (entry / "2" / "model.onnx").read_bytes() == model
    assert build_model(DEFAULT, repository).result == "unchanged"
