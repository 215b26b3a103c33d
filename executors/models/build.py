"""Writes entries of the model repository, whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from executors.errors import VisualSearchError
from executors.models.catalogue import CATALOGUE, CatalogueEntry, catalogue_entry
from executors.models.pbtxt import parameters_from_pbtxt, with_parameter
from executors.models.repository import CONFIG_FILE, MODEL_FILE, check_model, load_spec, model_id_of, model_path

Progress: TypeAlias = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What `build_model` did; `reason` says why an entry that was there was built anew."""

    name: str
    model_id: str
    result: Literal["built", "rebuilt", "unchanged"]
    reason: str
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ModelListing:
    """One line of `models list`; `detail` says what is wrong. The digest of the file is not checked."""

    name: str
    state: Literal["ready", "missing", "invalid"]
    model_id: str | None
    dimension: int | None
    licence: str | None
    detail: str


def build_model(name: str, models_dir: Path, progress: Progress | None = None) -> BuildReport:
    """Make an entry of the repository, unless it is there, intact and of the current revision.

    A configuration whose tuning (instance groups, batching, …) was changed by hand is kept as long as the entry is
    intact. Several processes may build at once: one does, the others wait and find it done.

    Args:
        name: a model of the catalogue.
        models_dir: the repository; made when there is none.
        progress: told what is being done, a line each.

    Raises:
        VisualSearchError: `model_missing` for an unknown name or weights that are not installed, `model_invalid` when
            the weights are damaged, `storage_unavailable` when the folder can't be written.
    """
    entry = catalogue_entry(name)
    tell = progress or (lambda line: None)
    started = time.monotonic()
    result: Literal["built", "rebuilt", "unchanged"] = "unchanged"
    reason = ""
    try:
        # Asked before the lock is taken, so that an intact entry on a read-only disk is fine.
        if outdated(name, models_dir):
            models_dir.mkdir(parents=True, exist_ok=True)
            with _one_builder(models_dir, name):
                if fault := outdated(name, models_dir):
                    result, reason = ("rebuilt", fault) if (models_dir / name).exists() else ("built", "")
                    tell(f"{name}: {reason}; building it anew" if reason else f"{name}: building it")
                    _build(entry, models_dir, tell)
        spec = load_spec(models_dir, name)
        size = model_path(models_dir, name).stat().st_size
    except OSError as error:
        message = f"the model repository can't be written: {error.strerror or type(error).__name__}"
        raise VisualSearchError("storage_unavailable", message, model=name) from None
    seconds = time.monotonic() - started
    tell(f"{name}: {result}, {spec.model_id}, {size / 1e6:.1f} MB, {seconds:.1f} s")
    return BuildReport(name, spec.model_id, result, reason, size, seconds)


def outdated(name: str, models_dir: Path) -> str:
    """Why the entry has to be built: missing, damaged, or not what the catalogue would make; empty when it need not."""
    entry = catalogue_entry(name)
    try:
        spec = check_model(models_dir, name)
        text = (models_dir / name / CONFIG_FILE).read_text("utf-8")
    except VisualSearchError as error:
        return error.message
    ours = replace(entry.spec, model_id=spec.model_id, max_batch_size=spec.max_batch_size)
    there, wanted = parameters_from_pbtxt(text, name), parameters_from_pbtxt(entry.config, name)
    if spec != ours or any(there.get(key) != value for key, value in wanted.items()):
        return "its configuration is of another revision"
    return ""


def list_models(models_dir: Path) -> list[ModelListing]:
    """The catalogue's models and whatever else the repository holds, by name; reads configurations only."""
    names = set(CATALOGUE)
    if models_dir.is_dir():
        names.update(path.parent.name for path in models_dir.glob(f"*/{CONFIG_FILE}") if path.parent.name[0] != ".")
    return [_listing(name, models_dir) for name in sorted(names)]


def _listing(name: str, models_dir: Path) -> ModelListing:
    known = CATALOGUE.get(name)
    licence, dimension = (known.licence, known.spec.dimension) if known else (None, None)
    try:
        spec = load_spec(models_dir, name)
        parameters = parameters_from_pbtxt((models_dir / name / CONFIG_FILE).read_text("utf-8"), name)
    except VisualSearchError as error:
        state: Literal["missing", "invalid"] = "missing" if error.code == "model_missing" else "invalid"
        return ModelListing(name, state, None, dimension, licence, error.message)
    licence = parameters.get("licence", licence)
    if not model_path(models_dir, name).is_file():
        return ModelListing(name, "invalid", spec.model_id, spec.dimension, licence, "it has no model file")
    return ModelListing(name, "ready", spec.model_id, spec.dimension, licence, "")


@contextmanager
def _one_builder(models_dir: Path, name: str) -> Iterator[None]:
    """Hold the entry's lock, which ends with the process, and clear away what a killed builder left."""
    with (models_dir / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in models_dir.glob(f".{name}.tmp-*"):
            shutil.rmtree(leftover)
        yield


def _build(entry: CatalogueEntry, models_dir: Path, tell: Progress) -> None:
    """Write the entry beside its place, then move it there; both are on the same file system."""
    weights = entry.weights_path()
    tell(f"{entry.name}: reading the weights from {entry.package}")
    _check_weights(entry, weights)
    tell(f"{entry.name}: converting")
    model = entry.convert(weights)
    work = models_dir / f".{entry.name}.tmp-{uuid.uuid4().hex}"
    try:
        file = work / "new" / MODEL_FILE
        file.parent.mkdir(parents=True)
        file.write_bytes(model)
        config = with_parameter(entry.config, "model_id", model_id_of(entry.spec, file))
        (work / "new" / CONFIG_FILE).write_text(config, "utf-8")
        target = models_dir / entry.name
        if target.exists():
            target.rename(work / "old")
        (work / "new").rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check_weights(entry: CatalogueEntry, weights: Path) -> None:
    """Refuse weights that are not the published ones."""
    try:
        with weights.open("rb") as stream:
            actual = hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        message = f"the package {entry.package!r} lacks its weights; install it anew"
        raise VisualSearchError("model_missing", message, model=entry.name, package=entry.package) from None
    if actual != entry.weights_sha256:
        message = f"the weights in the package {entry.package!r} are damaged or of another release; install it anew"
        raise VisualSearchError(
            "model_invalid", message, model=entry.name, expected=entry.weights_sha256, actual=actual
        )
