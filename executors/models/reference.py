"""Stored reference outputs: a model's answers to fixed inputs, which must be the same on every machine and backend.

A file `<entry>/reference.npz` (`reference-2.npz` of version 2) has `inputs`, `outputs` and the `model_id` that made
them.
"""

from __future__ import annotations

import json
import uuid
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from executors.errors import VisualSearchError
from executors.files.reading import open_plain
from executors.models.repository import build_command, tokenizer_path
from executors.models.spec import DTYPES, ModelSpec, TextSpec, Tower

# Below this, other weights made the vectors. The same weights in half precision, or through TensorRT, stay above.
LEAST_COSINE: Final = 0.998

MOST_ROWS: Final = 4
_ROWS: Final = 3


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Inputs (n x `tower.input_shape` of `tower.input_type`, n <= 4) and outputs (n x D float32 of unit length)."""

    inputs: NDArray[Any]
    outputs: NDArray[np.float32]


def reference_path(models_dir: Path, tower: Tower) -> Path:
    """The path of the reference of one version of an entry."""
    suffix = "" if tower.version == 1 else f"-{tower.version}"
    return models_dir / tower.name / f"reference{suffix}.npz"


def read_reference(models_dir: Path, tower: Tower) -> Reference | None:
    """The stored reference of a tower; None if there is none.

    Raises:
        VisualSearchError: `model_invalid` when the file is damaged, does not fit the tower, or was made by another
            model.
    """
    try:
        with (
            open_plain(reference_path(models_dir, tower)) as stream,
            np.load(stream, allow_pickle=False) as content,
        ):
            inputs, outputs = content["inputs"], content["outputs"]
            made_by = str(content["model_id"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise _invalid(tower, f"can't be read ({type(error).__name__})") from None
    rows = len(inputs) if inputs.ndim else 0
    if not 1 <= rows <= MOST_ROWS or inputs.shape[1:] != tower.input_shape or inputs.dtype != DTYPES[tower.input_type]:
        raise _invalid(tower, f"has inputs of {inputs.dtype} {list(inputs.shape)}")
    if outputs.shape != (rows, tower.dimension) or outputs.dtype != np.float32 or not np.isfinite(outputs).all():
        raise _invalid(tower, f"has outputs of {outputs.dtype} {list(outputs.shape)}, or not finite")
    if made_by != tower.model_id:
        raise _invalid(tower, f"was made by {made_by}, expected {tower.model_id}")
    return Reference(inputs, outputs)


def write_reference(models_dir: Path, tower: Tower, reference: Reference) -> None:
    """Store a reference; the same one gives the same bytes.

    Raises:
        OSError: the file can't be written.
    """
    target = reference_path(models_dir, tower)
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with part.open("wb") as stream:
            np.savez_compressed(
                stream, inputs=reference.inputs, outputs=reference.outputs, model_id=np.array(tower.model_id)
            )
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def least_cosine(reference: Reference, outputs: NDArray[Any]) -> float:
    """The smallest cosine between a stored output and the current one; -1 for a vector that is not finite or is zero.

    Raises:
        VisualSearchError: `model_mismatch` when the outputs have another shape.
    """
    if outputs.shape != reference.outputs.shape:
        expected, got = list(reference.outputs.shape), list(outputs.shape)
        message = f"the model returned {got} for its reference inputs, expected {expected}"
        raise VisualSearchError("model_mismatch", message, expected=expected, got=got)
    exact, stored = outputs.astype(np.float64), reference.outputs.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(stored, axis=1)
    if not np.isfinite(lengths).all() or not lengths.all():
        return -1.0
    return float(((exact * stored).sum(axis=1) / lengths).min())


def reference_inputs(models_dir: Path, tower: Tower) -> NDArray[Any]:
    """The fixed inputs of a reference: drawn pictures, or texts of tokens that the tokenizer knows.

    Raises:
        VisualSearchError: `model_missing` or `model_invalid`, for the tokenizer of a text tower.
    """
    if isinstance(tower, TextSpec):
        return drawn_tokens(tower, _vocabulary(models_dir, tower))
    return drawn_pictures(tower)


def drawn_pictures(tower: ModelSpec) -> NDArray[np.uint8]:
    """Three pictures of gradients, discs and stripes, N x height x width x 3 uint8, by integer arithmetic alone."""
    y, x = np.mgrid[0 : tower.height, 0 : tower.width]
    # A grid of 32 x 32 fields of one colour each: structure that any model sees, in a file of a few kilobytes.
    y, x = y * 32 // tower.height * 8, x * 32 // tower.width * 8
    disc = ((x - 96) ** 2 + (y - 112) ** 2 < 64**2).astype(np.int64)
    ring = (((x - 170) ** 2 + (y - 150) ** 2) // 512 % 3 == 0).astype(np.int64)
    stripes = ((x + 2 * y) // 24 % 2).astype(np.int64)
    pictures = [
        (x, 200 - y // 2 - 90 * disc, 60 + 150 * disc),
        (230 - 150 * ring, 80 + y // 2, 40 + 100 * ring + x // 4),
        (30 + 180 * stripes * (1 - disc), x // 2 + 60 * stripes, 255 - y),
    ]
    return np.stack([np.stack(planes, axis=-1) for planes in pictures]).clip(0, 255).astype(np.uint8)


def drawn_tokens(tower: TextSpec, vocabulary: tuple[list[int], list[int], int]) -> NDArray[Any]:
    """Three rows of tokens (N x L): the first special one, some words, the last special one, padding.

    Args:
        tower: the text tower.
        vocabulary: ids of ordinary tokens, ids of special tokens, the id of padding.
    """
    words, special, padding = vocabulary
    rows = np.full((_ROWS, tower.context_length), padding, DTYPES[tower.input_type])
    for index, row in enumerate(rows):
        inner = min(3 + 2 * index, max(tower.context_length - 2, 1))
        chosen = [words[(97 * index + 31 * place + 7) % len(words)] for place in range(inner)] if words else []
        tokens = [*special[:1], *chosen, *special[-1:]][: tower.context_length]
        row[: len(tokens)] = tokens
    return rows


def _vocabulary(models_dir: Path, tower: TextSpec) -> tuple[list[int], list[int], int]:
    """Ids of ordinary tokens, ids of special tokens, and the id of padding, from a file of the `tokenizers` library."""
    try:
        with open_plain(tokenizer_path(models_dir, tower)) as stream:
            content = json.loads(stream.readall())
        known = content["model"]["vocab"]
        ids = range(len(known)) if isinstance(known, list) else known.values()
        special = sorted({int(token["id"]) for token in content.get("added_tokens") or ()})
        padding = int((content.get("padding") or {}).get("pad_id", 0))
        words = sorted({int(each) for each in ids} - {*special, padding})
    except FileNotFoundError:
        command = build_command(tower.name)
        message = f"the text tower {tower.name!r} has no tokenizer.json (in the format of the library `tokenizers`)"
        raise VisualSearchError("model_missing", message, model=tower.name, command=command) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"the tokenizer.json of the model {tower.name!r} can't be read ({type(error).__name__})"
        raise VisualSearchError("model_invalid", message, model=tower.name) from None
    return words, special, padding


def _invalid(tower: Tower, what: str) -> VisualSearchError:
    command = build_command(tower.name)
    message = f"the stored reference of the model {tower.name!r} {what}; `{command}` makes it again"
    return VisualSearchError("model_invalid", message, model=tower.name)
