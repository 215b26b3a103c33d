"""Recognises the kind of a file by its first bytes: a supported picture, another picture or video, or something else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from executors.preprocess.header import FIRST_BYTES, name_unread, recognise

__all__ = ["FIRST_BYTES", "OTHER", "Kind", "file_kind"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file.

    Attributes:
        name: such as `jpeg`, `PSD`, `video (MP4, MOV, …)`; the extension if the content is not recognised.
        is_read: it is a picture in a format that the service reads.
        is_missed: it is a picture or video in another format, so the user may expect to find it.
    """

    name: str
    is_read: bool = False
    is_missed: bool = False


OTHER: Final = Kind("other file")

# Kinds that a user does not expect among the pictures.
_DOCUMENTS: Final = (
    "PDF",
    "PostScript",
    "audio",
    "archive or office document",
    "database",
    "HTML",
    "XML (XMP, AAE and the like)",
)
# Cameras' raw files that begin like a TIFF; only the extension tells. A TIFF reader finds just a tiny preview in them.
_TIFF_RAWS: Final = frozenset(
    {"3fr", "arw", "cr2", "cap", "dcr", "dng", "eip", "erf", "fff", "iiq", "k25", "kdc", "mef", "mos", "nef", "nrw"}
    | {"pef", "ptx", "rwl", "sr2", "srf", "srw"}
)
_OTHER_RAWS: Final = frozenset({"cr3", "crw", "orf", "raf", "rw2", "x3f"})
# The extension decides if the first bytes don't: the format has no signature, or the file is damaged.
_VIDEOS: Final = frozenset(
    {"3g2", "3gp", "asf", "avi", "flv", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "mxf", "ogv"}
    | {"vob", "webm", "wmv"}
)
_PICTURES: Final = frozenset(
    {"cur", "dcm", "dds", "exr", "fits", "hdr", "icb", "icns", "ico", "jxr", "pam", "pbm", "pcd", "pct", "pcx", "pfm"}
    | {"pgm", "pict", "pnm", "ppm", "psb", "psd", "qoi", "ras", "rgb", "sgi", "svg", "tga", "vda", "vst", "wbmp", "wdp"}
    | {"xcf"}
)
# The size of both headers in the oldest version. A shorter file is a text that begins with the signature, BM.
_SHORTEST_BMP: Final = 26
_EXTENSION: Final = re.compile(r"\.[a-z0-9_]{1,12}")
_VIDEO: Final = Kind("video (MP4, MOV, …)", is_missed=True)
_RAW: Final = Kind("camera raw (CR2, NEF, DNG, …)", is_missed=True)


def file_kind(first_bytes: bytes, name: str = "") -> Kind:
    """Recognise the kind of a file.

    Args:
        first_bytes: its first FIRST_BYTES bytes, or all if it is shorter.
        name: its name; it tells a TIFF from a camera's raw file, and decides if the content has no signature.
    """
    suffix = PurePath(name).suffix.lower()
    read_as = recognise(first_bytes)
    if read_as == "tiff" and suffix[1:] in _TIFF_RAWS:
        return _RAW
    if read_as == "bmp" and len(first_bytes) < _SHORTEST_BMP:
        read_as = None
    if read_as is not None:
        return Kind(read_as, is_read=True)
    unread = name_unread(first_bytes)
    if unread is not None:
        return Kind(unread, is_missed=unread not in _DOCUMENTS)
    is_text = bool(first_bytes) and b"\0" not in first_bytes
    by_name = None if is_text else _kind_by_name(suffix[1:])
    return by_name or (Kind(suffix) if _EXTENSION.fullmatch(suffix) else OTHER)


def _kind_by_name(extension: str) -> Kind | None:
    if extension in _TIFF_RAWS | _OTHER_RAWS:
        return _RAW
    if extension in _VIDEOS:
        return _VIDEO
    return Kind(extension.upper(), is_missed=True) if extension in _PICTURES else None
