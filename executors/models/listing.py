"""The list of `visual-search models list`: the manifest's models, and all other entries of the repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from executors.errors import VisualSearchError
from executors.models.manifest import ManifestModel, load_manifest
from executors.models.repository import (
    CONFIG_FILE,
    first_version,
    load_tower,
    load_towers,
    model_path,
    read_parameters,
    versions_of,
)
from executors.models.spec import ModelSpec, TextSpec


@dataclass(frozen=True, slots=True)
class ModelListing:
    """One line of the list. The digests of the files are not checked.

    Attributes:
        state: `missing` if it can be built, but is not; `invalid` if the entry can't be used.
        model_id: of version 1, the default; if that was removed, of the lowest existing one.
        input: the model's input, such as `224 x 224 x 3 uint8` or `77 int64`.
        towers: `image`, `image + text`, or `text` for the entry of a text tower.
        versions: the existing version folders.
        run_here: whether this project has built and run it; None for the user's own entries.
        detail: a fault or a remark; empty if there is none.
    """

    name: str
    state: Literal["ready", "missing", "invalid"]
    model_id: str | None
    dimension: int | None
    input: str | None
    licence: str | None
    towers: str | None
    versions: tuple[int, ...]
    run_here: bool | None
    detail: str


def list_models(models_dir: Path, manifest: Mapping[str, ManifestModel] | None = None) -> list[ModelListing]:
    """The manifest's models and all other entries of the repository, by name; reads configurations only."""
    models = load_manifest() if manifest is None else manifest
    return [_listing(models_dir, name, models.get(name)) for name in sorted({*models, *_entries(models_dir)})]


def require_known(models_dir: Path, name: str, manifest: Mapping[str, ManifestModel]) -> None:
    """Refuse a name that neither a manifest nor the repository has.

    Raises:
        VisualSearchError: `model_missing`, with the existing names.
    """
    if name in manifest or (models_dir / name).is_dir():
        return
    known = [*manifest, *sorted(_entries(models_dir) - manifest.keys())]
    message = f"neither a manifest nor VS_MODELS_DIR has a model {name!r}; known models: {', '.join(known)}"
    raise VisualSearchError("model_missing", message, model=name, known=known)


def _entries(models_dir: Path) -> set[str]:
    """The folders that are models, or are meant to be."""
    found = {path.parent.name for path in models_dir.glob(f"*/{CONFIG_FILE}")}
    found |= {path.parents[1].name for path in models_dir.glob("*/*/model.onnx")}
    return {name for name in found if not name.startswith(".")}


def _listing(models_dir: Path, name: str, known: ManifestModel | None) -> ModelListing:
    listing = ModelListing(
        name=name,
        state="missing",
        model_id=None,
        dimension=known.dimension if known else None,
        input=f"{known.height} x {known.width} x 3 uint8" if known else None,
        licence=known.licence if known else None,
        towers=" + ".join(known.towers) if known else None,
        versions=tuple(versions_of(models_dir, name)),
        run_here=known.run_here if known else None,
        detail="",
    )
    first = first_version(models_dir, name)
    choice = name if first == 1 else f"{name}:{first}"
    try:
        tower = load_tower(models_dir, choice)
        towers = load_towers(models_dir, choice) if isinstance(tower, ModelSpec) else (tower,)
        parameters = read_parameters(models_dir, name)
    except VisualSearchError as error:
        state: Literal["missing", "invalid"] = "missing" if error.code == "model_missing" else "invalid"
        if (models_dir / name).exists():
            state = "invalid"
        return replace(listing, state=state, detail=error.message)
    lacking = [each.name for each in towers if not model_path(models_dir, each.name, each.version).is_file()]
    detail = "" if first == 1 else f"it has no version 1; {choice} is the lowest that it has"
    kinds = ["text" if isinstance(each, TextSpec) else "image" for each in towers]
    return replace(
        listing,
        state="invalid" if lacking else "ready",
        model_id=tower.model_id,
        dimension=tower.dimension,
        input=f"{' x '.join(str(each) for each in tower.input_shape)} {tower.input_type.lower()}",
        licence=parameters.get("licence", listing.licence),
        towers=" + ".join(kinds),
        detail=f"{', '.join(lacking)} has no model file" if lacking else detail,
    )
