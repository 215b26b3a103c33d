"""One picture file of every kind that Pillow can decode, too, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from tests.support.pictures.image_files import bmp, bmp_core, gif, photo, pillow, tiff, transparent_photo


def _cmyk() -> Image.Image:
    return Image.fromarray(photo()).convert("CMYK")


def _palette() -> Image.Image:
    return Image.fromarray(photo()).quantize(64)


def _palette_transparent() -> bytes:
    indices = np.tile(np.arange(6, dtype=np.uint8), (4, 8))
    image = Image.new("P", (indices.shape[1], indices.shape[0]))
    image.putdata(indices.ravel().tolist())
    image.putpalette([10, 20, 30, 200, 100, 50, 0, 255, 0, 5, 5, 5, 90, 9, 9, 100, 0, 200])
    return pillow(image, "PNG", transparency=bytes([0, 64, 128, 192]))


def _bmp_run_lengths() -> bytes:
    """Each row as runs of one pixel and of ten, then the end of the line."""
    rows = photo()[::-1, :, 0] // 16
    runs = b""
    for row in rows:
        runs += b"".join(bytes([1, value]) for value in row[:80]) + bytes([10, row[80]] * 8) + b"\0\0"
    palette = b"".join(bytes([level * 16, 255 - level * 16, level, 0]) for level in range(16))
    return bmp(160, 96, 8, runs + b"\0\1", compression=1, palette=palette)


def _animated(image_format: str, **options: Any) -> bytes:
    frames = [Image.fromarray(photo()), Image.fromarray(photo()[::-1].copy())]
    return pillow(frames[0], image_format, save_all=True, append_images=frames[1:], **options)


# Files that Pillow decodes, too, so that the pixels can be compared.
SAMPLES: dict[str, Callable[[], bytes]] = {
    "jpeg baseline": lambda: pillow(photo(), "JPEG", quality=92),
    "jpeg 4:4:4": lambda: pillow(photo(), "JPEG", quality=92, subsampling=0),
    "jpeg progressive": lambda: pillow(photo(), "JPEG", progressive=True),
    "jpeg grey": lambda: pillow(photo()[..., 0], "JPEG"),
    "jpeg cmyk": lambda: pillow(_cmyk(), "JPEG", quality=95),
    "jpeg restarts": lambda: pillow(photo(), "JPEG", restart_marker_blocks=3),
    "png rgb": lambda: pillow(photo(), "PNG"),
    "png grey": lambda: pillow(photo()[..., 0], "PNG"),
    "png grey alpha": lambda: pillow(Image.fromarray(transparent_photo()).convert("LA"), "PNG"),
    "png rgba": lambda: pillow(transparent_photo(), "PNG"),
    "png palette": lambda: pillow(_palette(), "PNG"),
    "png palette transparent": _palette_transparent,
    "png bilevel": lambda: pillow(Image.fromarray(photo()).convert("1"), "PNG"),
    "png grey transparent": lambda: pillow(photo()[..., 0] // 4 * 4, "PNG", transparency=64),
    "png rgb transparent": lambda: pillow(photo(), "PNG", transparency=tuple(map(int, photo()[5, 5]))),
    "png animated": lambda: _animated("PNG"),
    "webp lossy": lambda: pillow(photo(), "WEBP", quality=90),
    "webp lossless": lambda: pillow(photo(), "WEBP", lossless=True),
    "webp rgba": lambda: pillow(transparent_photo(), "WEBP", lossless=True, exact=True),
    "webp lossy rgba": lambda: pillow(transparent_photo(), "WEBP", quality=90),
    "webp animated": lambda: _animated("WEBP", lossless=True),
    "bmp rgb": lambda: pillow(photo(), "BMP"),
    "bmp grey": lambda: pillow(photo()[..., 0], "BMP"),
    "bmp palette": lambda: pillow(_palette(), "BMP"),
    "bmp bilevel": lambda: pillow(Image.fromarray(photo()).convert("1"), "BMP"),
    "bmp 32 bits": lambda: pillow(transparent_photo(), "BMP"),
    "bmp run lengths": _bmp_run_lengths,
    "bmp core": lambda: bmp_core(160, 96, photo()[::-1, :, ::-1].tobytes()),
    "bmp downwards": lambda: bmp(160, -96, 24, photo()[..., ::-1].tobytes()),
    "tiff rgb": lambda: pillow(photo(), "TIFF"),
    "tiff lzw": lambda: pillow(photo(), "TIFF", compression="tiff_lzw"),
    "tiff deflate": lambda: pillow(photo(), "TIFF", compression="tiff_adobe_deflate"),
    "tiff jpeg": lambda: pillow(photo(), "TIFF", compression="jpeg"),
    "tiff group4": lambda: pillow(Image.fromarray(photo()).convert("1"), "TIFF", compression="group4"),
    "tiff grey": lambda: pillow(photo()[..., 0], "TIFF"),
    "tiff white is zero": lambda: tiff(160, 96, [photo()[..., 0].tobytes()], samples=1, photometric=0),
    "tiff palette": lambda: pillow(_palette(), "TIFF"),
    "tiff cmyk": lambda: pillow(_cmyk(), "TIFF"),
    "tiff rgba": lambda: pillow(transparent_photo(), "TIFF"),
    "tiff big endian": lambda: tiff(160, 96, [photo().tobytes()], order=">"),
    "tiff strips": lambda: tiff(160, 96, [photo()[top : top + 7].tobytes() for top in range(0, 96, 7)], rows=7),
    "tiff tiles": lambda: tiff(
        160,
        96,
        [photo()[:, left : left + 32][top : top + 32].tobytes() for top in (0, 32, 64) for left in range(0, 160, 32)],
        tile=(32, 32),
    ),
    "tiff planes": lambda: tiff(160, 96, [photo()[..., k].tobytes() for k in range(3)], tags=[(284, 3, [2])]),
    "bigtiff": lambda: tiff(160, 96, [photo().tobytes()], big=True),
    "gif": lambda: pillow(_palette(), "GIF", interlace=0),
    "gif transparent": lambda: gif(
        (8, 6), (0, 0, 8, 6), np.arange(48, dtype=np.uint8).reshape(6, 8) % 4, transparent=1
    ),
    "gif interlaced": lambda: pillow(_palette(), "GIF", interlace=1),
    "gif animated": lambda: _animated("GIF"),
    "avif": lambda: pillow(photo(), "AVIF", quality=90),
    "avif rgba": lambda: pillow(transparent_photo(), "AVIF", quality=90),
    "avif sequence": lambda: _animated("AVIF"),
    "heif": lambda: pillow(photo(), "HEIF", quality=90),
    "heif rgba": lambda: pillow(transparent_photo(), "HEIF", quality=90),
    "jpeg2000": lambda: pillow(photo(), "JPEG2000"),
    "jpeg2000 codestream": lambda: pillow(photo(), "JPEG2000", no_jp2=True, irreversible=True),
    "jpeg2000 grey": lambda: pillow(photo()[..., 0], "JPEG2000"),
    "jpeg2000 rgba": lambda: pillow(transparent_photo(), "JPEG2000"),
    "jpeg2000 tiles": lambda: pillow(photo(), "JPEG2000", tile_size=(64, 64)),
    "jxl": lambda: pillow(photo(), "JXL", quality=90),
    "jxl lossless": lambda: pillow(photo(), "JXL", lossless=True),
    "jxl rgba": lambda: pillow(transparent_photo(), "JXL", lossless=True),
    "jxl grey": lambda: pillow(photo()[..., 0], "JXL"),
    "jxl container": lambda: pillow(photo(), "JXL", use_container=True),
}

# One plain file of each format, for what is tried on all of them.
FORMATS = {
    "jpeg": "jpeg baseline",
    "png": "png rgb",
    "webp": "webp lossy",
    "bmp": "bmp rgb",
    "tiff": "tiff lzw",
    "gif": "gif",
    "avif": "avif",
    "heif": "heif",
    "jpeg2000": "jpeg2000",
    "jxl": "jxl",
}


def sample(name: str) -> bytes:
    """One of `SAMPLES`, or the plain file of one of `FORMATS`."""
    return SAMPLES[FORMATS.get(name, name)]()
