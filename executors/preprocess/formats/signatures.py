"""The kind of a file by its first bytes: a supported picture format, or a known kind that is not supported."""

from __future__ import annotations

from typing import Final

from executors.preprocess.formats import tiff
from executors.preprocess.formats.base import ImageFormat

# This many bytes from the start of a file are enough for both functions.
FIRST_BYTES: Final = 4096

_TIFFS: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PICTURES: Final[tuple[tuple[bytes, ImageFormat], ...]] = (
    (b"\xff\xd8\xff", "jpeg"),  # MPO, .jfif and the like are JPEGs
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (_TIFFS[0], "tiff"),
    (_TIFFS[1], "tiff"),
    (_TIFFS[2], "tiff"),
    (_TIFFS[3], "tiff"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "jpeg2000"),
    (b"\xff\x4f\xff\x51", "jpeg2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "jxl"),
    (b"\xff\x0a", "jxl"),
)
# ISO/IEC 23008-12 and the AVIF specification: the brands of an `ftyp` box.
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
_HEIF_BRANDS: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_STILL_BRANDS: Final = frozenset({b"mif1", b"mif2", b"msf1", b"miaf"})

_RAW: Final = "camera raw (CR2, NEF, DNG, …)"
_VIDEO: Final = "video (MP4, MOV, …)"
_AUDIO: Final = "audio"
_ICON: Final = "icon (ICO, CUR, ICNS)"
_UNREAD: Final[tuple[tuple[int, bytes, str], ...]] = (
    (0, b"%PDF-", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript"),
    (0, b"8BPS", "PSD"),
    (0, b"icns", _ICON),
    (0, b"v/1\x01", "OpenEXR"),
    (0, b"#?R", "Radiance HDR"),
    (0, b"DDS ", "DDS"),
    (0, b"\x01\xda", "SGI"),
    (0, b"qoif", "QOI"),
    (0, b"gimp xcf", "XCF"),
    (0, b"AT&TFORM", "DjVu"),
    (0, b"BLP1", "BLP"),
    (0, b"BLP2", "BLP"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"II\xbc\x01", "JPEG XR"),
    (0, b"\xd7\xcd\xc6\x9a", "WMF or EMF"),
    (40, b" EMF", "WMF or EMF"),
    (0, b"\x8aMNG\r\n", "MNG or JNG"),
    (0, b"\x8bJNG\r\n", "MNG or JNG"),
    (0, b"IIRO", _RAW),
    (0, b"IIRS", _RAW),
    (0, b"MMOR", _RAW),
    (0, b"IIU\0", _RAW),
    (0, b"FUJIFILMCCD-RAW", _RAW),
    (0, b"FOVb", _RAW),
    (0, b"\0MRM", _RAW),
    (6, b"HEAPCCDR", _RAW),
    (4, b"moov", _VIDEO),
    (4, b"mdat", _VIDEO),
    (4, b"wide", _VIDEO),
    (4, b"free", _VIDEO),
    (4, b"skip", _VIDEO),
    (4, b"pnot", _VIDEO),
    (0, b"\x1aE\xdf\xa3", _VIDEO),
    (8, b"AVI LIST", _VIDEO),
    (0, b"\0\0\1\xba", _VIDEO),
    (0, b"\0\0\1\xb3", _VIDEO),
    (0, b"FLV\x01", _VIDEO),
    (0, b"0&\xb2u\x8ef\xcf\x11", _VIDEO),
    (0, b"ID3", _AUDIO),
    (0, b"OggS", _AUDIO),
    (0, b"fLaC", _AUDIO),
    (8, b"WAVE", _AUDIO),
    (0, b"PK\x03\x04", "archive or office document"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "archive or office document"),
    (0, b"\x1f\x8b", "archive or office document"),
    (0, b"7z\xbc\xaf\x27\x1c", "archive or office document"),
    (0, b"Rar!\x1a\x07", "archive or office document"),
    (0, b"SQLite format 3\0", "database"),
)
_RAW_BRANDS: Final = frozenset({b"crx "})
_AUDIO_BRANDS: Final = frozenset({b"M4A ", b"M4B ", b"M4P "})


def recognise(first_bytes: bytes) -> ImageFormat | None:
    """The format of a picture that this service reads, by its content; None for everything else.

    Args:
        first_bytes: the whole file, or its first `FIRST_BYTES`.
    """
    if name_unread(first_bytes) == _RAW:
        return None
    for signature, image_format in _PICTURES:
        if first_bytes.startswith(signature):
            return image_format
    # A text may begin with BM: the header's size, four bytes, is less than 65,536.
    if first_bytes.startswith(b"BM") and first_bytes[16:18] in (b"\0\0", b""):
        return "bmp"
    if first_bytes[:4] == b"RIFF" and first_bytes[8:12] == b"WEBP":
        return "webp"
    brands = _brands(first_bytes)
    if not brands:
        return None
    if brands[0] in _HEIF_BRANDS:
        return "heif"
    if not _AVIF_BRANDS.isdisjoint(brands):
        return "avif"
    return None if (_HEIF_BRANDS | _STILL_BRANDS).isdisjoint(brands) else "heif"


def name_unread(first_bytes: bytes) -> str | None:
    """The name of a known kind of file that is not read as a picture, such as `PDF`; None if it is unknown.

    Formats that `recognise` accepts have no name here, nor do formats without a signature of their own (TGA, plain
    text).

    Args:
        first_bytes: as for `recognise`.
    """
    if first_bytes.startswith(_TIFFS) and (first_bytes[8:11] == b"CR\x02" or tiff.holds_raw(first_bytes)):
        return _RAW
    for position, signature, name in _UNREAD:
        if first_bytes.startswith(signature, position):
            return name
    if first_bytes[:1] == b"P" and first_bytes[1:2] in b"1234567Ff" and first_bytes[2:3].isspace():
        return "PNM (PBM, PGM, PPM, PAM, PFM)"
    if first_bytes[:1] == b"\x0a" and first_bytes[1:2] in b"\0\2\3\4\5" and first_bytes[2:3] == b"\1":
        return "PCX"
    if len(first_bytes) > 188 and first_bytes[0] == first_bytes[188] == 0x47:
        return _VIDEO
    # Reserved, kind, and the number of icons, which is zero in a TGA that begins the same way.
    if first_bytes[:4] in (b"\0\0\1\0", b"\0\0\2\0") and first_bytes[4:6] != b"\0\0":
        return _ICON
    brands = _brands(first_bytes)
    return _name_brands(brands) if brands else _name_text(first_bytes)


def _brands(first_bytes: bytes) -> list[bytes]:
    """Major and compatible brands of an `ftyp` box, the major one first; empty if there is none."""
    if first_bytes[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(first_bytes[:4], "big"), len(first_bytes))
    return [first_bytes[8:12], *(first_bytes[at : at + 4] for at in range(16, end - 3, 4))]


def _name_brands(brands: list[bytes]) -> str | None:
    if brands[0] in _RAW_BRANDS:
        return _RAW
    if not (_AVIF_BRANDS | _HEIF_BRANDS | _STILL_BRANDS).isdisjoint(brands):
        return None
    return _AUDIO if brands[0] in _AUDIO_BRANDS else _VIDEO


def _name_text(first_bytes: bytes) -> str | None:
    """The name for a file that begins like a document in a markup language."""
    start = first_bytes.removeprefix(b"\xef\xbb\xbf").lstrip()[:FIRST_BYTES].lower()
    if start.startswith((b"<?xml", b"<svg", b"<!doctype svg", b"<!--")) and b"<svg" in start:
        return "SVG"
    if start.startswith((b"<!doctype html", b"<html")):
        return "HTML"
    if start.startswith((b"<?xpacket", b"<x:xmpmeta", b"<?xml", b"<!doctype plist", b"<plist")):
        return "XML (XMP, AAE and the like)"
    return None
