from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from executors.errors import VisualSearchError
from executors.models.build import build_model
from executors.models.converters import declared_config, stored_reference
from executors.models.listing import list_models
from executors.models.manifest import ManifestModel, load_manifest
from executors.models.pbtxt import parameters_from_pbtxt
from executors.models.reference import read_reference
from executors.models.repository import CONFIG_FILE, check_model, load_tower, load_towers, model_path, tokenizer_path
from executors.models.trial import run_in_process
from executors.models.verify import verify_model
from tests.support.models import TINY, external_model, tiny_config, tiny_model, write_entry
from tests.support.two_towers import TWO_TOWERS, place_files, two_tower_model, write_two_towers

NAME = "efficientnet-lite0"
# Vectors of an index are bound to it. A change here needs a higher `revision` in the model's config.pbtxt, and a word in
# the release notes: every index that was made before refuses the new model.
MODEL_ID = "efficientnet-lite0@ed7cae0d016a9a79"
MODEL = load_manifest()[NAME]
CONFIG = declared_config(MODEL, NAME)
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that this very code built; the one that other tests share may be older."""
    folder = tmp_path_factory.mktemp("built")
    build_model(NAME, folder)
    return folder


@pytest.fixture
def repository(built: Path, tmp_path: Path) -> Path:
    """A repository of one's own with the default model in it."""
    shutil.copytree(built / NAME, tmp_path / "models" / NAME)
    return tmp_path / "models"


def run_python(program: str, folder: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, str(folder)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_a_build_makes_a_triton_repository_entry(tmp_path: Path) -> None:
    told: list[str] = []
    report = build_model(NAME, tmp_path / "new" / "models", told.append)
    entry = tmp_path / "new" / "models" / NAME
    files = sorted(str(path.relative_to(entry)) for path in entry.rglob("*"))
    assert files == ["1", "1/model.onnx", CONFIG_FILE, "reference.npz"]
    assert (report.result, report.reason, report.bytes) == ("built", "", (entry / "1" / "model.onnx").stat().st_size)
    text = (entry / CONFIG_FILE).read_text()
    assert text.startswith(CONFIG.rstrip())
    assert parameters_from_pbtxt(text, NAME)["model_id"] == report.model_id
    assert check_model(entry.parent, NAME).model_id == report.model_id
    assert visible(entry.parent) == [NAME]
    assert any("converting" in line for line in told)


def test_the_default_models_id_never_changes_unnoticed(built: Path) -> None:
    assert check_model(built, NAME).model_id == MODEL_ID


def test_an_entry_that_is_up_to_date_is_left_alone(repository: Path) -> None:
    before = {path: path.stat() for path in (repository / NAME).rglob("*")}
    report = build_model(NAME, repository)
    assert report.result == "unchanged"
    assert report.model_id == MODEL_ID
    assert {path: path.stat().st_ino for path in before} == {path: stat.st_ino for path, stat in before.items()}
    assert list(repository.iterdir()) == [repository / NAME], "nothing is written, so a read-only repository will do"


def cut_model(entry: Path) -> None:
    with (entry / "1" / "model.onnx").open("r+b") as file:
        file.truncate(1_000_000)


def older_revision(entry: Path) -> None:
    text = (entry / CONFIG_FILE).read_text()
    (entry / CONFIG_FILE).write_text(
        text.replace('"revision" value { string_value: "2"', '"revision" value { string_value: "1"')
    )


def other_preprocessing(entry: Path) -> None:
    """A configuration and a digest that fit each other, but not the catalogue."""
    config = CONFIG.replace('"0.875"', '"0.5"')
    write_entry(entry.parent, (entry / "1" / "model.onnx").read_bytes(), config, NAME)


def renamed_input(entry: Path) -> None:
    text = (entry / CONFIG_FILE).read_text()
    (entry / CONFIG_FILE).write_text(text.replace('name: "image"', 'name: "picture"'))


@pytest.mark.parametrize(
    "damage",
    [
        cut_model,
        older_revision,
        other_preprocessing,
        renamed_input,
        lambda entry: (entry / "1" / "model.onnx").unlink(),
        lambda entry: (entry / CONFIG_FILE).write_text((entry / CONFIG_FILE).read_text() + "garbage {"),
        lambda entry: (entry / CONFIG_FILE).write_text(CONFIG),
        lambda entry: (entry / "reference.npz").unlink(),
        lambda entry: (entry / "reference.npz").write_bytes(b"PK garbage"),
    ],
    ids=[
        *("cut", "older", "other", "renamed", "no model", "garbage", "not finished"),
        *("no reference", "damaged reference"),
    ],
)
def test_a_damaged_or_outdated_entry_is_built_anew(repository: Path, damage: Callable[[Path], object]) -> None:
    damage(repository / NAME)
    report = build_model(NAME, repository)
    assert report.result == "rebuilt"
    assert report.reason
    assert check_model(repository, NAME).model_id == MODEL_ID
    assert (repository / NAME / CONFIG_FILE).read_text().startswith(CONFIG.rstrip())
    assert visible(repository) == [NAME]
    assert build_model(NAME, repository).result == "unchanged"


def test_replaced_weights_beside_the_model_file_make_another_model(tmp_path: Path) -> None:
    entry = write_own(tmp_path)
    external_model(entry / "1")
    first = build_model(TINY, tmp_path)
    assert first.bytes == sum(path.stat().st_size for path in (entry / "1").iterdir())
    external_model(entry / "1", seed=3)
    with pytest.raises(VisualSearchError, match="does not fit its configuration"):
        check_model(tmp_path, TINY)
    second = build_model(TINY, tmp_path)
    assert (second.result, second.model_id == first.model_id) == ("rebuilt", False)
    assert verify_model(tmp_path, TINY, run_in_process(tmp_path)).ok


@pytest.mark.parametrize("manifest", [{}, None], ids=["own", "ours"])
def test_an_old_version_may_be_removed(repository: Path, manifest: dict[str, ManifestModel] | None) -> None:
    entry = repository / NAME
    shutil.copytree(entry / "1", entry / "2")
    identity = build_model(NAME, repository, manifest=manifest).model_id
    second = build_model(f"{NAME}:2", repository, manifest=manifest)
    assert (second.result, second.model_id) == ("unchanged", load_tower(repository, f"{NAME}:2").model_id)
    shutil.rmtree(entry / "1")
    told: list[str] = []
    for choice in (f"{NAME}:2", NAME, f"{NAME}:2"):
        assert build_model(choice, repository, told.append, manifest).model_id == identity
        assert not (entry / "1").exists()
    assert any("VS_MODEL=efficientnet-lite0:2 chooses" in line for line in told)
    assert check_model(repository, f"{NAME}:2").version == 2
    with pytest.raises(VisualSearchError, match="has no version 3"):
        build_model(f"{NAME}:3", repository, manifest=manifest)


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


def test_a_damaged_file_is_told_with_the_runtimes_own_reason(tmp_path: Path) -> None:
    write_own(tmp_path, b"garbage" * 100)
    with pytest.raises(VisualSearchError, match=r"Load model from model\.onnx failed") as caught:
        build_model(TINY, tmp_path)
    assert str(tmp_path) not in caught.value.message
    assert "/" not in caught.value.message


def test_tuning_by_hand_is_kept(repository: Path) -> None:
    file = repository / NAME / CONFIG_FILE
    text = file.read_text().replace("max_batch_size: 64", "max_batch_size: 256")
    file.write_text(text + "instance_group { count: 2 kind: KIND_GPU gpus: [ 0, 1 ] }\n")
    assert build_model(NAME, repository).result == "unchanged"
    assert "KIND_GPU" in file.read_text()


def test_processes_that_build_at_once_do_not_harm_each_other(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from executors.models.build import build_model;"
        f"print(build_model({NAME!r}, Path(sys.argv[1])).result)"
    )
    builders = [run_python(program, tmp_path) for _ in range(3)]
    results = sorted(builder.communicate(timeout=60)[0].strip() for builder in builders)
    assert results == ["built", "unchanged", "unchanged"]
    assert check_model(tmp_path, NAME).model_id == MODEL_ID
    assert visible(tmp_path) == [NAME]


def test_a_builder_killed_half_way_leaves_nothing_that_hurts(tmp_path: Path) -> None:
    program = (
        "import os, shutil, signal, sys; from pathlib import Path; from executors.models import build;"
        "build.stamp_entry = lambda *_: os.kill(os.getpid(), signal.SIGKILL);"
        f"build.build_model({NAME!r}, Path(sys.argv[1]))"
    )
    builder = run_python(program, tmp_path)
    builder.communicate(timeout=60)
    assert builder.returncode == -9
    leftovers = visible(tmp_path)
    assert len(leftovers) == 1
    assert leftovers[0].startswith(".")
    assert {model.name for model in list_models(tmp_path)} == set(load_manifest())
    assert build_model(NAME, tmp_path).result == "built"
    assert visible(tmp_path) == [NAME]


def test_an_unknown_model_is_told_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(VisualSearchError, match=NAME) as caught:
        build_model("resnet", tmp_path)
    assert caught.value.code == "model_missing"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"checksum": f"sha256:{'0' * 64}"}, "model_invalid"),
        ({"package_path": "no/such.pth"}, "model_missing"),
        ({"package": "no-such-distribution"}, "model_missing"),
    ],
    ids=["damaged", "incomplete", "not installed"],
)
def test_an_entry_survives_weights_that_can_not_be_used(repository: Path, change: dict[str, str], code: str) -> None:
    older_revision(repository / NAME)
    weights = MODEL.files["weights"].model_copy(update=change)
    manifest = {NAME: MODEL.model_copy(update={"files": {"weights": weights}})}
    with pytest.raises(VisualSearchError) as caught:
        build_model(NAME, repository, manifest=manifest)
    assert caught.value.code == code
    assert check_model(repository, NAME).model_id == MODEL_ID
    assert visible(repository) == [NAME]


def test_a_manifest_that_is_not_true_of_the_network_is_refused(tmp_path: Path) -> None:
    manifest = {NAME: MODEL.model_copy(update={"mean": (128.0, 127.0, 127.0), "height": 256})}
    with pytest.raises(VisualSearchError, match="height is 256; mean is") as caught:
        build_model(NAME, tmp_path, manifest=manifest)
    assert caught.value.code == "model_invalid"
    assert visible(tmp_path) == []


def test_a_repository_that_can_not_be_written_is_an_error_of_storage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VisualSearchError) as caught:
        build_model(NAME, tmp_path / "file" / "models")
    assert caught.value.code == "storage_unavailable"
    assert str(tmp_path) not in caught.value.message


def test_the_default_models_reference_is_what_it_computes(built: Path) -> None:
    """The stored file, which comes with the package, was made by this very model."""
    report = verify_model(built, NAME, run_in_process(built))
    assert report.ok, report
    assert report.towers[0].least_cosine == pytest.approx(1, abs=1e-5)
    stored = stored_reference(NAME)
    assert stored is not None
    assert len(stored) < 50_000
    assert (built / NAME / "reference.npz").read_bytes() == stored


def add_version(entry: Path, number: int, model: bytes) -> None:
    (entry / str(number)).mkdir()
    (entry / str(number) / "model.onnx").write_bytes(model)


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
    entry = repository / NAME
    model = (entry / "1" / "model.onnx").read_bytes()
    add_version(entry, 2, model)
    assert build_model(NAME, repository).model_id == MODEL_ID
    identity = load_tower(repository, f"{NAME}:2").model_id
    cut_model(entry)
    assert build_model(NAME, repository).result == "rebuilt"
    assert load_tower(repository, f"{NAME}:2").model_id == identity
    assert (entry / "2" / "model.onnx").read_bytes() == model
    assert build_model(NAME, repository).result == "unchanged"


def test_an_entry_that_a_killed_builder_had_put_aside_comes_back(repository: Path) -> None:
    """Between taking the old entry away and putting the new one there, a version of one's own is in neither place."""
    add_version(repository / NAME, 2, (repository / NAME / "1" / "model.onnx").read_bytes())
    aside = repository / f".{NAME}.tmp-killed" / "old"
    aside.mkdir(parents=True)
    (repository / NAME).rename(aside / NAME)
    build_model(NAME, repository)
    assert load_tower(repository, f"{NAME}:2").version == 2
    assert visible(repository) == [NAME]


def write_own(models_dir: Path, model: bytes | None = None, config: str | None = None, name: str = TINY) -> Path:
    """An entry as a person writes it: a configuration, and a file."""
    entry = models_dir / name
    entry.mkdir(parents=True)
    (entry / CONFIG_FILE).write_text(config or tiny_config(name))
    add_version(entry, 1, tiny_model() if model is None else model)
    return entry


def test_an_own_model_gets_its_identity_and_its_reference(tmp_path: Path) -> None:
    entry = write_own(tmp_path, config="# mine\n" + tiny_config())
    report = build_model(TINY, tmp_path)
    assert report.result == "built"
    assert check_model(tmp_path, TINY).model_id == report.model_id
    assert (entry / CONFIG_FILE).read_text().startswith("# mine\n")
    assert verify_model(tmp_path, TINY, run_in_process(tmp_path)).ok
    assert build_model(TINY, tmp_path).result == "unchanged"
    (entry / "1" / "model.onnx").write_bytes(tiny_model(seed=9))
    changed = build_model(TINY, tmp_path)
    assert changed.result == "rebuilt"
    assert changed.model_id != report.model_id
    assert (entry / CONFIG_FILE).read_text().count("model_id") == 1
    assert verify_model(tmp_path, TINY, run_in_process(tmp_path)).ok


@pytest.mark.parametrize(
    ("model", "config", "fault"),
    [
        (tiny_model(dimension=4), tiny_config(), r"embedding has the shape \['batch', 4\], expected \['batch', 3\]"),
        (tiny_model(input_name="picture"), tiny_config(), "its inputs are picture, expected image"),
        (tiny_model(side=9), tiny_config(), r"image has the shape \['batch', 9, 9, 3\]"),
        (tiny_model(batch=1), tiny_config(), r"image has the shape \[1, 8, 8, 3\]"),
        (tiny_model(output_name="vector"), tiny_config(), "its outputs are vector, expected embedding"),
        (b"no model", tiny_config(), "ONNX Runtime can't load it"),
        (tiny_model(), tiny_config(fit='"stretch"'), "fit is 'stretch'"),
    ],
    ids=["dimension", "input", "side", "batch", "output", "garbage", "configuration"],
)
def test_an_own_model_that_does_not_fit_gets_no_identity(tmp_path: Path, model: bytes, config: str, fault: str) -> None:
    entry = write_own(tmp_path, model, config)
    with pytest.raises(VisualSearchError, match=fault) as caught:
        build_model(TINY, tmp_path)
    assert caught.value.code == "model_invalid"
    assert (entry / CONFIG_FILE).read_text() == config
    assert not (entry / "reference.npz").exists()


def with_step(operator: str, constants: dict[str, NDArray[Any]], **attributes: Any) -> bytes:
    """The tiny model with one more step behind its last one."""
    model = onnx.load_from_string(tiny_model(output_name="before"))
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    model.graph.node.append(helper.make_node(operator, ["before", *constants], ["embedding"], **attributes))
    model.graph.output[0].name = "embedding"
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        (with_step("MeanVarianceNormalization", {}, axes=[0]), "a vector depends on what else is in the batch"),
        (with_step("Reshape", {"shape": np.array([1, 3])}), r"embedding has the shape \[1, 3\]"),
        (with_step("Mul", {"zero": np.zeros(1, np.float32)}), "not finite, or are zero"),
        (with_step("Sub", {"much": np.full(1, np.inf, np.float32)}), "not finite"),
    ],
    ids=["mixes the batch", "batch of one inside", "zero", "not a number"],
)
def test_an_own_model_that_runs_wrongly_gets_no_identity(tmp_path: Path, model: bytes, fault: str) -> None:
    entry = write_own(tmp_path, model)
    with pytest.raises(VisualSearchError, match=fault) as caught:
        build_model(TINY, tmp_path)
    assert caught.value.code == "model_invalid"
    assert "model_id" not in (entry / CONFIG_FILE).read_text()


def test_an_own_model_without_its_file_is_missing(tmp_path: Path) -> None:
    entry = write_own(tmp_path)
    shutil.rmtree(entry / "1")
    with pytest.raises(VisualSearchError, match=r"1/model\.onnx") as caught:
        build_model(TINY, tmp_path)
    assert caught.value.code == "model_missing"


def test_two_towers_are_built_and_bound_to_each_other(tmp_path: Path) -> None:
    towers = write_two_towers(tmp_path / "models")
    assert visible(tmp_path / "models") == [TWO_TOWERS, f"{TWO_TOWERS}-text"]
    assert towers.text is not None
    assert towers.image.text_model == towers.text.name == f"{TWO_TOWERS}-text"
    assert verify_model(tmp_path / "models", TWO_TOWERS, run_in_process(tmp_path / "models")).ok


def test_two_towers_are_built_once_and_again_when_one_is_damaged(tmp_path: Path) -> None:
    model = two_tower_model(tmp_path / "files")
    models_dir = tmp_path / "models"
    place_files(model, tmp_path / "files", models_dir)
    manifest = {TWO_TOWERS: model}
    first = build_model(TWO_TOWERS, models_dir, manifest=manifest)
    assert (first.result, build_model(TWO_TOWERS, models_dir, manifest=manifest).result) == ("built", "unchanged")
    text = load_towers(models_dir, TWO_TOWERS).text
    assert text is not None
    tokenizer = tokenizer_path(models_dir, text)
    tokenizer.write_text(tokenizer.read_text("utf-8").replace("Lowercase", "Lowercase "), "utf-8")
    again = build_model(TWO_TOWERS, models_dir, manifest=manifest)
    assert (again.result, again.model_id) == ("rebuilt", first.model_id)
    assert load_towers(models_dir, TWO_TOWERS).text == text


def test_an_own_text_tower_is_bound_to_its_image_model(tmp_path: Path) -> None:
    towers = write_two_towers(tmp_path)
    assert towers.text is not None
    config = tiny_config("mine", side=towers.image.height, dimension=towers.image.dimension)
    config += f'parameters {{ key: "text_model" value {{ string_value: "{towers.text.name}" }} }}\n'
    image = tiny_model(side=towers.image.height, dimension=towers.image.dimension)
    write_own(tmp_path, image, config, "mine")
    assert build_model("mine", tmp_path).result == "built"
    assert load_towers(tmp_path, "mine").text == towers.text
    # The text tower is changed, which the image model has to notice, and be told.
    file = model_path(tmp_path, towers.text.name)
    other = write_two_towers(tmp_path / "other", seed=3)
    assert other.text is not None
    file.write_bytes(model_path(tmp_path / "other", other.text.name).read_bytes())
    build_model(towers.text.name, tmp_path)
    with pytest.raises(VisualSearchError, match=r"does not belong to the model 'mine'.*models build mine") as caught:
        load_towers(tmp_path, "mine")
    assert caught.value.code == "model_invalid"
    build_model("mine", tmp_path)
    bound = load_towers(tmp_path, "mine").text
    assert bound is not None
    assert bound.model_id != towers.text.model_id


def test_a_text_tower_of_another_dimension_is_refused(tmp_path: Path) -> None:
    towers = write_two_towers(tmp_path)
    assert towers.text is not None
    config = tiny_config() + f'parameters {{ key: "text_model" value {{ string_value: "{towers.text.name}" }} }}\n'
    write_own(tmp_path, None, config)
    with pytest.raises(VisualSearchError, match="vectors have 8 numbers, expected 3") as caught:
        build_model(TINY, tmp_path)
    assert caught.value.code == "model_invalid"


def test_a_reference_of_other_weights_does_not_stay(tmp_path: Path) -> None:
    entry = write_own(tmp_path)
    build_model(TINY, tmp_path)
    (entry / "1" / "model.onnx").write_bytes(tiny_model(seed=9))
    before = (entry / "reference.npz").read_bytes()
    build_model(TINY, tmp_path)
    assert (entry / "reference.npz").read_bytes() != before
    assert read_reference(tmp_path, load_tower(tmp_path, TINY)) is not None
