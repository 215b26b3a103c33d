"""Decides by name which files and folders to leave out: hidden ones, system folders, and what the user excludes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

HIDDEN: Final = "hidden"
SYSTEM: Final = "system folder"
EXCLUDED: Final = "excluded"

# Folders that systems, disk stations and photo managers make: waste baskets, snapshots, previews. Compared without regard
# to case, as Windows and macOS do. Names that begin with a dot are left out as hidden.
SYSTEM_FOLDERS: Final = frozenset(
    {
        "$recycle.bin",
        "recycler",
        "system volume information",
        "lost+found",
        "__macosx",
        # Synology, QNAP
        "@eadir",
        "@tmp",
        "#recycle",
        "#snapshot",
        "@recycle",
        "@recently-snapshot",
        # other disk stations (NetApp, TrueNAS) and Windows' previous versions
        "~snapshot",
        "network trash folder",
        "temporary items",
    }
)
# Folders of previews that Lightroom and Capture One make.
_PREVIEW_FOLDERS: Final = (".lrdata", ".cocatalogdb", ".cosessiondb")
# In a library of Apple's Photos (or iPhoto), everything except the original pictures is made from them.
_LIBRARIES: Final = (".photoslibrary", ".photolibrary", ".migratedphotolibrary")
_ORIGINALS: Final = frozenset({"originals", "masters"})


@dataclass(frozen=True, slots=True)
class Selection:
    """The choice of files and folders to read.

    Attributes:
        exclude: patterns of names to leave out (see `excludes`).
        follow: follow links that lead out of the folder.
        everything: include hidden files and system folders.
    """

    exclude: Sequence[str] = ()
    follow: bool = False
    everything: bool = False

    def reason_against(self, name: str, *, is_folder: bool, root: str = "") -> str | None:
        """Why a file or folder is left out (`hidden`, `system folder`, `excluded`); None if it is not.

        Args:
            name: the path relative to the folder, with forward slashes.
            is_folder: whether it is a folder.
            root: the name of the folder itself, which may be a photo library.
        """
        if any(excludes(pattern, name, is_folder=is_folder) for pattern in self.exclude):
            return EXCLUDED
        if self.everything:
            return None
        parent, _, own = name.rpartition("/")
        if own.startswith("."):
            return HIDDEN
        folded = own.casefold()
        in_library = (parent or root).casefold().endswith(_LIBRARIES)
        if is_folder and (
            folded in SYSTEM_FOLDERS or folded.endswith(_PREVIEW_FOLDERS) or (in_library and folded not in _ORIGINALS)
        ):
            return SYSTEM
        return None


def excludes(pattern: str, name: str, *, is_folder: bool) -> bool:
    """Whether a pattern matches, by the rules of .gitignore.

    `*` and `?` match anything except a slash, `**` also matches slashes, `[abc]` matches one of these characters, and a
    backslash makes the next character literal. A pattern with a slash (other than at its end) matches the path in the
    folder; one without matches the name at any depth. A pattern with a slash at its end matches folders only.

    Raises:
        re.error: the pattern is invalid, such as `[z-a]`.
    """
    if pattern.endswith("/"):
        if not is_folder:
            return False
        pattern = pattern.rstrip("/")
    if "/" not in pattern:
        name = name.rpartition("/")[2]
    return re.fullmatch(_expression(pattern.lstrip("/")), name, re.DOTALL) is not None


def _end_of_set(pattern: str, start: int) -> int:
    """Return where the set that begins at a bracket ends; -1 if it does not end. Its first member may be a bracket."""
    first = start + (2 if pattern.startswith(("!", "^"), start + 1) else 1)
    return pattern.find("]", first + 1)


def _expression(pattern: str) -> str:
    """Translate a pattern into a regular expression."""
    parts = []
    at = 0
    while at < len(pattern):
        if pattern[at] == "\\" and at + 1 < len(pattern):
            parts.append(re.escape(pattern[at + 1]))
            at += 2
        elif pattern.startswith("**/", at):
            parts.append("(?:.*/)?")
            at += 3
        elif pattern.startswith("**", at):
            parts.append(".*")
            at += 2
        elif pattern[at] == "[" and (end := _end_of_set(pattern, at)) > 0:
            # Escape what has a meaning in Python's sets only.
            members = re.sub(r"([\\\[&~|])", r"\\\1", pattern[at + 1 : end])
            if members[0] == "!":
                members = "^" + members[1:]
            parts.append(f"(?!/)[{members}]")
            at = end + 1
        else:
            parts.append({"*": "[^/]*", "?": "[^/]"}.get(pattern[at]) or re.escape(pattern[at]))
            at += 1
    return "".join(parts)
