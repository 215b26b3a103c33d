"""Reads the model repository: a folder of entries in Triton's layout, `<name>/config.pbtxt` and `<name>/1/model.onnx`."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Final

from executors.errors import VisualSearchError
from executors.models.pbtxt import spec_from_pbtxt
from executors.models.spec import ModelSpec

CONFIG_FILE: Final = "config.pbtxt"
MODEL_FILE: Final = "1/model.onnx"

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_DIGEST_DIGITS: Final = 16


def load_spec(models_dir: Path, name: str) -> ModelSpec:
    """Read what an entry's configuration declares; the model file itself is not opened.

    Raises:
        VisualSearchError: `model_missing`, with the command that makes it; `model_invalid`, with what differs.
    """
    if not _NAME.fullmatch(name):
        raise VisualSearchError("model_missing", f"{name!r} is not the name of a model", model=name)
    try:
        text = (models_dir / name / CONFIG_FILE).read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(name, "is not in VS_MODELS_DIR") from None
    except (OSError, UnicodeDecodeError) as error:
        message = f"the configuration of the model {name!r} can't be read ({type(error).__name__})"
        raise VisualSearchError("model_invalid", message, model=name) from None
    spec = spec_from_pbtxt(text, name)
    if not spec.model_id:
        message = f"the configuration of the model {name!r} has no parameter model_id; `{build_command(name)}` adds it"
        raise VisualSearchError("model_invalid", message, model=name)
    return spec


def model_path(models_dir: Path, name: str) -> Path:
    """Where the model file of an entry is."""
    return models_dir / name / MODEL_FILE


def check_model(models_dir: Path, name: str) -> ModelSpec:
    """Compare the model file with the digest in the entry's `model_id`; reads the whole file.

    Raises:
        VisualSearchError: `model_missing` or `model_invalid`.
    """
    spec = load_spec(models_dir, name)
    try:
        actual = model_id_of(spec, model_path(models_dir, name))
    except FileNotFoundError:
        raise _missing(name, "has a configuration, but no model file") from None
    except OSError as error:
        message = f"the file of the model {name!r} can't be read ({type(error).__name__})"
        raise VisualSearchError("model_invalid", message, model=name) from None
    if actual != spec.model_id:
        message = (
            f"the file of the model {name!r} does not fit its configuration: it is {actual}, "
            f"expected {spec.model_id}; `{build_command(name)}` makes it anew"
        )
        raise VisualSearchError("model_invalid", message, model=name, expected=spec.model_id, actual=actual)
    return spec


def model_id_of(spec: ModelSpec, file: Path) -> str:
    """`name@digest`, SHA-256 over the file's SHA-256 and the canonical JSON of the preprocessing, cut to 64 bits.

    Raises:
        OSError: the file can't be read.
    """
    with file.open("rb") as stream:
        file_digest = hashlib.file_digest(stream, "sha256").hexdigest()
    preprocessing = {
        "crop_fraction": spec.crop_fraction if spec.fit == "centre_crop" else 1.0,
        "fit": spec.fit,
        "height": spec.height,
        "width": spec.width,
    }
    canonical = json.dumps(preprocessing, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(f"{file_digest}\n{canonical}".encode()).hexdigest()
    return f"{spec.name}@{digest[:_DIGEST_DIGITS]}"


def build_command(name: str) -> str:
    """What a person types to make an entry."""
    return f"visual-search models build {name}"


def _missing(name: str, what: str) -> VisualSearchError:
    message = f"the model {name!r} {what}; `{build_command(name)}` makes it"
    return VisualSearchError("model_missing", message, model=name, command=build_command(name))
