"""A tiny model of CLIP's shape: an image tower and a text tower whose vectors share one space, that of colours.

A picture's vector is its mean colour, a text's that of the colours that it names: "a red car" is nearest to a red picture.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from executors.models.build import build_model
from executors.models.fetch.sources import download_path
from executors.models.manifest import ManifestFile, ManifestModel
from executors.models.repository import load_towers
from executors.models.spec import Towers

TWO_TOWERS: Final = "colours"
SIDE: Final = 16
DIMENSION: Final = 8
CONTEXT_LENGTH: Final = 16
MEAN: Final = (122.7709383, 116.7460125, 104.09373615)
SCALE: Final = (68.5005327, 66.6321579, 70.32316305)
COLOURS: Final = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "black": (0, 0, 0),
    "white": (255, 255, 255),
}
OTHER_WORDS: Final = ("car", "photo")
_BYTES: Final = 512
# What the start token adds, so that a text without a colour has a direction, too.
_NEUTRAL: Final = 0.05


def colour_picture(name: str, side: int = SIDE) -> NDArray[np.uint8]:
    """A picture of one colour, side x side x 3 uint8."""
    return np.full((side, side, 3), COLOURS[name], np.uint8)


def merges() -> list[tuple[str, str]]:
    """Merges that make one token of each known word."""
    made: list[tuple[str, str]] = []
    for word in (*COLOURS, *OTHER_WORDS):
        parts = [*word[:-1], word[-1] + "</w>"]
        for pair in made:  # what the merges of the words before make of it already
            parts = _merged(parts, pair)
        while len(parts) > 1:
            made.append((parts[0], parts[1]))
            parts = _merged(parts, made[-1])
    return made


def _merged(parts: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return merged


def write_vocabulary(file: Path) -> Path:
    """A vocabulary in the format of CLIP's."""
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges()), ""]
    file.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    return file


def visual_model(
    *,
    seed: int = 0,
    side: int | str = SIDE,
    batch: int | str = "batch",
    opset: int = 17,
    ir_version: int = 8,
    kind: int = TensorProto.FLOAT,
    input_name: str = "pixel_values",
    output_name: str = "output",
) -> onnx.ModelProto:
    """N x 3 x side x side normalised floats to N x 8, not of unit length, as CLIP's export gives them."""
    nodes = [
        helper.make_node("GlobalAveragePool", [input_name], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["colour"], axis=1),
        helper.make_node("MatMul", ["colour", "space"], [output_name]),
    ]
    inputs = [helper.make_tensor_value_info(input_name, kind, [batch, 3, side, side])]
    outputs = [helper.make_tensor_value_info(output_name, kind, [batch, DIMENSION])]
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    return _model(nodes, inputs, outputs, {"space": _space(seed).astype(dtype)}, opset, ir_version)


def textual_model(
    *,
    seed: int = 0,
    length: int | str = CONTEXT_LENGTH,
    batch: int | str = "batch",
    opset: int = 17,
    ir_version: int = 8,
    kind: int = TensorProto.INT32,
    mask: bool = False,
    input_name: str = "input_ids",
    output_name: str = "output",
) -> onnx.ModelProto:
    """N x L tokens to N x 8. With `mask`, a second input says which tokens count, and padding would not be neutral."""
    table = np.zeros((_BYTES + len(merges()) + 2, 3), np.float32)
    tokens = ["".join(pair) for pair in merges()]
    for name, colour in COLOURS.items():
        table[_BYTES + tokens.index(f"{name}</w>")] = (np.array(colour) - MEAN) / SCALE
    table[-2] = _NEUTRAL
    table[0] = (3.0, -3.0, 1.0) if mask else 0.0
    nodes = [helper.make_node("Gather", ["table", input_name], ["each"])]
    inputs = [helper.make_tensor_value_info(input_name, kind, [batch, length])]
    constants = {"table": table, "space": _space(seed)}
    if mask:
        inputs.append(helper.make_tensor_value_info("attention_mask", kind, [batch, length]))
        nodes += [
            helper.make_node("Cast", ["attention_mask"], ["counts"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["counts", "last"] if opset >= 13 else ["counts"], ["column"]),
            helper.make_node("Mul", ["each", "column"], ["real"]),
        ]
        if opset >= 13:
            constants["last"] = np.array([2], np.int64)
        else:
            nodes[-2].attribute.append(helper.make_attribute("axes", [2]))
    nodes += [
        # A mean, not a sum: its axes are an attribute in every operator set up to 17.
        helper.make_node("ReduceMean", ["real" if mask else "each"], ["colour"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["colour", "space"], [output_name]),
    ]
    if opset >= 18:
        del nodes[-2].attribute[0]
        nodes[-2].input.append("axes")
        constants["axes"] = np.array([1], np.int64)
    outputs = [helper.make_tensor_value_info(output_name, TensorProto.FLOAT, [batch, DIMENSION])]
    return _model(nodes, inputs, outputs, constants, opset, ir_version)


def two_tower_model(folder: Path, name: str = TWO_TOWERS, *, seed: int = 0, **textual: Any) -> ManifestModel:
    """Write the published files of a two-tower model into a folder, and what a manifest says of them."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(visual_model(seed=seed), folder / "visual.onnx")
    onnx.save(textual_model(seed=seed, **textual), folder / "textual.onnx")
    write_vocabulary(folder / "vocabulary.txt.gz")
    return declared_model(folder, name)


def declared_model(folder: Path, name: str = TWO_TOWERS, **changes: Any) -> ManifestModel:
    """Return the manifest entries of the files in a folder, with their checksums."""
    files = {"visual": "visual.onnx", "textual": "textual.onnx", "vocabulary": "vocabulary.txt.gz"}
    fields: dict[str, Any] = {
        "name": name,
        "kind": "clip",
        "licence": "Apache-2.0",
        "source": "https://example.org/colours",
        "dimension": DIMENSION,
        "height": SIDE,
        "width": SIDE,
        "layout": "NCHW",
        "mean": MEAN,
        "scale": SCALE,
        "fit": "squash",
        "context_length": CONTEXT_LENGTH,
        "converter": "clip",
        "run_here": True,
        "files": {role: _declared_file(name, role, folder / file) for role, file in files.items()},
    }
    return ManifestModel.model_validate(fields | changes)


def manifest_text(model: ManifestModel) -> str:
    """The manifest of one model, as TOML: what VS_MODELS_MANIFEST may point to."""
    fields = model.model_dump(exclude={"name", "files"}, exclude_none=True)
    lines = [f'[models."{model.name}"]', *(f"{key} = {_toml(value)}" for key, value in fields.items())]
    for role, file in model.files.items():
        lines.append(f'[models."{model.name}".files.{role}]')
        entries = file.model_dump(exclude={"model", "role"}, exclude_none=True)
        lines += [f"{key} = {_toml(value)}" for key, value in entries.items()]
    return "\n".join(lines) + "\n"


def place_files(model: ManifestModel, folder: Path, models_dir: Path) -> None:
    """Put the published files where `models pull` would have put them."""
    models_dir.mkdir(parents=True, exist_ok=True)
    for file in model.files.values():
        shutil.copyfile(folder / file.name, download_path(file, models_dir))


def write_two_towers(models_dir: Path, name: str = TWO_TOWERS, **options: Any) -> Towers:
    """Ready entries `name` and `name`-text, built the way a downloaded CLIP is; the published files are gone again."""
    folder = models_dir.with_name(f"{models_dir.name}-{name}-files")
    model = two_tower_model(folder, name, **options)
    place_files(model, folder, models_dir)
    build_model(name, models_dir, manifest={name: model})
    for file in model.files.values():
        download_path(file, models_dir).unlink()
    shutil.rmtree(folder)
    return load_towers(models_dir, name)


def _declared_file(model: str, role: str, file: Path) -> ManifestFile:
    content = file.read_bytes()
    return ManifestFile(
        model=model,
        role=role,
        name=file.name,
        size=len(content),
        checksum=f"sha256:{hashlib.sha256(content).hexdigest()}",
        url=file.absolute().as_uri(),
    )


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    return f"[{', '.join(str(each) for each in value)}]" if isinstance(value, tuple) else str(value)


def _space(seed: int) -> NDArray[np.float32]:
    """3 x 8 with orthogonal rows: colours keep their angles in the space of vectors, which another seed turns."""
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(DIMENSION, 3)))
    return np.ascontiguousarray(2.5 * basis.T).astype(np.float32)


def _model(
    nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: dict[str, Any], opset: int, ir_version: int
) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    if ir_version < 4:  # where constants are inputs as well
        inputs = [
            *inputs,
            *(helper.make_tensor_value_info(each.name, each.data_type, list(each.dims)) for each in initializers),
        ]
    graph = helper.make_graph(nodes, "main", inputs, outputs, initializers)
    model = helper.make_model(graph, ir_version=ir_version, opset_imports=[helper.make_opsetid("", opset)])
    onnx.checker.check_model(model)
    return model
