"""Converters: each makes the files of repository entries from the published files of one kind of model, chosen by name
in the manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, Final, TypeAlias

from executors.errors import VisualSearchError
from executors.models.convert import clip, efficientnet_lite
from executors.models.convert.clip_tokenizer import clip_tokenizer_json
from executors.models.convert.weights import read_checkpoint
from executors.models.manifest import ManifestModel, text_entry_name
from executors.models.pbtxt import quoted, tower_from_pbtxt
from executors.models.spec import TensorType, Tower

# Increment this whenever a converter or a file in `configs/` changes: entries of an older revision are rebuilt.
_REVISION: Final = "2"

# The type is unknown before a text tower is converted, and does not matter for comparisons before that.
_ANY_TYPE: Final[TensorType] = "INT64"


@dataclass(frozen=True, slots=True)
class Draft:
    """One entry before it has an identity; `tokenizer` is the text of tokenizer.json."""

    name: str
    config: str
    model: bytes
    tokenizer: str | None = None


Converter: TypeAlias = Callable[[ManifestModel, Mapping[str, Path]], Iterator[Draft]]


def convert(model: ManifestModel, files: Mapping[str, Path]) -> Iterator[Draft]:
    """Make a model's entries one after another, since each may take gigabytes: its text tower first, if it has one.

    Args:
        model: the model's description in the manifest.
        files: the published files by role; their checksums were checked.

    Raises:
        VisualSearchError: `model_invalid` when a file does not fit the manifest.
    """
    return _CONVERTERS[model.converter](model, files)


def declared_config(model: ManifestModel, name: str) -> str:
    """The config.pbtxt of a model's entry, before it has an identity."""
    return _image_config(model) if name == model.name else _text_config(model, _ANY_TYPE)


def declared_tower(model: ManifestModel, name: str) -> Tower:
    """The tower that this configuration declares; the type of tokens of a text tower may differ in the end."""
    return tower_from_pbtxt(declared_config(model, name), name)


def stored_reference(name: str) -> bytes | None:
    """The reference.npz in the package, for a model that this project has run; see `reference.py`."""
    file = resources.files("executors.models") / "configs" / name / "reference.npz"
    return file.read_bytes() if file.is_file() else None


def _convert_efficientnet_lite0(model: ManifestModel, files: Mapping[str, Path]) -> Iterator[Draft]:
    side, dimension = efficientnet_lite.SIDE, efficientnet_lite.DIMENSION
    fixed: dict[str, Any] = {
        "height": side,
        "width": side,
        "dimension": dimension,
        "mean": (efficientnet_lite.MEAN,) * 3,
        "scale": (efficientnet_lite.SCALE,) * 3,
    }
    faults = [f"{key} is {getattr(model, key)}" for key, value in fixed.items() if getattr(model, key) != value]
    if faults:
        message = f"the model {model.name!r} is not an EfficientNet-Lite0: {'; '.join(faults)}"
        raise VisualSearchError("model_invalid", message, model=model.name, expected=fixed)
    graph = efficientnet_lite.build_graph(read_checkpoint(files["weights"]))
    yield Draft(model.name, _image_config(model), bytes(graph.SerializeToString(deterministic=True)))


def _convert_clip(model: ManifestModel, files: Mapping[str, Path]) -> Iterator[Draft]:
    length = model.context_length
    if length is None:  # the manifest has checked this
        raise VisualSearchError("model_invalid", f"the model {model.name!r} has no context_length", model=model.name)
    content, kind = clip.convert_textual(files["textual"], context_length=length, dimension=model.dimension)
    tokenizer = clip_tokenizer_json(files["vocabulary"], length)
    yield Draft(text_entry_name(model.name), _text_config(model, kind), content, tokenizer)
    del content
    content = clip.convert_visual(
        files["visual"],
        height=model.height,
        width=model.width,
        dimension=model.dimension,
        mean=model.mean,
        scale=model.scale,
    )
    yield Draft(model.name, _image_config(model), content)


_CONVERTERS: Final[dict[str, Converter]] = {
    "efficientnet_lite0": _convert_efficientnet_lite0,
    "clip": _convert_clip,
}


def _image_config(model: ManifestModel) -> str:
    text = _fill(
        "image.pbtxt",
        **_common(model, model.name),
        height=model.height,
        width=model.width,
        normalisation=_normalisation(model),
        fit=model.fit,
        crop_fraction=model.crop_fraction,
    )
    if model.kind != "clip":
        return text
    pair = f'parameters {{ key: "text_model" value {{ string_value: "{text_entry_name(model.name)}" }} }}'
    return f"{text}# The entry of the text tower; `build` adds its identity, `text_model_id`.\n{pair}\n"


def _text_config(model: ManifestModel, input_type: TensorType) -> str:
    common = _common(model, text_entry_name(model.name))
    return _fill("text.pbtxt", **common, input_type=input_type, context_length=model.context_length)


def _common(model: ManifestModel, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "image_model": model.name,
        "dimension": model.dimension,
        "source": quoted(model.source),
        "licence": quoted(model.licence),
        "revision": _REVISION,
        "running": _fill("running.pbtxt", name=name, image_model=model.name),
    }


def _fill(file: str, **values: Any) -> str:
    text = (resources.files("executors.models") / "configs" / file).read_text("utf-8")
    return Template(text).substitute(values)


def _normalisation(model: ManifestModel) -> str:
    mean, scale = ([f"{each:g}" for each in values] for values in (model.mean, model.scale))
    if len({*mean}) == len({*scale}) == 1:
        return f"(x - {mean[0]}) / {scale[0]}"
    return f"(x - [{', '.join(mean)}]) / [{', '.join(scale)}]"
