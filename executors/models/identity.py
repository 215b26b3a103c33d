"""Identity of repository entries: digests in config.pbtxt, and references to compare other runs with.

Every model is run before it is stamped: a file that does not fit its configuration gets no identity.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeAlias

from executors.errors import VisualSearchError
from executors.models.pbtxt import (
    parameters_from_pbtxt,
    spec_from_pbtxt,
    tower_from_pbtxt,
    versioned,
    with_parameter,
    without_parameter,
)
from executors.models.reference import read_reference, write_reference
from executors.models.repository import (
    CONFIG_FILE,
    model_id_of,
    model_path,
    no_version,
    read_config,
    unreadable_model,
    versions_of,
)
from executors.models.run_onnx import make_reference
from executors.models.spec import TextSpec, Tower

Progress: TypeAlias = Callable[[str], None]

_OF_VERSION: Final = re.compile(r"(?:text_)?model_id(?:_v([1-9][0-9]*))?")


def stamp_faults(models_dir: Path, name: str) -> list[str]:
    """The reason to stamp an entry, including its text tower; empty if there is none. Reads the model files whole.

    Raises:
        VisualSearchError: `model_missing` or `model_invalid`, for a configuration that can't be used.
        OSError: a file can't be read.
    """
    text = _text_model(models_dir, name)
    faults = stamp_faults(models_dir, text) if text else []
    for tower in _identified(models_dir, name):
        faults += _tower_faults(models_dir, tower)
    if _stamped_config(models_dir, name) != read_config(models_dir, name) and not faults:
        faults.append(f"the identities in the configuration of {name!r} are not those of its files")
    return faults


def stamp_entry(models_dir: Path, name: str, tell: Progress) -> None:
    """Check and stamp each version of an entry, and its text tower before it; correct parts are not changed.

    Args:
        models_dir: the repository.
        name: an entry that has a configuration and at least one version, such as `1/model.onnx`.
        tell: is given a line for each step.

    Raises:
        VisualSearchError: `model_missing` or `model_invalid`; nothing of the entry is changed then.
        OSError: a file can't be read or written.
    """
    if text := _text_model(models_dir, name):
        stamp_entry(models_dir, text, tell)
    towers = _identified(models_dir, name)
    changed = [tower for tower in towers if _tower_faults(models_dir, tower)]
    references = []
    for tower in changed:
        tell(f"{name}: running {tower.model_id}, version {tower.version}, on {tower.input_type} inputs")
        references.append(make_reference(models_dir, tower))
    config = _stamped_config(models_dir, name)
    for tower, reference in zip(changed, references, strict=True):
        write_reference(models_dir, tower, reference)
    if config != read_config(models_dir, name):
        _write(models_dir / name / CONFIG_FILE, config)


def _text_model(models_dir: Path, name: str) -> str:
    """The entry of the text tower that belongs to an image model; empty for one without, and for a text tower."""
    tower = tower_from_pbtxt(read_config(models_dir, name), name)
    return "" if isinstance(tower, TextSpec) else tower.text_model


def _identified(models_dir: Path, name: str) -> list[Tower]:
    """The towers of an entry's version folders, with the current identity of their files.

    Raises:
        VisualSearchError: `model_missing` when there is no version, or no tokenizer.
    """
    config = read_config(models_dir, name)
    versions = versions_of(models_dir, name)
    if not versions:
        raise no_version(models_dir, name, 1)
    towers = (tower_from_pbtxt(config, name, version) for version in versions)
    return [replace(each, model_id=_actual_id(models_dir, each)) for each in towers]


def _actual_id(models_dir: Path, tower: Tower) -> str:
    try:
        return model_id_of(tower, model_path(models_dir, tower.name, tower.version))
    except FileNotFoundError as error:
        message = f"the model {tower.name!r} has no file {Path(str(error.filename)).name}"
        raise VisualSearchError("model_missing", message, model=tower.name) from None
    except OSError as error:
        raise unreadable_model(tower, error) from None


def _tower_faults(models_dir: Path, tower: Tower) -> list[str]:
    """The reasons why a tower can't be verified."""
    try:
        found = read_reference(models_dir, tower)
    except VisualSearchError as error:
        return [error.message]
    return [] if found else [f"the model {tower.name!r} has no stored reference of version {tower.version}"]


def _stamped_config(models_dir: Path, name: str) -> str:
    """The entry's configuration with the current identities of its files."""
    config = read_config(models_dir, name)
    wanted = {versioned("model_id", tower.version): tower.model_id for tower in _identified(models_dir, name)}
    if text := _text_model(models_dir, name):
        wanted |= _text_ids(models_dir, name, text)
    there = parameters_from_pbtxt(config, name)
    for key in there:
        if _OF_VERSION.fullmatch(key) and key not in wanted:
            config = without_parameter(config, key)
    for key, value in wanted.items():
        if there.get(key) != value:
            config = with_parameter(config, key, value)
    return config


def _text_ids(models_dir: Path, name: str, text: str) -> dict[str, str]:
    """`text_model_id` of each version: the text tower's same version, or its first if it has no such folder.

    Raises:
        VisualSearchError: `model_invalid` when that entry is no text tower, or its vectors are of another space.
    """
    towers = {tower.version: tower for tower in _identified(models_dir, text)}
    first = towers[min(towers)]
    image = spec_from_pbtxt(read_config(models_dir, name), name)
    faults = []
    if not isinstance(first, TextSpec):
        faults.append("its parameter kind is not 'text'")
    if first.dimension != image.dimension:
        faults.append(f"its vectors have {first.dimension} numbers, expected {image.dimension}")
    if faults:
        message = f"the text tower {text!r} does not belong to the model {name!r}: {'; '.join(faults)}"
        raise VisualSearchError("model_invalid", message, model=name, text_model=text, faults=faults)
    return {
        versioned("text_model_id", version): towers.get(version, first).model_id
        for version in versions_of(models_dir, name)
    }


def _write(file: Path, text: str) -> None:
    """Replace a file atomically."""
    part = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        part.write_text(text, "utf-8")
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
