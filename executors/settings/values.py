"""Types of values that several settings have: folders, files, and lists of names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

from executors.errors import VisualSearchError

# Linux's PATH_MAX, and NAME_MAX of its file systems, in bytes.
_LONGEST_PATH: Final = 4095
_LONGEST_NAME: Final = 255


def data_folder() -> Path:
    """Return the user's data folder for this project, by the XDG base directory specification.

    Raises:
        VisualSearchError: `invalid_setting` if neither HOME nor XDG_DATA_HOME says where that is.
    """
    base = os.environ.get("XDG_DATA_HOME", "")
    if not base.startswith("/"):  # of a relative path, the specification says "consider the path invalid and ignore it"
        base = str(Path("~").expanduser()) if os.environ.get("HOME", "/").startswith("/") else ""
        if not base.startswith("/"):
            message = "HOME is not an absolute path, so there is no folder for data; set HOME or XDG_DATA_HOME to one"
            raise VisualSearchError("invalid_setting", message, variables=["HOME"])
        base = f"{base}/.local/share"
    return checked_path(Path(base), "XDG_DATA_HOME") / "visual-search"


def checked_path(path: Path, name: str) -> Path:
    """Return a path as an absolute one that is possible on this system.

    Raises:
        VisualSearchError: `invalid_setting`.
    """
    try:
        return absolute_path(path)
    except ValueError as error:
        raise VisualSearchError("invalid_setting", f"{name}: {error}", variables=[name]) from None


def absolute_path(path: Path) -> Path:
    """Return the absolute path, with `~` resolved.

    Raises:
        ValueError: the path is too long for a file or folder, or its `~` can't be resolved.
    """
    try:
        whole = path.expanduser().absolute()
    except RuntimeError:
        raise ValueError(f"{path}: there is no such user, or no HOME") from None
    encoded = os.fsencode(whole)
    if len(encoded) > _LONGEST_PATH or any(len(part) > _LONGEST_NAME for part in encoded.split(b"/")):
        raise ValueError("a name in this path is longer than a file name can be")
    return whole


def _refuse_empty(value: object) -> object:
    """Refuse an empty path, which would be the current folder."""
    if isinstance(value, str) and not value.strip():
        raise ValueError("it is empty; unset it for the default")
    return value


def _none_if_empty(value: object) -> object:
    """Return None for an empty path, which would otherwise be the current folder."""
    return None if isinstance(value, str) and not value.strip() else value


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Folder: TypeAlias = Annotated[Path, BeforeValidator(_refuse_empty), AfterValidator(absolute_path)]
File: TypeAlias = Annotated[Path | None, BeforeValidator(_none_if_empty)]
# Names that are separated by commas.
Names: TypeAlias = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
