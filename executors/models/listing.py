"""What `visual-search models list` shows: the manifest's models, and whatever else the repository holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from executors.errors import VisualSearchError
from executors.models.manifest import ManifestModel, load_manifest
from executors.models.repository import CONFIG_FILE, load_tower, load_towers, model_path, read_parameters, versions_of
from executors.models.spec import ModelSpec, TextSpec


@dataclass(frozen=True, slots=True)
class ModelListing:
    """One line of the list. The digests of the files are not checked.

    Attributes:
        state: `missing` when it can be built, and is not; `invalid` when what is there can't be used.
        model_id: of version 1, the default.
        input: what it takes, such as `224 x 224 x 3 uint8` or `77 int64`.
        towers: `image`, `image + text`, or `text` for the entry of a text tower.
        versions: the version folders that there are.
        run_here: whether this project has built and run it; None for an entry of one's own.
        detail: what is wrong; empty when nothing is.
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
    """The manifest's models and whatever else the repository holds, by name; reads configurations only."""
    models = load_manifest() if manifest is None else manifest
    names = set(models)
    if models_dir.is_dir():
        names.update(path.parent.name for path in models_dir.glob(f"*/{CONFIG_FILE}") if path.parent.name[0] != ".")
    return [_listing(models_dir, name, models.get(name)) for name in sorted(names)]


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
    try:
        tower = load_tower(models_dir, name)
        towers = load_towers(models_dir, name) if isinstance(tower, ModelSpec) else (tower,)
        parameters = read_parameters(models_dir, name)
    except VisualSearchError as error:
        state: Literal["missing", "invalid"] = "missing" if error.code == "model_missing" else "invalid"
        if (models_dir / name / CONFIG_FILE).exists():
            state = "invalid"
        return replace(listing, state=state, detail=error.message)
    lacking = [each.name for each in towers if not model_path(models_dir, each.name).is_file()]
    kinds = ["text" if isinstance(each, TextSpec) else "image" for each in towers]
    return replace(
        listing,
        state="invalid" if lacking else "ready",
        model_id=tower.model_id,
        dimension=tower.dimension,
        input=f"{' x '.join(str(each) for each in tower.input_shape)} {tower.input_type.lower()}",
        licence=parameters.get("licence", listing.licence),
        towers=" + ".join(kinds),
        detail=f"{', '.join(lacking)} has no model file" if lacking else "",
    )
