from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from executors.errors import VisualSearchError
from executors.models.reference import reference_path
from executors.models.repository import load_towers, model_path
from executors.models.run_onnx import run_in_process
from executors.models.spec import Tower
from executors.models.verify import verify_model
from tests.support.models.models import TINY, tiny_model, write_entry
from tests.support.models.two_towers import COLOURS, TWO_TOWERS, colour_picture, write_two_towers


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    write_two_towers(tmp_path / "models")
    return tmp_path / "models"


def test_every_tower_is_compared(repository: Path) -> None:
    report = verify_model(repository, TWO_TOWERS, run_in_process(repository))
    assert report.ok
    assert [(each.name, each.result, each.rows) for each in report.towers] == [
        (TWO_TOWERS, "same", 3),
        (f"{TWO_TOWERS}-text", "same", 3),
    ]
    assert all(each.least_cosine == pytest.approx(1, abs=1e-6) for each in report.towers)


def test_a_text_tower_can_be_verified_alone(repository: Path) -> None:
    report = verify_model(repository, f"{TWO_TOWERS}-text", run_in_process(repository))
    assert (report.ok, len(report.towers)) == (True, 1)


def test_a_server_with_other_weights_fails(repository: Path, tmp_path: Path) -> None:
    """The same name, inputs, outputs and dimension: only the answers differ."""
    write_two_towers(tmp_path / "other", seed=1)
    theirs = {tower.name: tower for tower in load_towers(tmp_path / "other", TWO_TOWERS)}
    server = run_in_process(tmp_path / "other")

    def run(tower: Tower, inputs: NDArray[Any]) -> NDArray[Any]:
        return server(theirs[tower.name], inputs)

    report = verify_model(repository, TWO_TOWERS, run)
    assert not report.ok
    assert [each.result for each in report.towers] == ["different", "different"]
    assert "other weights" in report.towers[0].detail


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (lambda vectors: vectors * np.nan, "least cosine is -1"),
        (lambda vectors: vectors[:, :-1], r"returned [3, 7]"),
        (lambda vectors: vectors[::-1], "least cosine"),
    ],
    ids=["nan", "dimension", "order"],
)
def test_a_server_that_answers_wrongly_fails(repository: Path, answer: Any, fault: str) -> None:
    sound = run_in_process(repository)
    report = verify_model(repository, TWO_TOWERS, lambda tower, inputs: np.asarray(answer(sound(tower, inputs))))
    assert not report.ok
    assert report.towers[0].result == "different"
    assert fault in report.towers[0].detail


def test_half_precision_passes(repository: Path) -> None:
    sound = run_in_process(repository)

    def run(tower: Tower, inputs: NDArray[Any]) -> NDArray[Any]:
        return sound(tower, inputs).astype(np.float16)

    assert verify_model(repository, TWO_TOWERS, run).ok


def test_a_model_without_a_reference_is_not_called_verified(tmp_path: Path) -> None:
    write_entry(tmp_path, tiny_model())
    report = verify_model(tmp_path, TINY, run_in_process(tmp_path))
    assert not report.ok
    assert report.towers[0].result == "no_reference"
    assert "models build tiny" in report.towers[0].detail


def test_a_changed_file_is_told_before_it_is_run(repository: Path, tmp_path: Path) -> None:
    write_two_towers(tmp_path / "other", seed=1)
    shutil.copy(model_path(tmp_path / "other", TWO_TOWERS), model_path(repository, TWO_TOWERS))
    with pytest.raises(VisualSearchError, match="does not fit its configuration") as caught:
        verify_model(repository, TWO_TOWERS, run_in_process(repository))
    assert caught.value.code == "model_invalid"


def test_a_reference_of_another_model_is_no_proof(repository: Path) -> None:
    image, text = load_towers(repository, TWO_TOWERS)
    shutil.copy(reference_path(repository, image), reference_path(repository, text))
    with pytest.raises(VisualSearchError) as caught:
        verify_model(repository, TWO_TOWERS, run_in_process(repository))
    assert caught.value.code == "model_invalid"


def test_what_the_server_says_passes_through(repository: Path) -> None:
    def run(tower: Tower, inputs: NDArray[Any]) -> NDArray[Any]:
        raise VisualSearchError("unavailable", "nobody there")

    with pytest.raises(VisualSearchError, match="nobody there") as caught:
        verify_model(repository, TWO_TOWERS, run)
    assert caught.value.code == "unavailable"


def test_a_missing_model_is_missing(tmp_path: Path) -> None:
    with pytest.raises(VisualSearchError) as caught:
        verify_model(tmp_path, "absent", run_in_process(tmp_path))
    assert caught.value.code == "model_missing"


@pytest.mark.parametrize("colour", sorted(COLOURS))
def test_the_generated_towers_share_one_space(repository: Path, colour: str) -> None:
    """The name of a colour is nearest to a picture of that colour, so a search by text can be tested."""
    library = pytest.importorskip("tokenizers", reason="the extra `text` is not installed")
    towers = load_towers(repository, TWO_TOWERS)
    assert towers.text is not None
    tokenizer = library.Tokenizer.from_file(str(repository / towers.text.name / "tokenizer.json"))
    tokens = np.array([tokenizer.encode(f"a {colour} car").ids], np.int32)
    run = run_in_process(repository)
    pictures = run(towers.image, np.stack([colour_picture(name) for name in COLOURS]))
    scores = (pictures @ run(towers.text, tokens).T)[:, 0]
    assert list(COLOURS)[int(scores.argmax())] == colour
    assert scores.max() > 0.9
