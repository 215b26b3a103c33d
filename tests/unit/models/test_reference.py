from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from executors.errors import VisualSearchError
from executors.models.reference import (
    LEAST_COSINE,
    Reference,
    drawn_pictures,
    least_cosine,
    read_reference,
    reference_inputs,
    reference_path,
    write_reference,
)
from executors.models.repository import load_tower, tokenizer_path
from executors.models.spec import ModelSpec, TextSpec
from tests.support.models.two_towers import TWO_TOWERS, write_two_towers

SPEC = ModelSpec("tiny", "tiny@0123456789abcdef", dimension=3, height=8, width=6, fit="squash")


def reference(rows: int = 2, **changes: Any) -> Reference:
    outputs = np.eye(3, dtype=np.float32)[:rows]
    fields: dict[str, Any] = {"inputs": np.zeros((rows, 8, 6, 3), np.uint8), "outputs": outputs}
    return Reference(**(fields | changes))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tiny").mkdir()
    return tmp_path


def test_what_was_stored_is_read(folder: Path) -> None:
    assert read_reference(folder, SPEC) is None
    write_reference(folder, SPEC, reference())
    found = read_reference(folder, SPEC)
    assert found is not None
    np.testing.assert_array_equal(found.inputs, reference().inputs)
    np.testing.assert_array_equal(found.outputs, reference().outputs)
    before = reference_path(folder, SPEC).read_bytes()
    write_reference(folder, SPEC, reference())
    assert reference_path(folder, SPEC).read_bytes() == before
    assert [path.name for path in (folder / "tiny").iterdir()] == ["reference.npz"]


def test_each_version_has_its_own(folder: Path) -> None:
    write_reference(folder, replace(SPEC, version=2), reference())
    assert read_reference(folder, SPEC) is None
    assert read_reference(folder, replace(SPEC, version=2)) is not None
    assert (folder / "tiny" / "reference-2.npz").is_file()


@pytest.mark.parametrize(
    "stored",
    [
        reference(inputs=np.zeros((2, 8, 7, 3), np.uint8)),
        reference(inputs=np.zeros((2, 8, 6, 3), np.float32)),
        reference(inputs=np.zeros((5, 8, 6, 3), np.uint8), outputs=np.ones((5, 3), np.float32)),
        reference(outputs=np.zeros((2, 4), np.float32)),
        reference(outputs=np.full((2, 3), np.nan, np.float32)),
        reference(0),
    ],
    ids=["size", "type", "rows", "dimension", "nan", "empty"],
)
def test_a_reference_that_does_not_fit_the_model_is_refused(folder: Path, stored: Reference) -> None:
    write_reference(folder, SPEC, stored)
    with pytest.raises(VisualSearchError, match="models build tiny") as caught:
        read_reference(folder, SPEC)
    assert caught.value.code == "model_invalid"


def test_a_reference_that_another_model_made_is_refused(folder: Path) -> None:
    write_reference(folder, SPEC, reference())
    with pytest.raises(VisualSearchError, match="was made by tiny@0123456789abcdef, expected tiny@ffff") as caught:
        read_reference(folder, replace(SPEC, model_id="tiny@ffffffffffffffff"))
    assert caught.value.code == "model_invalid"


def test_a_stored_reference_never_runs_code(folder: Path) -> None:
    with reference_path(folder, SPEC).open("wb") as file:
        np.savez(file, inputs=np.array([{}], dtype=object), outputs=np.zeros((1, 3)), model_id=np.array("x"))
    with pytest.raises(VisualSearchError, match="can't be read") as caught:
        read_reference(folder, SPEC)
    assert caught.value.code == "model_invalid"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"{}"], ids=["empty", "cut", "text"])
def test_a_damaged_reference_is_refused(folder: Path, content: bytes) -> None:
    reference_path(folder, SPEC).write_bytes(content)
    with pytest.raises(VisualSearchError, match="can't be read") as caught:
        read_reference(folder, SPEC)
    assert caught.value.code == "model_invalid"


def test_the_worst_vector_decides() -> None:
    stored = reference()
    assert least_cosine(stored, stored.outputs * 7) == pytest.approx(1)
    outputs = stored.outputs.copy()
    outputs[1] = (1, 1, 0)
    assert least_cosine(stored, outputs) == pytest.approx(0.5**0.5)


@pytest.mark.parametrize("fault", [np.nan, np.inf, 0.0])
def test_what_is_no_vector_is_as_far_as_can_be(fault: float) -> None:
    outputs = reference().outputs.copy()
    outputs[0] = fault
    assert least_cosine(reference(), outputs) == -1


def test_half_precision_is_near_enough_and_other_weights_are_not() -> None:
    random = np.random.default_rng(0)
    outputs = random.normal(size=(2, 512)).astype(np.float32)
    stored = Reference(np.zeros((2, 1), np.uint8), outputs / np.linalg.norm(outputs, axis=1, keepdims=True))
    assert least_cosine(stored, outputs.astype(np.float16)) > LEAST_COSINE
    noisy = outputs + random.normal(scale=0.1, size=outputs.shape)
    assert least_cosine(stored, noisy) < LEAST_COSINE


def test_another_number_of_vectors_is_a_mismatch() -> None:
    with pytest.raises(VisualSearchError, match=r"returned \[1, 3\] for its reference inputs") as caught:
        least_cosine(reference(), np.ones((1, 3), np.float32))
    assert caught.value.code == "model_mismatch"


@pytest.mark.parametrize(("height", "width"), [(8, 6), (224, 224), (1, 1), (336, 100)])
def test_the_drawn_pictures_differ_and_never_change(height: int, width: int) -> None:
    spec = replace(SPEC, height=height, width=width)
    pictures = drawn_pictures(spec)
    assert pictures.shape == (3, height, width, 3)
    assert pictures.dtype == np.uint8
    np.testing.assert_array_equal(pictures, drawn_pictures(spec))
    assert len({picture.tobytes() for picture in pictures}) == 3


def test_the_texts_are_of_tokens_that_the_tokenizer_knows(tmp_path: Path) -> None:
    towers = write_two_towers(tmp_path)
    text = load_tower(tmp_path, f"{TWO_TOWERS}-text")
    assert isinstance(text, TextSpec)
    rows = reference_inputs(tmp_path, text)
    start, end = rows[0, 0], rows.max()
    assert rows.shape == (3, text.context_length)
    assert rows.dtype == np.int32
    for row in rows:
        last = int(row.argmax())
        assert (row[0], row[last]) == (start, end)
        assert (row[1:last] > 0).all()
        assert not row[last + 1 :].any()
    assert len({row.tobytes() for row in rows}) == 3
    assert towers.text == text


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model": {"vocab": {"a": "b"}}}'])
def test_a_tokenizer_that_can_not_be_read_is_named(tmp_path: Path, content: str) -> None:
    text = write_two_towers(tmp_path).text
    assert text is not None
    tokenizer_path(tmp_path, text).write_text(content)
    with pytest.raises(VisualSearchError, match=r"tokenizer\.json of the model 'colours-text'") as caught:
        reference_inputs(tmp_path, text)
    assert caught.value.code == "model_invalid"
