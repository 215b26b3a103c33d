"""What of a folder is looked at: system folders and hidden files are left out, and what a person excludes. Names only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

HIDDEN: Final = "hidden"
SYSTEM: Final = "system folder"
EXCLUDED: Final = "excluded"

# Folders that systems, disk stations and photo managers make beside a person's own: waste baskets, snapshots, previews.
# Compared without regard to case, as Windows and macOS do. Those that begin with a dot are hidden ones already.
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
# Previews that Lightroom and Capture One keep in folders of their own.
_PREVIEW_FOLDERS: Final = (".lrdata", ".cocatalogdb", ".cosessiondb")
# In a library of Apple's Photos (or iPhoto), everything but the pictures as they were taken is made from them.
_LIBRARIES: Final = (".photoslibrary", ".photolibrary", ".migratedphotolibrary")
_ORIGINALS: Final = frozenset({"originals", "masters"})


@dataclass(frozen=True, slots=True)
class Selection:
    """What is looked at.

    Attributes:
        exclude: patterns of what is left out (see `excludes`).
        follow: read what links point to outside of the folder, too.
        everything: hidden files and system folders, too.
    """

    exclude: Sequence[str] = ()
    follow: bool = False
    everything: bool = False

    def reason_against(self, name: str, *, is_folder: bool, root: str = "") -> str | None:
        """Why something is left out (`hidden`, `system folder`, `excluded`), None when it is not.

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

    `*` and `?` stand for anything but a slash, `**` for slashes, too, `[abc]` for one of these, a backslash for the sign
    behind it. A pattern with a slash (other than at its end) matches the path in the folder, one without the name at any
    depth. A slash at the end: folders only.

    Raises:
        re.error: there is no such pattern, as with `[z-a]`.
    """
    if pattern.endswith("/"):
        if not is_folder:
            return False
        pattern = pattern.rstrip("/")
    if "/" not in pattern:
        name = name.rpartition("/")[2]
    return re.fullmatch(_expression(pattern.lstrip("/")), name, re.DOTALL) is not None


def _end_of_set(pattern: str, start: int) -> int:
    """Where the set ends that begins at a bracket, -1 when it does not; it has at least one member, be it a bracket."""
    first = start + (2 if pattern.startswith(("!", "^"), start + 1) else 1)
    return pattern.find("]", first + 1)


def _expression(pattern: str) -> str:
    """A pattern as a regular expression."""
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
            # What Python's sets know and patterns do not is escaped.
            members = re.sub(r"([\\\[&~|])", r"\\\1", pattern[at + 1 : end])
            if members[0] == "!":
                members = "^" + members[1:]
            parts.append(f"(?!/)[{members}]")
            at = end + 1
        else:
            parts.append({"*": "[^/]*", "?": "[^/]"}.get(pattern[at]) or re.escape(pattern[at]))
            at += 1
    return "".join(parts)
