"""Protects the user's work from builds: foreign entries are not replaced, and additions are carried over to new
entries.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Final

from executors.errors import VisualSearchError
from executors.models.identity import Progress
from executors.models.manifest import ManifestModel
from executors.models.pbtxt import added_settings, quoted, with_settings
from executors.models.repository import CONFIG_FILE, TOKENIZER_FILE, build_command, versions_of

# The first release had only one model, with another source in its parameters.
_FIRST_REVISION: Final = "1"

# Files that a build makes, or that a killed build left.
_OURS: Final = re.compile(
    rf"{re.escape(CONFIG_FILE)}|{re.escape(TOKENIZER_FILE)}|reference(-\d+)?\.npz|\..*\.[0-9a-f]{{32}}"
)
_PARAMETER: Final = r'key\s*:\s*"%s"\s*[,;]?\s*value\s*:?\s*\{\s*string_value\s*:\s*"((?:[^"\\\n]|\\.)*)"'


def refuse_foreign_entry(models_dir: Path, model: ManifestModel, name: str) -> None:
    """Refuse to replace an entry that was not built from this model of the manifest; an empty folder may be replaced.

    Raises:
        VisualSearchError: `model_invalid`, with the remedy.
        OSError: the folder can't be read.
    """
    entry = models_dir / name
    if not entry.exists() or (entry.is_dir() and not any(entry.iterdir())):
        return
    try:
        config = (entry / CONFIG_FILE).read_text("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        config = ""
    # This compares the text, so that an entry of ours is recognised even if its configuration is damaged.
    revision, source = (_parameter(config, key) for key in ("revision", "source"))
    if revision is not None and (source == quoted(model.source) or revision == _FIRST_REVISION):
        return
    message = (
        f"VS_MODELS_DIR has {name!r} already, which was not built from the manifest's model {model.name!r} (the parameters "
        f"revision and source of its {CONFIG_FILE} would say so), and would be lost: give it another name (that of its "
        f"folder, and `name` in its {CONFIG_FILE}) or remove it, then run `{build_command(model.name)}`"
    )
    raise VisualSearchError("model_invalid", message, model=model.name, entry=name)


def keep_additions(old: Path, new: Path, tell: Progress) -> None:
    """Carry additions from an older entry over into a new one, which has its configuration and its version 1.

    These are: further version folders, settings that were added to the configuration, and other files. Files are
    linked, so that the old entry stays whole. A configuration with other changes is put beside the new one.

    Raises:
        OSError: a file can't be read or written.
    """
    if not old.is_dir():
        return
    for version in versions_of(old.parent, old.name):
        if version != 1:
            shutil.copytree(old / str(version), new / str(version), copy_function=_link)
    for path in sorted(old.iterdir()):
        if path.name == "1":
            _keep_beside_model(path, new, tell)
        elif not _OURS.fullmatch(path.name) and not (new / path.name).exists():
            _copy(path, new / path.name)
    if (old / CONFIG_FILE).is_file():
        _keep_settings(old / CONFIG_FILE, new, tell)


def _keep_beside_model(folder: Path, new: Path, tell: Progress) -> None:
    """Move other files of version 1, which would be part of the new model's identity, to a place that Triton ignores."""
    others = [path for path in sorted(folder.iterdir()) if path.name != "model.onnx"] if folder.is_dir() else []
    if others:
        aside = _free_name(new, "old-1")
        aside.mkdir()
        for path in others:
            _copy(path, aside / path.name)
        names = ", ".join(path.name for path in others)
        tell(
            f"{new.name}: the other files in the folder 1 ({names}) are not part of the model, and were moved to {aside.name}"
        )


def _keep_settings(config: Path, new: Path, tell: Progress) -> None:
    content = config.read_bytes()
    declared = (new / CONFIG_FILE).read_text("utf-8")
    added, rest = added_settings(content.decode("utf-8", "replace"), declared, new.name)
    if added:
        (new / CONFIG_FILE).write_text(with_settings(declared, added), "utf-8")
        tell(f"{new.name}: kept from its {CONFIG_FILE}: {', '.join(sorted(added))}")
    if rest:
        aside = _free_name(new, f"{CONFIG_FILE}.old")
        aside.write_bytes(content)
        tell(f"{new.name}: its {CONFIG_FILE} {rest}; it is kept as {aside.name}, without effect")


def _parameter(config: str, key: str) -> str | None:
    """The escaped text of a parameter, between its quotation marks; None if there is none."""
    found = re.findall(_PARAMETER % key, re.sub(r"(?m)^\s*#.*", "", config))
    return found[-1] if found else None


def _free_name(folder: Path, name: str) -> Path:
    """A path that does not exist: `name`, `name-2`, …"""
    path, number = folder / name, 1
    while path.exists():
        number += 1
        path = folder / f"{name}-{number}"
    return path


def _copy(source: Path, target: Path) -> None:
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True, copy_function=_link)
    elif source.is_symlink():
        target.symlink_to(source.readlink())
    elif source.is_file():
        _link(str(source), str(target))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # the file system has no links
        shutil.copy2(source, target)
