from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from executors.errors import VisualSearchError
from executors.models.convert.clip import convert_textual, convert_visual
from tests.support.models.two_towers import (
    CONTEXT_LENGTH,
    DIMENSION,
    MEAN,
    SCALE,
    SIDE,
    textual_model,
    visual_model,
)

PICTURES = np.random.default_rng(1).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
# Start, some words, end (the highest id), padding; the second text has the maximum length.
TOKENS = np.zeros((3, CONTEXT_LENGTH), np.int64)
TOKENS[0, :4] = (538, 513, 521, 539)
TOKENS[1] = [538, *range(513, 513 + CONTEXT_LENGTH - 2), 539]
TOKENS[2, :2] = (538, 539)


def visual(source: Path, **changes: Any) -> bytes:
    options: dict[str, Any] = {"height": SIDE, "width": SIDE, "dimension": DIMENSION, "mean": MEAN, "scale": SCALE}
    return convert_visual(source, **(options | changes))


def textual(source: Path, **changes: Any) -> bytes:
    return convert_textual(source, **({"context_length": CONTEXT_LENGTH, "dimension": DIMENSION} | changes))[0]


def saved(folder: Path, model: onnx.ModelProto) -> Path:
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def session(model: bytes | Path) -> Any:
    source = str(model) if isinstance(model, Path) else model
    return onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])


def run(model: bytes | Path, **inputs: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(session(model).run(None, inputs)[0])


def unit(vectors: NDArray[Any]) -> NDArray[Any]:
    return vectors / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)


@pytest.mark.parametrize("opset", [7, 11, 13, 17, 18, 21])
@pytest.mark.parametrize("ir_version", [3, 8])
def test_the_image_tower_gives_what_the_original_gives_for_normalised_pictures(
    tmp_path: Path, opset: int, ir_version: int
) -> None:
    source = saved(tmp_path, visual_model(opset=opset, ir_version=ir_version))
    planes = ((PICTURES - np.array(MEAN)) / np.array(SCALE)).transpose(0, 3, 1, 2).astype(np.float32)
    expected = unit(run(source, pixel_values=planes))
    made = visual(source)
    onnx.checker.check_model(onnx.load_from_string(made), full_check=True)
    found = run(made, image=PICTURES)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(run(made, image=PICTURES[:1]), found[:1], atol=1e-6)
    assert [each.name for each in session(made).get_inputs()] == ["image"]
    assert session(made).get_inputs()[0].shape == ["batch", SIDE, SIDE, 3]


@pytest.mark.parametrize(("opset", "ir_version"), [(11, 3), (12, 6), (13, 7), (17, 8), (18, 8)])
@pytest.mark.parametrize(("kind", "dtype"), [(TensorProto.INT32, np.int32), (TensorProto.INT64, np.int64)])
def test_the_text_tower_gives_what_the_original_gives(
    tmp_path: Path, opset: int, ir_version: int, kind: int, dtype: type[np.generic]
) -> None:
    source = saved(tmp_path, textual_model(opset=opset, ir_version=ir_version, kind=kind))
    tokens = TOKENS.astype(dtype)
    made, declared = convert_textual(source, context_length=CONTEXT_LENGTH, dimension=DIMENSION)
    assert declared == ("INT32" if kind == TensorProto.INT32 else "INT64")
    np.testing.assert_allclose(run(made, tokens=tokens), unit(run(source, input_ids=tokens)), atol=1e-6)


@pytest.mark.parametrize("opset", [12, 17, 18])
def test_an_attention_mask_is_computed_inside(tmp_path: Path, opset: int) -> None:
    """clip-server's exports take one. As in CLIP, the end token tells padding from the token with the same id."""
    source = saved(tmp_path, textual_model(opset=opset, mask=True))
    tokens = TOKENS.astype(np.int32)
    tokens[0, 1] = 0  # a real token whose id is that of padding
    mask = np.arange(CONTEXT_LENGTH)[None] <= tokens.argmax(axis=1)[:, None]
    expected = run(source, input_ids=tokens, attention_mask=mask.astype(np.int32))
    unmasked = run(source, input_ids=tokens, attention_mask=np.ones_like(tokens))
    assert not np.allclose(unit(expected), unit(unmasked), atol=1e-2), (
        "the mask must matter for this test to mean a thing"
    )
    np.testing.assert_allclose(run(textual(source), tokens=tokens), unit(expected), atol=1e-6)


@pytest.mark.parametrize("name", ["image", "embedding", "planes", "tokens", "length", "vectors"])
def test_no_name_of_the_original_is_in_the_way(tmp_path: Path, name: str) -> None:
    source = saved(tmp_path, visual_model(input_name=name, output_name="output", opset=18))
    assert run(visual(source), image=PICTURES).shape == (3, DIMENSION)
    source = saved(tmp_path, textual_model(input_name="input_ids", output_name=name, opset=18))
    assert run(textual(source), tokens=TOKENS.astype(np.int32)).shape == (3, DIMENSION)


def test_open_axes_get_their_size_from_the_manifest(tmp_path: Path) -> None:
    made = visual(saved(tmp_path, visual_model(side="side")))
    assert session(made).get_inputs()[0].shape == ["batch", SIDE, SIDE, 3]
    made = textual(saved(tmp_path, textual_model(length="tokens")))
    assert session(made).get_inputs()[0].shape == ["batch", CONTEXT_LENGTH]


def test_an_export_that_declares_a_batch_of_one_takes_any(tmp_path: Path) -> None:
    made = visual(saved(tmp_path, visual_model(batch=1)))
    np.testing.assert_allclose(
        run(made, image=PICTURES), run(visual(saved(tmp_path, visual_model())), image=PICTURES), atol=1e-6
    )


def test_half_precision_is_taken(tmp_path: Path) -> None:
    source = saved(tmp_path, visual_model(kind=TensorProto.FLOAT16))
    made = visual(source)
    full = visual(saved(tmp_path, visual_model()))
    found = run(made, image=PICTURES)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, run(full, image=PICTURES), atol=5e-3)


def test_the_output_with_vectors_is_found_among_others(tmp_path: Path) -> None:
    model = visual_model()
    model.graph.output.append(helper.make_tensor_value_info("colour", TensorProto.FLOAT, ["batch", 3]))
    made = session(visual(saved(tmp_path, model)))
    assert [each.name for each in made.get_outputs()] == ["embedding"]


def test_subgraphs_keep_what_they_capture(tmp_path: Path) -> None:
    """A branch of an `If` refers to a value of the graph around it, and to a constant."""
    branch = helper.make_graph(
        [helper.make_node("Mul", ["made", "two"], ["chosen"])],
        "branch",
        [],
        [helper.make_tensor_value_info("chosen", TensorProto.FLOAT, None)],
    )
    other = onnx.GraphProto.FromString(branch.SerializeToString())
    other.node[0].op_type = "Add"
    model = visual_model(output_name="made")
    model.graph.initializer.extend(
        [numpy_helper.from_array(np.float32(2), "two"), numpy_helper.from_array(np.array(True), "yes")]
    )
    model.graph.node.append(helper.make_node("If", ["yes"], ["result"], then_branch=branch, else_branch=other))
    model.graph.output[0].name = "result"
    made = run(visual(saved(tmp_path, model)), image=PICTURES)
    np.testing.assert_allclose(made, run(visual(saved(tmp_path, visual_model())), image=PICTURES), atol=1e-6)


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    source = saved(tmp_path, visual_model())
    assert visual(source) == visual(source)


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        (
            visual_model(side=SIDE + 1),
            r"'pixel_values' has the shape \['\?', 3, 17, 17\], expected \['batch', 3, 16, 16\]",
        ),
        (textual_model(), "'input_ids' is INT32, expected FLOAT or FLOAT16"),
        (textual_model(mask=True), "its inputs are input_ids, attention_mask, expected 1"),
    ],
    ids=["size", "text tower", "two inputs"],
)
def test_an_image_tower_that_does_not_fit_is_refused(tmp_path: Path, model: onnx.ModelProto, fault: str) -> None:
    with pytest.raises(VisualSearchError, match=fault) as caught:
        visual(saved(tmp_path, model))
    assert caught.value.code == "model_invalid"
    assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize(
    ("model", "changes", "fault"),
    [
        (visual_model(), {}, "'pixel_values' is FLOAT, expected INT32 or INT64"),
        (textual_model(length=5), {}, r"\['\?', 5\], expected \['batch', 16\]"),
        (textual_model(), {"dimension": 9}, r"'output' has the shape \['\?', 8\], expected \['batch', 9\]"),
    ],
    ids=["image tower", "length", "dimension"],
)
def test_a_text_tower_that_does_not_fit_is_refused(
    tmp_path: Path, model: onnx.ModelProto, changes: dict[str, int], fault: str
) -> None:
    with pytest.raises(VisualSearchError, match=fault) as caught:
        textual(saved(tmp_path, model), **changes)
    assert caught.value.code == "model_invalid"


@pytest.mark.parametrize(
    "content", [b"", b"\x00\x01garbage", b"<html>not found</html>"], ids=["empty", "garbage", "page"]
)
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "visual.onnx").write_bytes(content)
    with pytest.raises(VisualSearchError, match=r"'visual\.onnx' does not fit") as caught:
        visual(tmp_path / "visual.onnx")
    assert caught.value.code == "model_invalid"


def test_a_file_that_protobuf_can_not_hold_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "visual.onnx").open("wb") as file:
        file.truncate(2**31 + 1)
    with pytest.raises(VisualSearchError, match="2 GB") as caught:
        visual(tmp_path / "visual.onnx")
    assert caught.value.code == "model_invalid"


def test_weights_in_files_of_their_own_are_refused(tmp_path: Path) -> None:
    onnx.save(visual_model(), tmp_path / "v.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(VisualSearchError, match="files of their own"):
        visual(tmp_path / "v.onnx")
