"""Decodes pictures with Pillow and its plugins: those that OpenCV does not read, or reads wrongly."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
import pillow_heif
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
)
from pillow_jxl import JpegXLImagePlugin

from executors.preprocess import colour, profiles
from executors.preprocess.formats.base import ImageFormat, ImageHeader, undecodable, unsupported
from executors.preprocess.native_stderr import silenced_native_stderr
from executors.preprocess.orientation import apply_orientation
from executors.preprocess.pixels import Pixels

# Sizes are checked by the header against the service's own limits, which may be larger than Pillow's.
Image.MAX_IMAGE_PIXELS = None
# Pictures are decoded in parallel in a pool of threads, with one thread each.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
pillow_heif.options.DECODE_THREADS = 1
JpegXLImagePlugin.DECODE_THREADS = 0
# Pillow's log lines and warnings about odd files are dropped: they become coded errors or don't matter.
logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)
warnings.filterwarnings("ignore", module=r"(PIL|pillow_heif|pillow_jxl|executors\.preprocess\.library)(\..*)?$")

# Image.open would try the plugins of all formats, and import them for damaged files.
_PLUGINS: Final[dict[ImageFormat, Callable[[io.BytesIO], ImageFile.ImageFile]]] = {
    "avif": AvifImagePlugin.AvifImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "heif": pillow_heif.HeifImageFile,
    "jpeg": JpegImagePlugin.JpegImageFile,
    "jpeg2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "jxl": JpegXLImagePlugin.JXLImageFile,
    "png": PngImagePlugin.PngImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
}
_PHOTOMETRIC: Final = 262
_MODES: Final = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr"})


def decode(data: bytes, header: ImageHeader, factor: int = 1, profile: bytes | None = None) -> Pixels:
    """Decode a picture that is within the limits by its header.

    Args:
        data: the encoded picture.
        header: of the picture.
        factor: 2, 4 or 8 for a picture at a half, a quarter or an eighth of its size, rounded up.
        profile: the ICC profile, if it was taken out of `data`.

    Returns:
        H x W x 3 uint8 RGB, upright, in sRGB, composited over white; the primary one of several pictures.

    Raises:
        VisualSearchError: `undecodable_image`; `unsupported_format` for a variant that the library does not know.
    """
    with silenced_native_stderr():
        layer = _load(data, header, factor)
    if layer.size != (header.width, header.height):
        factor = _left_to_do(layer, header, factor)
    profile = profile or layer.info.get("icc_profile")
    if profile and profiles.profile_mode(profile) == "L" and layer.mode in ("P", "RGB", "RGBA", "YCbCr"):
        # Computed once for all stripes.
        profile = profile if profiles.fits_grey(np.asarray(layer.convert("RGB")), profile) else None
    # Pillow returns deep grey as it is stored.
    inverted = layer.mode.startswith("I;16") and getattr(layer, "tag_v2", {}).get(_PHOTOMETRIC) == 0

    def rows(top: int, bottom: int) -> Pixels:
        return _rgb(layer.crop((0, top, layer.width, min(bottom, layer.height))), header.format, profile, inverted)

    return apply_orientation(colour.in_stripes((layer.height, layer.width), factor, rows), _orientation(layer, header))


def halvings(header: ImageHeader, factor: int) -> int:
    """How often a JPEG 2000 is halved while it is decoded, if 1/`factor` of its size is wanted.

    The last halving is done on the pixels instead, since wavelets leave more moiré than averaging does.
    """
    return max(0, min(factor.bit_length() - 2, header.levels))


def _load(data: bytes, header: ImageHeader, factor: int) -> ImageFile.ImageFile:
    try:
        image = _PLUGINS[header.format](io.BytesIO(data))
    except Exception as error:  # the parsers of Pillow and its plugins raise exceptions of any type for damaged data
        if isinstance(error, SyntaxError) and header.format == "tiff":
            raise unsupported("tiff", f"can't be read: {error}") from None
        raise undecodable(header.format, "is damaged: its header can't be read") from None
    if image.width * image.height > header.pixels:
        raise undecodable(header.format, "holds another size than its header declares")
    try:
        if factor > 1 and isinstance(image, JpegImagePlugin.JpegImageFile) and not header.lossless:
            image.draft(None, (-(-header.width // factor), -(-header.height // factor)))
        elif factor > 1 and isinstance(image, Jpeg2KImagePlugin.Jpeg2KImageFile):
            image.reduce = halvings(header, factor)
        image.load()
    except Exception as error:  # as above
        if isinstance(error, ValueError) and "unknown raw mode" in str(error):
            raise unsupported(header.format, "holds samples in an arrangement that is not known") from None
        raise undecodable(header.format, "is damaged: its header can be read, its pixels can't") from None
    return image


def _left_to_do(layer: Image.Image, header: ImageHeader, factor: int) -> int:
    """The factor by which a picture still has to be divided after the decoder may have reduced it."""
    done = max(1, round(max(header.width, header.height) / max(layer.size)))
    return max(1, factor // done)


def _orientation(layer: ImageFile.ImageFile, header: ImageHeader) -> int:
    """The orientation that still has to be applied: decoders report what they turned as upright."""
    if header.format in ("jpeg", "png", "gif", "bmp"):
        return header.orientation
    # libjxl applies the orientation of its own metadata, unless it restores a JPEG.
    if header.turned_by_decoder and not getattr(layer, "jpeg", False):
        return 1
    try:
        orientation = layer.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF data: a picture is not refused for them
        return 1
    return int(orientation) if orientation in range(1, 9) else 1


def _rgb(stripe: Image.Image, image_format: ImageFormat, profile: bytes | None, inverted: bool) -> Pixels:
    """Make 8-bit RGB of some rows.

    Raises:
        VisualSearchError: `unsupported_format` for floats and samples of 32 bits.
    """
    if stripe.mode in ("CMYK", "LAB"):
        return np.asarray(profiles.layer_to_srgb(stripe, profile))
    if stripe.mode not in _MODES and not stripe.mode.startswith("I;16"):
        raise unsupported(image_format, f"holds samples that are not plain colours ({stripe.mode})")
    if stripe.mode.startswith("I;16"):
        samples = np.asarray(stripe).astype(np.uint16)
        levels = colour.to_eight_bits(cv2.bitwise_not(samples) if inverted else samples)
        return profiles.to_srgb(cv2.cvtColor(levels, cv2.COLOR_GRAY2RGB), profile)
    if not stripe.has_transparency_data:
        return profiles.to_srgb(np.array(stripe.convert("RGB")), profile)
    # Pillow can't convert grey that is multiplied by its alpha to RGBA.
    samples = np.asarray((stripe.convert("LA") if stripe.mode == "La" else stripe).convert("RGBA"))
    colours = profiles.to_srgb(cv2.cvtColor(samples, cv2.COLOR_RGBA2RGB), profile)
    return colour.over_white(colours, cv2.extractChannel(samples, 3))
