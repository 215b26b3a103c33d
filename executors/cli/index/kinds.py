"""What a file is, by its first bytes: a picture that is read, a picture or video that is not, or something else."""

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
        name: such as `jpeg`, `PSD`, `video (MP4, MOV, …)`; of a file of which nothing is known its extension.
        is_read: a picture of a format that the service reads.
        is_missed: a picture or a video, so that a person expects to find it, but of no format that is read.
    """

    name: str
    is_read: bool = False
    is_missed: bool = False


OTHER: Final = Kind("other file")

# Nobody looks for these among the pictures.
_DOCUMENTS: Final = (
    "PDF",
    "PostScript",
    "audio",
    "archive or office document",
    "database",
    "HTML",
    "XML (XMP, AAE and the like)",
)
# Cameras' raw files that begin like a TIFF: only their name tells. What a TIFF reader finds in them is a tiny preview.
_TIFF_RAWS: Final = frozenset(
    {"3fr", "arw", "cr2", "cap", "dcr", "dng", "eip", "erf", "fff", "iiq", "k25", "kdc", "mef", "mos", "nef", "nrw"}
    | {"pef", "ptx", "rwl", "sr2", "srf", "srw"}
)
_OTHER_RAWS: Final = frozenset({"cr3", "crw", "orf", "raf", "rw2", "x3f"})
# Where the first bytes say nothing, because the format has no signature or the file is damaged, the name does.
_VIDEOS: Final = frozenset(
    {"3g2", "3gp", "asf", "avi", "flv", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "mxf", "ogv"}
    | {"vob", "webm", "wmv"}
)
_PICTURES: Final = frozenset(
    {"cur", "dcm", "dds", "exr", "fits", "hdr", "icb", "icns", "ico", "jxr", "pam", "pbm", "pcd", "pct", "pcx", "pfm"}
    | {"pgm", "pict", "pnm", "ppm", "psb", "psd", "qoi", "ras", "rgb", "sgi", "svg", "tga", "vda", "vst", "wbmp", "wdp"}
    | {"xcf"}
)
# Both headers of the oldest kind; a shorter file is a text that begins with its signature, BM.
_SHORTEST_BMP: Final = 26
_EXTENSION: Final = re.compile(r"\.[a-z0-9_]{1,12}")
_VIDEO: Final = Kind("video (MP4, MOV, …)", is_missed=True)
_RAW: Final = Kind("camera raw (CR2, NEF, DNG, …)", is_missed=True)


def file_kind(first_bytes: bytes, name: str = "") -> Kind:
    """The kind of a file.

    Args:
        first_bytes: FIRST_BYTES of it, or all.
        name: its name, which decides between a TIFF and a camera's raw file, and where the content has no signature.
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
