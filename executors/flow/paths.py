"""Flow files by their paths: what may be one, and why one can't be read. Nothing here imports Jina."""

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
# An address, the text of a flow itself, the name of a class, JSON.
_LEFT_TO_JINA: Final = re.compile(r"https?://|!|jtype|[A-Za-z_][\w.]*$|{")


def is_flow_path(text: str) -> bool:
    """Whether a text is the path of a flow file, whatever characters its folders have."""
    return "\n" not in text and text.strip().endswith(_SUFFIXES)


def check_flow_argument(given: str | None, find: Callable[[str], str | None]) -> None:
    """Check what was given to `--uses`, as far as it is a path.

    Args:
        given: an address, the text of a flow, and the name of a class are left to Jina.
        find: where Jina finds a file; None where it does not.

    Raises:
        VisualSearchError: `invalid_flow` when nothing was given, or the file is not there, can't be read or is no YAML.
    """
    if not given or not given.strip():
        raise VisualSearchError("invalid_flow", "no flow file is given: --uses FLOW.yml")
    if is_flow_path(given) and not _ADDRESS.match(given.strip()):
        if (path := find(given)) is None:
            raise VisualSearchError("invalid_flow", f"no flow file {given!r}")
        check_flow_text(Path(path))
    elif Path(given).exists() or not _LEFT_TO_JINA.match(given.strip()):
        raise VisualSearchError("invalid_flow", f"{given!r} is no flow file: its name does not end in .yml or .yaml")


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
