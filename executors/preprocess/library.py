"""Pictures that Pillow and its plugins decode: what OpenCV does not read, or does not read right."""

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
    Image,
    ImageFile,
    ImageOps,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    TiffImagePlugin,
)
from pillow_jxl import JpegXLImagePlugin

from executors.preprocess import profiles
from executors.preprocess.colour import WHITE
from executors.preprocess.formats.base import ImageFormat, ImageHeader, undecodable, unsupported
from executors.preprocess.native_stderr import silenced_native_stderr
from executors.preprocess.pixels import Pixels

# Sizes are checked by the header against the service's own limits, which may be larger than Pillow's.
Image.MAX_IMAGE_PIXELS = None
# Pictures are decoded beside each other in a pool of threads: one thread each.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
pillow_heif.options.DECODE_THREADS = 1
JpegXLImagePlugin.DECODE_THREADS = 0
# What Pillow says of odd files, on its log and as warnings, becomes a coded error or does not matter.
logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)
warnings.filterwarnings("ignore", module=r"(PIL|pillow_heif|pillow_jxl|executors\.preprocess\.library)(\..*)?$")

# Image.open would try the plugins of all formats, and import them for what is damaged.
_PLUGINS: Final[dict[ImageFormat, Callable[[io.BytesIO], ImageFile.ImageFile]]] = {
    "avif": AvifImagePlugin.AvifImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "heif": pillow_heif.HeifImageFile,
    "jpeg": JpegImagePlugin.JpegImageFile,
    "jpeg2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "jxl": JpegXLImagePlugin.JXLImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
}
_STRIPE_PIXELS: Final = 1 << 20


def decode(data: bytes, header: ImageHeader, factor: int = 1) -> Pixels:
    """Decode a picture that is within the limits by its header.

    Args:
        data: the encoded picture.
        header: what was read of it.
        factor: 2, 4 or 8 for a JPEG or JPEG 2000 at a half, a quarter or an eighth of its size.

    Returns:
        H x W x 3 uint8 RGB, upright, in sRGB, transparency laid on white, of several pictures the primary one.

    Raises:
        VisualSearchError: `undecodable_image`; `unsupported_format` for a variant that the library does not know.
    """
    with silenced_native_stderr():
        layer = _load(data, header, factor)
    profile = layer.info.get("icc_profile")
    if layer.mode in ("CMYK", "LAB"):
        return np.asarray(profiles.layer_to_srgb(layer, profile))
    return _on_white(layer, profile)


def _load(data: bytes, header: ImageHeader, factor: int) -> Image.Image:
    try:
        image = _PLUGINS[header.format](io.BytesIO(data))
    except SyntaxError as error:
        if header.format == "tiff":
            raise unsupported("tiff", f"can't be read: {error}") from None
        raise undecodable(header.format, "is damaged: its header can't be read") from None
    except Exception:  # the parsers of Pillow and its plugins raise whatever they meet in damaged data
        raise undecodable(header.format, "is damaged: its header can't be read") from None
    largest = max(header.width * header.height, header.buffer_width * header.buffer_height)
    if image.width * image.height > largest:
        raise undecodable(header.format, "holds another size than its header declares")
    try:
        if factor > 1 and isinstance(image, JpegImagePlugin.JpegImageFile):
            image.draft(None, (-(-header.width // factor), -(-header.height // factor)))
        elif factor > 1 and isinstance(image, Jpeg2KImagePlugin.Jpeg2KImageFile):
            image.reduce = factor.bit_length() - 1
        image.load()
        # libjxl turns the picture itself, unless it gives back a JPEG.
        turned = header.format == "jxl" and not getattr(image, "jpeg", False)
        return image if turned else ImageOps.exif_transpose(image)
    except Exception:  # as above
        raise undecodable(header.format, "is damaged: its header can be read, its pixels can't") from None


def _on_white(layer: Image.Image, profile: bytes | None) -> Pixels:
    """Make 8-bit RGB of any mode, row by row where colours or transparency have to be worked on."""
    if layer.mode.startswith("I;16"):
        return profiles.to_srgb(_from_sixteen_bits(layer), profile)
    if not layer.has_transparency_data:
        return profiles.to_srgb(np.array(layer.convert("RGB")), profile)
    if layer.mode not in ("RGBA", "RGBa"):
        layer = layer.convert("RGBA")
    result = np.empty((layer.height, layer.width, 3), np.uint8)
    rows = max(1, _STRIPE_PIXELS // layer.width)
    for top in range(0, layer.height, rows):
        bottom = min(top + rows, layer.height)
        stripe = layer.crop((0, top, layer.width, bottom))
        if stripe.mode == "RGBa":
            stripe = stripe.convert("RGBA")
        samples = np.asarray(stripe)
        colours = profiles.to_srgb(np.ascontiguousarray(samples[..., :3]), profile)
        result[top:bottom] = over_white(colours, np.ascontiguousarray(samples[..., 3]))
    return result


def over_white(colours: Pixels, opacity: Pixels) -> Pixels:
    """H x W x 3 colours and H x W opacity, uint8: colour x alpha + white x (1 - alpha)."""
    darkness = cv2.multiply(cv2.bitwise_not(colours), cv2.cvtColor(opacity, cv2.COLOR_GRAY2RGB), scale=1 / WHITE)
    return cv2.bitwise_not(darkness)


def _from_sixteen_bits(layer: Image.Image) -> Pixels:
    samples = np.asarray(layer)
    grey = cv2.convertScaleAbs(samples.astype(np.uint16), alpha=1 / 257)
    return cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
