"""Builds entries of the model repository, each completely or not at all."""

from __future__ import annotations

import fcntl
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from executors.errors import VisualSearchError
from executors.models.convert.converters import convert, declared_config, declared_tower, stored_reference
from executors.models.fetch.sources import local_file
from executors.models.identity import Progress, stamp_entry, stamp_faults
from executors.models.listing import require_known
from executors.models.manifest import ManifestModel, load_manifest
from executors.models.pbtxt import parameters_from_pbtxt
from executors.models.reference import read_reference
from executors.models.repository import (
    CONFIG_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    check_tower,
    files_of_model,
    first_version,
    load_tower,
    load_towers,
    model_path,
    no_version,
    parse_choice,
    read_parameters,
    versions_of,
)
from executors.models.spec import ModelSpec, TextSpec, Tower
from executors.models.user_additions import keep_additions, refuse_foreign_entry
from executors.settings import Settings
from executors.settings.folders import check_folder


@dataclass(frozen=True, slots=True)
class BuildReport:
    """The result of `build_model`; `reason` says why an existing entry was rebuilt.

    `model_id` is of the version that was named, or of the lowest; so is `bytes`, including its text tower.
    """

    name: str
    model_id: str
    result: Literal["built", "rebuilt", "unchanged"]
    reason: str
    bytes: int
    seconds: float


def build_default_model(chosen: Settings, progress: Progress) -> None:
    """Make the default model if it is the chosen one and missing. Others need a download, which the user has to
    request.

    Raises:
        VisualSearchError: those of `build_model`.
    """
    name = str(Settings.model_fields["model"].default)
    if parse_choice(chosen.model)[0] == name and not (chosen.models_dir / name).exists():
        check_folder("VS_MODELS_DIR", chosen.models_dir)
        progress(f"the model {name} is not in {chosen.models_dir} yet")
        build_model(name, chosen.models_dir, progress)


def build_model(
    name: str,
    models_dir: Path,
    progress: Progress | None = None,
    manifest: Mapping[str, ManifestModel] | None = None,
) -> BuildReport:
    """Make an entry of the repository, unless it is there, intact and of the current revision.

    A model of the manifest is made from its published files. Any other name is an entry of the user's own,
    `config.pbtxt` and `1/model.onnx`: it is run, and gets its identity and its reference; so does a further version
    folder of either kind.

    A configuration whose tuning (instance groups, batching, …) was changed by hand is kept as long as the entry is
    intact; see `keep_additions` for the parts that are kept otherwise. An entry that was not made from the manifest's
    model of that name is never replaced. Version 1 is not made again if it was removed and another version exists.
    Several processes may build at once: one does, the others wait and find it done.

    Args:
        name: a model of the manifest, or an entry of the repository; with `name:2` its version 2 has to exist, and is
            the one that is reported.
        models_dir: the repository; made if there is none.
        progress: is given a line for each step.
        manifest: the models that can be made; by default those of the package.

    Raises:
        VisualSearchError: `model_missing` for an unknown name or version, or files that are not here, `model_invalid`
            when a file is damaged or does not fit, or an entry is not ours to replace, `storage_unavailable` when the
            folder can't be written.
    """
    name, version = parse_choice(name)
    models = load_manifest() if manifest is None else manifest
    require_known(models_dir, name, models)
    if version != 1 and version not in versions_of(models_dir, name):
        raise no_version(models_dir, name, version)
    tell = progress or (lambda line: None)
    started = time.monotonic()
    result: Literal["built", "rebuilt", "unchanged"] = "unchanged"
    reason = ""
    try:
        # This is checked before any lock is taken, so that an intact entry on a read-only disk works.
        if (model := models.get(name)) and outdated(model, models_dir):
            models_dir.mkdir(parents=True, exist_ok=True)
            with _one_builder(models_dir, model.entries):
                if fault := outdated(model, models_dir):
                    result, reason = ("rebuilt", fault) if (models_dir / name).exists() else ("built", "")
                    tell(f"{name}: {reason}; rebuilding it" if reason else f"{name}: building it")
                    _build(model, models_dir, tell)
        if faults := stamp_faults(models_dir, name):
            with _one_builder(models_dir, _entries(models_dir, name)):
                if stamp_faults(models_dir, name):
                    known = any(key.startswith("model_id") for key in read_parameters(models_dir, name))
                    result, reason = ("rebuilt", faults[0]) if known else ("built", "")
                    stamp_entry(models_dir, name, tell)
        tower = load_tower(models_dir, f"{name}:{first_version(models_dir, name) if version == 1 else version}")
        if tower.version != version:
            choice = f"{name}:{tower.version}"
            tell(f"{name}: it has no version 1; {choice} is the lowest that it has, which VS_MODEL={choice} chooses")
        size = _size_of(models_dir, tower)
    except OSError as error:
        message = f"the model repository can't be written: {error.strerror or type(error).__name__}"
        raise VisualSearchError("storage_unavailable", message, model=name) from None
    seconds = time.monotonic() - started
    tell(f"{name}: {result}, {tower.model_id}, {size / 1e6:.1f} MB, {seconds:.1f} s")
    return BuildReport(name, tower.model_id, result, reason, size, seconds)


def outdated(model: ManifestModel, models_dir: Path) -> str:
    """The reason to build a model's entries: missing, damaged, or outdated; empty if there is none.

    If version 1 was removed and another version exists, the user wanted that, and the entry is left unchanged.
    """
    if first_version(models_dir, model.name) != 1:
        return ""
    try:
        for name in model.entries:
            tower = load_tower(models_dir, name)
            check_tower(models_dir, tower)
            ours = replace(declared_tower(model, name), model_id=tower.model_id, max_batch_size=tower.max_batch_size)
            if isinstance(ours, TextSpec) and isinstance(tower, TextSpec):
                ours = replace(ours, input_type=tower.input_type)
            there = read_parameters(models_dir, name)
            wanted = parameters_from_pbtxt(declared_config(model, name), name)
            if tower != ours or any(there.get(key) != value for key, value in wanted.items()):
                return "its configuration is of another revision"
            if read_reference(models_dir, tower) is None:
                return "it has no stored reference"
        load_towers(models_dir, model.name)
    except VisualSearchError as error:
        return error.message
    return ""


def _entries(models_dir: Path, name: str) -> list[str]:
    """The names of an entry and of its text tower's entry."""
    text = read_parameters(models_dir, name).get("text_model")
    return [name, text] if text else [name]


def _size_of(models_dir: Path, tower: Tower) -> int:
    """Bytes of a model's files, and of its text tower's."""
    choice = f"{tower.name}:{tower.version}"
    towers = load_towers(models_dir, choice) if isinstance(tower, ModelSpec) else (tower,)
    models = (model_path(models_dir, each.name, each.version) for each in towers)
    return sum(file.stat().st_size for model in models for file in files_of_model(model))


@contextmanager
def _one_builder(models_dir: Path, names: Sequence[str]) -> Iterator[None]:
    """Hold the entries' locks, which end with the process, and remove the remains of a killed builder.

    The lock of an image model is always taken before its text tower's.
    """
    name, *others = names
    with (models_dir / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in models_dir.glob(f".{name}.tmp-*"):
            for old in leftover.glob("old/*"):
                if not (models_dir / old.name).exists():
                    old.rename(models_dir / old.name)
            shutil.rmtree(leftover)
        if not others:
            yield
            return
        with _one_builder(models_dir, others):
            yield


def _build(model: ManifestModel, models_dir: Path, tell: Progress) -> None:
    """Write the entries beside their places, then move them there; both are on the same file system."""
    for name in model.entries:
        refuse_foreign_entry(models_dir, model, name)
    files = {role: local_file(file, models_dir) for role, file in model.files.items()}
    tell(f"{model.name}: converting {', '.join(sorted(file.name for file in model.files.values()))}")
    work = models_dir / f".{model.name}.tmp-{uuid.uuid4().hex}"
    try:
        for draft in convert(model, files):
            entry = work / "new" / draft.name
            file = entry / MODEL_FILE
            file.parent.mkdir(parents=True)
            file.write_bytes(draft.model)
            (entry / CONFIG_FILE).write_text(draft.config, "utf-8")
            if draft.tokenizer is not None:
                (entry / TOKENIZER_FILE).write_text(draft.tokenizer, "utf-8")
            if (reference := stored_reference(draft.name)) is not None:
                (entry / "reference.npz").write_bytes(reference)
            keep_additions(models_dir / draft.name, entry, tell)
        stamp_entry(work / "new", model.name, tell)
        (work / "old").mkdir()
        for name in reversed(model.entries):
            if (models_dir / name).exists():
                (models_dir / name).rename(work / "old" / name)
            (work / "new" / name).rename(models_dir / name)
    finally:
        shutil.rmtree(work, ignore_errors=True)
