"""What a file is, by its first bytes: a picture that is read, one that is not, a video, or something else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from executors.errors import VisualSearchError
from executors.preprocess.header import read_header

# So many bytes tell all of these kinds apart.
FIRST_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file.

    Attributes:
        name: such as `JPEG`, `Canon CR3`, `video`.
        is_read: a picture of a format that the service reads.
        is_missed: a picture or a video, so that a person expects to find it, but of no format that is read.
    """

    name: str
    is_read: bool = False
    is_missed: bool = False


OTHER: Final = Kind("other file")
_VIDEO: Final = Kind("video", is_missed=True)
_AUDIO: Final = Kind("sound")

# Cameras' raw files that begin like a TIFF: only their name tells. What a TIFF reader finds in them is a tiny preview.
_TIFF_RAWS: Final = frozenset(
    {"3fr", "arw", "cr2", "cap", "dcr", "dng", "eip", "erf", "fff", "iiq", "k25", "kdc", "mef", "mos", "nef", "nrw"}
    | {"pef", "ptx", "rwl", "sr2", "srf", "srw"}
)
_BEGINNINGS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"II\xbc\x01", "JPEG XR"),
    (b"8BPS", "Photoshop"),
    (b"gimp xcf", "GIMP"),
    (b"\x00\x00\x01\x00", "icon"),
    (b"\x00\x00\x02\x00", "icon"),
    (b"icns", "icon"),
    (b"DDS ", "DDS"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"#?RGBE", "Radiance HDR"),
    (b"qoif", "QOI"),
    (b"BPG\xfb", "BPG"),
    (b"AT&TFORM", "DjVu"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
    (b"FUJIFILMCCD-RAW", "camera raw"),
    (b"FOVb", "camera raw"),
    (b"IIU\x00", "camera raw"),
    (b"IIRO", "camera raw"),
    (b"IIRS", "camera raw"),
    (b"MMOR", "camera raw"),
    (b"\x00MRM", "camera raw"),
    (b"II\x1a\x00\x00\x00HEAPCCDR", "camera raw"),
    (b"\x1aE\xdf\xa3", "video"),
    (b"\x00\x00\x01\xba", "video"),
    (b"\x00\x00\x01\xb3", "video"),
    (b"FLV\x01", "video"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video"),
)
_BRANDS: Final[dict[bytes, str]] = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    b"crx ": "camera raw",
}


def kind_of(first: bytes, name: str = "") -> Kind:
    """The kind of a file.

    Args:
        first: its first bytes (FIRST_BYTES are enough).
        name: its name, which only decides between a TIFF and a camera's raw file.
    """
    read_as: str | None
    try:
        read_as = read_header(first).format
    except VisualSearchError as error:
        # Damaged, cut off here, or of a variant that is not read: the service says so.
        read_as = error.details.get("format")
        if read_as == "bmp":
            # Its signature are the letters BM, and its header is among the first bytes: this is a text.
            read_as = None
    if read_as == "tiff" and PurePath(name).suffix[1:].lower() in _TIFF_RAWS:
        return Kind("camera raw", is_missed=True)
    if read_as is not None:
        return Kind(read_as, is_read=True)
    return _unread_kind(first)


def _unread_kind(first: bytes) -> Kind:
    for beginning, name in _BEGINNINGS:
        if first.startswith(beginning):
            return Kind(name, is_missed=True)
    if first[4:8] == b"ftyp":
        return _container_kind(first)
    if first[:4] == b"RIFF" and first[8:12] == b"AVI ":
        return _VIDEO
    if first[:1] == b"G" and first[188:189] == b"G" and first[376:377] == b"G":
        # An MPEG transport stream; cameras put four bytes before each packet.
        return _VIDEO
    if first[4:5] == b"G" and first[196:197] == b"G" and first[388:389] == b"G":
        return _VIDEO
    if first[:4] in (b"moov", b"mdat") or first[4:8] in (b"moov", b"mdat", b"wide"):
        return _VIDEO
    if first[:1] == b"P" and first[1:2] in b"1234567" and first[2:3].isspace():
        return Kind("Netpbm", is_missed=True)
    if b"<svg" in first[:FIRST_BYTES].lower() and first.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return Kind("SVG", is_missed=True)
    return OTHER


def _container_kind(first: bytes) -> Kind:
    """The kind of an ISO base media file (ISO/IEC 14496-12) by its brands, the major one first."""
    size = int.from_bytes(first[:4], "big")
    brands = [first[8:12], *(first[at : at + 4] for at in range(16, min(size, len(first)), 4))]
    for brand in brands:
        if brand in _BRANDS:
            return Kind(_BRANDS[brand], is_missed=True)
    return _AUDIO if brands[0] in (b"M4A ", b"M4B ", b"M4P ") else _VIDEO
