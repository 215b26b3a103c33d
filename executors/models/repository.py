"""Reads the model repository: a folder of entries in Triton's layout.

An entry has `<name>/config.pbtxt`, `<name>/<version>/model.onnx`, and files that Triton ignores: `<name>/reference.npz`
(see `reference.py`) and, for a text tower, `<name>/tokenizer.json`. A model is chosen by `name`, or by `name:2` for its
version folder 2.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any, Final

from executors.errors import VisualSearchError
from executors.files.reading import open_plain, read_text
from executors.models.pbtxt import KIND_TEXT, parameters_from_pbtxt, spec_from_pbtxt, tower_from_pbtxt, versioned
from executors.models.spec import ModelSpec, TextSpec, Tower, Towers

CONFIG_FILE: Final = "config.pbtxt"
MODEL_FILE: Final = "1/model.onnx"
TOKENIZER_FILE: Final = "tokenizer.json"

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_CHOICE: Final = re.compile(rf"({_NAME.pattern})(?::([1-9][0-9]{{0,8}}))?")
_ID_KEY: Final = re.compile(r"model_id(?:_v([1-9][0-9]*))?")
_DIGEST_DIGITS: Final = 16


def load_towers(models_dir: Path, model: str) -> Towers:
    """Read the configurations of a model and of its text tower; the model files are not opened.

    Args:
        models_dir: the model repository.
        model: `name`, or `name:2` for version 2.

    Raises:
        VisualSearchError: `model_missing`, with the command that makes it; `model_invalid`, with the differences: also
            when the text tower is not the one that the image model was built with.
    """
    spec = load_spec(models_dir, model)
    if not spec.text_model:
        return Towers(spec)
    wanted = _text_model_id(models_dir, spec)
    text_parameters = read_parameters(models_dir, spec.text_model)
    versions = {
        text_parameters[key]: int(found[1] or 1) for key in text_parameters if (found := _ID_KEY.fullmatch(key))
    }
    text = tower_from_pbtxt(read_config(models_dir, spec.text_model), spec.text_model, versions.get(wanted, 1))
    faults = []
    if not isinstance(text, TextSpec):
        faults.append(f"its parameter kind is not {KIND_TEXT!r}")
    if wanted not in versions:
        faults.append(f"it is {' and '.join(versions) or 'without a model_id'}, expected {wanted}")
    if text.dimension != spec.dimension:
        faults.append(f"its vectors have {text.dimension} numbers, expected {spec.dimension}")
    if faults or not isinstance(text, TextSpec):
        message = (
            f"the text tower {spec.text_model!r} does not belong to the model {model!r}: {'; '.join(faults)}; "
            f"`{build_command(spec.name)}` binds them again"
        )
        raise VisualSearchError("model_invalid", message, model=spec.name, text_model=spec.text_model, faults=faults)
    return Towers(spec, text)


def load_spec(models_dir: Path, model: str) -> ModelSpec:
    """Read an image model's configuration; the model file itself is not opened.

    Raises:
        VisualSearchError: as `load_towers`.
    """
    name, version = parse_choice(model)
    spec = spec_from_pbtxt(read_config(models_dir, name), name, version)
    _require_model_id(models_dir, spec)
    return spec


def load_tower(models_dir: Path, model: str) -> Tower:
    """Read one entry's configuration, for an image model or a text tower.

    Raises:
        VisualSearchError: as `load_towers`.
    """
    name, version = parse_choice(model)
    tower = tower_from_pbtxt(read_config(models_dir, name), name, version)
    _require_model_id(models_dir, tower)
    return tower


def parse_choice(model: str) -> tuple[str, int]:
    """Split `name:2` into the name and the version, which is 1 by default.

    Raises:
        VisualSearchError: `model_missing`, for a text that can't be the name of a model.
    """
    if not (choice := _CHOICE.fullmatch(model)):
        raise VisualSearchError("model_missing", f"{model!r} is not the name of a model", model=model)
    return choice[1], int(choice[2] or 1)


def read_config(models_dir: Path, name: str) -> str:
    """The text of an entry's configuration.

    Raises:
        VisualSearchError: `model_missing` or `model_invalid`.
    """
    if not _NAME.fullmatch(name):
        raise VisualSearchError("model_missing", f"{name!r} is not the name of a model", model=name)
    path = models_dir / name / CONFIG_FILE
    if not path.exists():
        if (models_dir / name).is_dir():
            message = f"the folder of the model {name!r} has no {CONFIG_FILE}, which says what its files are"
            raise VisualSearchError("model_missing", message, model=name)
        raise _missing(name, "is not in VS_MODELS_DIR")
    try:
        return read_text(path)
    except VisualSearchError as error:
        message = f"the configuration of the model {name!r} {error.message}"
        raise VisualSearchError("model_invalid", message, model=name) from None


def read_parameters(models_dir: Path, name: str) -> dict[str, str]:
    """The parameters of an entry's configuration.

    Raises:
        VisualSearchError: `model_missing` or `model_invalid`.
    """
    return parameters_from_pbtxt(read_config(models_dir, name), name)


def model_path(models_dir: Path, name: str, version: int = 1) -> Path:
    """The path of the model file of an entry."""
    return models_dir / name / str(version) / "model.onnx"


def tokenizer_path(models_dir: Path, tower: TextSpec) -> Path:
    """The path of a text tower's tokenizer: a file in the format of the `tokenizers` library."""
    return models_dir / tower.name / TOKENIZER_FILE


def versions_of(models_dir: Path, name: str) -> list[int]:
    """The numbers of an entry's version folders that hold a model file, ascending."""
    folders = (models_dir / name).glob("*/model.onnx")
    return sorted(int(file.parent.name) for file in folders if re.fullmatch("[1-9][0-9]*", file.parent.name))


def first_version(models_dir: Path, name: str) -> int:
    """The number of an entry's lowest version folder: 1, unless that was removed; also 1 if there is none."""
    return min(versions_of(models_dir, name), default=1)


def files_of_model(file: Path) -> list[Path]:
    """Every file of a model file's version folder, at any depth: weights may be in files of their own."""
    return sorted(Path(where, name) for where, _, names in os.walk(file.parent) for name in names)


def check_tower(models_dir: Path, tower: Tower) -> None:
    """Compare the tower's files (the model, the tokenizer) with the digest in its `model_id`; reads them whole.

    Raises:
        VisualSearchError: `model_missing` or `model_invalid`.
    """
    try:
        actual = model_id_of(tower, model_path(models_dir, tower.name, tower.version))
    except FileNotFoundError as error:
        if str(error.filename).endswith(TOKENIZER_FILE):
            raise _missing(tower.name, "has a configuration, but no tokenizer file") from None
        if versions_of(models_dir, tower.name):
            raise no_version(models_dir, tower.name, tower.version) from None
        raise _missing(tower.name, f"has a configuration, but no model file{_of_version(tower)}") from None
    except OSError as error:
        raise unreadable_model(tower, error) from None
    if actual != tower.model_id:
        message = (
            f"the file of the model {tower.name!r}{_of_version(tower)} does not fit its configuration: it is {actual}, "
            f"expected {tower.model_id}; `{build_command(tower.name)}` makes it again"
        )
        raise VisualSearchError("model_invalid", message, model=tower.name, expected=tower.model_id, actual=actual)


def check_model(models_dir: Path, model: str) -> ModelSpec:
    """Read an image model's configuration and check its file; see `load_spec` and `check_tower`."""
    spec = load_spec(models_dir, model)
    check_tower(models_dir, spec)
    return spec


def model_id_of(tower: Tower, file: Path) -> str:
    """`name@digest`: SHA-256 over that of the model and the canonical JSON of the preprocessing, cut to 64 bits.

    The model is `file`, with all other files in its folder, since weights may be in files of their own. A picture's
    preprocessing is how it is fitted to the input; a text's is the entry's tokenizer.

    Raises:
        OSError: a file can't be read.
    """
    if isinstance(tower, TextSpec):
        tokenizer = _digest_of(file.parents[1] / TOKENIZER_FILE)
        preprocessing: dict[str, Any] = {"context_length": tower.context_length, "tokenizer": tokenizer}
    else:
        preprocessing = {
            "crop_fraction": tower.crop_fraction if tower.fit == "centre_crop" else 1.0,
            "fit": tower.fit,
            "height": tower.height,
            "width": tower.width,
        }
    canonical = json.dumps(preprocessing, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(f"{_digest_of_model(file)}\n{canonical}".encode()).hexdigest()
    return f"{tower.name}@{digest[:_DIGEST_DIGITS]}"


def build_command(name: str) -> str:
    """The command that makes an entry."""
    return f"visual-search models build {name}"


def _digest_of(file: Path) -> str:
    with open_plain(file) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _digest_of_model(file: Path) -> str:
    """The SHA-256 of a single model file; for several files, that of the canonical JSON of their paths and SHA-256s.

    Raises:
        OSError: a file can't be read.
    """
    digests = {file.name: _digest_of(file)}
    others = (each for each in files_of_model(file) if each != file)
    digests |= {each.relative_to(file.parent).as_posix(): _digest_of(each) for each in others}
    if len(digests) == 1:
        return digests[file.name]
    canonical = json.dumps(digests, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _text_model_id(models_dir: Path, spec: ModelSpec) -> str:
    """The identity of the text tower that this version of the image model was built with."""
    key = versioned("text_model_id", spec.version)
    try:
        return read_parameters(models_dir, spec.name)[key]
    except KeyError:
        message = (
            f"the configuration of the model {spec.name!r} names the text tower {spec.text_model!r}, but has no parameter "
            f"{key}; `{build_command(spec.name)}` adds it"
        )
        raise VisualSearchError("model_invalid", message, model=spec.name, text_model=spec.text_model) from None


def _require_model_id(models_dir: Path, tower: Tower) -> None:
    if tower.model_id:
        return
    if not model_path(models_dir, tower.name, tower.version).is_file():
        raise no_version(models_dir, tower.name, tower.version)
    key = versioned("model_id", tower.version)
    command = build_command(tower.name)
    message = f"the configuration of the model {tower.name!r} has no parameter {key}; `{command}` adds it"
    raise VisualSearchError("model_invalid", message, model=tower.name)


def no_version(models_dir: Path, name: str, version: int) -> VisualSearchError:
    """The error `model_missing` for a version that an entry does not have."""
    there = versions_of(models_dir, name)
    message = f"the model {name!r} has no version {version} (a file {version}/model.onnx); versions that it has: "
    message += ", ".join(f"{each} ({name}:{each})" if version == 1 else str(each) for each in there) or "none"
    return VisualSearchError("model_missing", message, model=name, version=version, versions=there)


def unreadable_model(tower: Tower, error: OSError) -> VisualSearchError:
    """The error `model_invalid` for a tower with a file that can't be read."""
    name = Path(os.fsdecode(error.filename)).name if error.filename else MODEL_FILE
    message = f"the file {name} of the model {tower.name!r} can't be read: {error.strerror or type(error).__name__}"
    return VisualSearchError("model_invalid", message, model=tower.name)


def _of_version(tower: Tower) -> str:
    return "" if tower.version == 1 else f" of version {tower.version}"


def _missing(name: str, what: str) -> VisualSearchError:
    message = f"the model {name!r} {what}; `{build_command(name)}` makes it"
    return VisualSearchError("model_missing", message, model=name, command=build_command(name))
