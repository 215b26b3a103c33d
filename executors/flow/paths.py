"""Checks of paths of flow files, without Jina."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import yaml

from executors.errors import VisualSearchError
from executors.files.reading import read_text

_SUFFIXES: Final = (".yml", ".yaml")
_ADDRESS: Final = re.compile(r"https?://")
# Matches an address, the text of a flow, the name of a class, and JSON.
_LEFT_TO_JINA: Final = re.compile(r"https?://|!|jtype|[A-Za-z_][\w.]*$|{")


def is_flow_path(text: str) -> bool:
    """Return whether a text is the path of a flow file; its folders may have any characters."""
    return "\n" not in text and text.strip().endswith(_SUFFIXES)


def check_flow_argument(given: str | None, find: Callable[[str], str | None]) -> None:
    """Check the value of `--uses` if it is a path.

    Args:
        given: the value; Jina handles an address, the text of a flow, and the name of a class.
        find: returns the path at which Jina finds a file, or None.

    Raises:
        VisualSearchError: `invalid_flow` if there is no value, or if the file does not exist, can't be read or is not YAML.
    """
    if not given or not given.strip():
        raise VisualSearchError("invalid_flow", "no flow file was given; use --uses FLOW.yml")
    if is_flow_path(given) and not _ADDRESS.match(given.strip()):
        if (path := find(given)) is None:
            raise VisualSearchError("invalid_flow", f"there is no flow file {given!r}")
        check_flow_text(Path(path))
    elif Path(given).exists() or not _LEFT_TO_JINA.match(given.strip()):
        raise VisualSearchError("invalid_flow", f"{given!r} is not a flow file: its name does not end in .yml or .yaml")


def check_flow_text(path: Path) -> None:
    """Check that a file can be read and is YAML.

    Raises:
        VisualSearchError: `invalid_flow`.
    """
    try:
        for _ in yaml.parse(read_text(path)):
            pass
    except VisualSearchError as error:
        raise VisualSearchError("invalid_flow", f"{str(path)!r}: {error.message}") from None
    except yaml.YAMLError as error:
        raise VisualSearchError("invalid_flow", f"{str(path)!r}: {' '.join(str(error).split())}") from None
