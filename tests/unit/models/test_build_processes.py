"""Builders that run at once, or are killed."""

from __future__ import annotations

from pathlib import Path

from executors.models.build import build_model
from executors.models.listing import list_models
from executors.models.manifest import load_manifest
from executors.models.repository import check_model, load_tower
from tests.support.models.built_models import (
    DEFAULT,
    MODEL_ID,
    add_version,
    run_python,
    visible,
)


def test_processes_that_build_at_once_do_not_harm_each_other(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from executors.models.build import build_model;"
        f"print(build_model({DEFAULT!r}, Path(sys.argv[1])).result)"
    )
    builders = [run_python(program, tmp_path) for _ in range(3)]
    results = sorted(builder.communicate(timeout=60)[0].strip() for builder in builders)
    assert results == ["built", "unchanged", "unchanged"]
    assert check_model(tmp_path, DEFAULT).model_id == MODEL_ID
    assert visible(tmp_path) == [DEFAULT]


def test_a_builder_killed_half_way_leaves_nothing_that_hurts(tmp_path: Path) -> None:
    program = (
        "import os, shutil, signal, sys; from pathlib import Path; from executors.models import build;"
        "build.stamp_entry = lambda *_: os.kill(os.getpid(), signal.SIGKILL);"
        f"build.build_model({DEFAULT!r}, Path(sys.argv[1]))"
    )
    builder = run_python(program, tmp_path)
    builder.communicate(timeout=60)
    assert builder.returncode == -9
    leftovers = visible(tmp_path)
    assert len(leftovers) == 1
    assert leftovers[0].startswith(".")
    assert {model.name for model in list_models(tmp_path)} == set(load_manifest())
    assert build_model(DEFAULT, tmp_path).result == "built"
    assert visible(tmp_path) == [DEFAULT]


def test_an_entry_that_a_killed_builder_had_put_aside_comes_back(repository: Path) -> None:
    """Between taking the old entry away and putting the new one there, a version of one's own is in neither place."""
    add_version(repository / DEFAULT, 2, (repository / DEFAULT / "1" / "model.onnx").read_bytes())
    aside = repository / f".{DEFAULT}.tmp-killed" / "old"
    aside.mkdir(parents=True)
    (repository / DEFAULT).rename(aside / DEFAULT)
    build_model(DEFAULT, repository)
    assert load_tower(repository, f"{DEFAULT}:2").version == 2
    assert visible(repository) == [DEFAULT]
