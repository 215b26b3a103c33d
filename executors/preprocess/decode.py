"""Decodes pictures to upright sRGB pixels: the common formats with OpenCV, the others with Pillow and its plugins."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Final

import cv2
import numpy as np

from executors.preprocess import bitmap, colour, library, profiles
from executors.preprocess.formats import bmp, gif, jpeg, png, tiff, webp
from executors.preprocess.formats.base import ImageHeader, undecodable
from executors.preprocess.native_stderr import silenced_native_stderr
from executors.preprocess.orientation import apply_orientation
from executors.preprocess.pixels import Pixels

_RGB: Final = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_AS_STORED: Final = cv2.IMREAD_UNCHANGED
# IMREAD_REDUCED_* yield BGR.
_REDUCED: Final = {
    2: cv2.IMREAD_REDUCED_COLOR_2 | cv2.IMREAD_IGNORE_ORIENTATION,
    4: cv2.IMREAD_REDUCED_COLOR_4 | cv2.IMREAD_IGNORE_ORIENTATION,
    8: cv2.IMREAD_REDUCED_COLOR_8 | cv2.IMREAD_IGNORE_ORIENTATION,
}
# If data are missing, libjpeg sets coefficients to zero, which gives this grey.
_MISSING_GREY: Final = 128
# An interrupted download leaves zeros at the end of a file that has its full size already.
_UNWRITTEN: Final = bytes(16)
# These bytes can't be mistaken for a marker, and contain Huffman codes of all sorts.
_NOISE_BYTES: Final = bytes((37 * index + 11) % 251 for index in range(512))
# If a restart is due, libjpeg skips all bytes before it.
_NOISE: Final = _NOISE_BYTES + b"".join(bytes([0xFF, restart]) + _NOISE_BYTES for restart in range(0xD0, 0xD8))


def configure_opencv() -> None:
    """Configure OpenCV for a server; call it once in every process that prepares pictures, before any thread does.

    Each call uses one thread, because pictures are decoded in parallel in a pool of threads, and because a child that
    is forked from a process with OpenCV's threads hangs at its first call. Log lines are off: failures become coded
    errors.
    """
    cv2.setNumThreads(0)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def decode(data: bytes, header: ImageHeader, at_least: tuple[int, int] | None = None) -> Pixels:
    """Decode a picture whose header was read and is within the limits.

    Args:
        data: the encoded picture.
        header: the result of `read_header`.
        at_least: height and width (upright, pixels) that the result must have at least. A larger picture may be
            returned at a half, a quarter or an eighth. A JPEG (its DCT is evaluated at that scale) and a JPEG 2000 then
            take less time and memory; for pictures that are processed further after the decoder, this avoids a second
            full-size copy. All others are returned at full size.

    Returns:
        H x W x 3 uint8 RGB, upright, in sRGB, composited over white; the first frame of an animation.

    Raises:
        VisualSearchError: `undecodable_image`, or `unsupported_format` for a variant that no decoder knows.
    """
    factor = reduction(header, at_least)
    match header.format:
        case "jpeg":
            stored = _decode_jpeg(data, header, factor)
        case "png":
            stored = _decode_png(data, header, factor)
        case "gif":
            stored = _decode_gif(data, header)
        case "webp":
            stored = _decode_webp(data, header, factor)
        case _:
            return _decode_by_library(data, header, factor)
    return apply_orientation(stored, header.orientation)


def reduction(header: ImageHeader, at_least: tuple[int, int] | None) -> int:
    """The largest of 8, 4, 2 by which a picture may be divided without falling below a size; 1 if there is none."""
    if at_least is None:
        return 1
    height, width = header.upright_size
    factors = (factor for factor in (8, 4, 2) if height >= factor * at_least[0] and width >= factor * at_least[1])
    return next(factors, 1)


def _decode_jpeg(data: bytes, header: ImageHeader, factor: int) -> Pixels:
    """Decode a JPEG at a fraction of its size, and check that it is complete."""
    if header.progressive:
        jpeg.find_end(data)
    if header.lossless:
        # OpenCV reads only those in colours.
        return library.decode(data, replace(header, orientation=1), factor)
    flags = _REDUCED.get(factor, _RGB)
    with silenced_native_stderr():
        image = _imdecode(data, flags)
        if image is None or _looks_incomplete(image, data):
            image = _decode_if_complete(data, flags)
    expected = (-(-header.height // factor), -(-header.width // factor), 3)
    if image is None or image.shape != expected:
        raise undecodable("jpeg", "is damaged: its header can be read, its pixels can't")
    if header.profile is not None and header.inks:
        return library.decode(data, replace(header, orientation=1), factor)
    colours = image if factor == 1 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return profiles.to_srgb(colours, header.profile)


def _looks_incomplete(image: Pixels, data: bytes) -> bool:
    """Whether a decoded JPEG ends in the grey of missing data, or its file in zeros, so that a closer check is needed."""
    ends_in_grey = bool((np.abs(image[-1, -1].astype(int) - _MISSING_GREY) <= 1).all())
    return ends_in_grey or data.removesuffix(jpeg.END_OF_IMAGE).endswith(_UNWRITTEN)


def _decode_if_complete(data: bytes, flags: int) -> Pixels | None:
    """Decode a JPEG that may have lost its end, if its data reach to its last pixel.

    libjpeg fills missing data in and only warns, on stderr. But bytes added behind a complete picture are skipped,
    while behind an incomplete one they become pixels: the picture is complete if such bytes don't change it.
    """
    end = jpeg.find_end(data)
    if end is None and jpeg.lacks_passes(data):
        return None
    body = data.rstrip(b"\xff") if end is None else data[:end]
    plain = _imdecode(body + jpeg.END_OF_IMAGE, flags)
    if body.endswith(_UNWRITTEN) and _same_with_noise(plain, body[: -len(_UNWRITTEN)], flags):
        # An interrupted download left more zeros than the picture took (a flat picture may well consist of zeros).
        body = body.rstrip(b"\0")
        # FF 00 is a byte of the picture.
        body += b"\0" if body.endswith(b"\xff") else b""
    return plain if _same_with_noise(plain, body, flags) else None


def _same_with_noise(plain: Pixels | None, body: bytes, flags: int) -> bool:
    """Whether a picture stays the same if noise follows its data."""
    noisy = _imdecode(body + _NOISE + jpeg.END_OF_IMAGE, flags)
    return plain is not None and noisy is not None and np.array_equal(plain, noisy)


def _decode_png(data: bytes, header: ImageHeader, factor: int) -> Pixels:
    """Decode a PNG with as few bytes a pixel as show all of it."""
    pixels_only = png.keep_pixels_only(data)
    if header.bits == 16 and header.alpha:
        # OpenCV keeps 16 bits of each sample, Pillow 8.
        return library.decode(pixels_only, replace(header, orientation=1), factor, header.profile)
    png.check_excess(pixels_only)
    if header.may_be_transparent:
        return colour.finish(_decode_opencv(pixels_only, header, _AS_STORED), header, factor)
    if header.grey:
        return colour.finish(_decode_opencv(pixels_only, header, cv2.IMREAD_GRAYSCALE), header, factor)
    return profiles.to_srgb(_decode_opencv(pixels_only, header, _RGB), header.profile)


def _decode_webp(data: bytes, header: ImageHeader, factor: int) -> Pixels:
    if header.alpha:
        return colour.finish(_decode_opencv(webp.announce_alpha(data), header, _AS_STORED), header, factor)
    return profiles.to_srgb(_decode_opencv(data, header, _RGB), header.profile)


def _decode_gif(data: bytes, header: ImageHeader) -> Pixels:
    """Decode the first frame and put it on the canvas.

    The rest of the canvas is transparent or, in a GIF without transparency, of the first colour (as in Pillow).
    """
    frame = gif.find_first_frame(data)
    alone = gif.cut_out(data, frame)
    image = _imdecode(alone, _AS_STORED if header.alpha else _RGB) if frame.has_colours else None
    if image is None or image.shape[:2] != (frame.height, frame.width):
        # Pillow ignores excess pixels, a missing palette, or colours beyond the palette.
        pixels = library.decode(alone, replace(header, width=frame.width, height=frame.height))
    else:
        pixels = colour.finish(image, header) if header.alpha else image
    if (frame.height, frame.width) == (header.height, header.width):
        return pixels
    canvas = np.empty((header.height, header.width, 3), np.uint8)
    canvas[:] = colour.WHITE if header.alpha else gif.first_colour(data, frame)
    canvas[frame.top : frame.top + frame.height, frame.left : frame.left + frame.width] = pixels
    return canvas


def _decode_by_library(data: bytes, header: ImageHeader, factor: int) -> Pixels:
    try:
        if header.format == "tiff":
            tiff.check_complete(data)
            if parts := tiff.webp_parts(data):
                return _decode_webp_in_tiff(data, header, parts)
        elif header.format == "bmp" and not (layout := bmp.read_layout(data)).run_lengths:
            return bitmap.decode(data, layout)
    except struct.error:
        raise undecodable(header.format, "is damaged: its header contradicts itself") from None
    return library.decode(data, header, factor)


def _decode_webp_in_tiff(data: bytes, header: ImageHeader, parts: list[tiff.Part]) -> Pixels:
    """Assemble a TIFF from its WebP strips or tiles, which Pillow's libtiff can't decompress."""
    image = np.full((header.height, header.width, 3), colour.WHITE, np.uint8)
    for part in parts:
        target = image[part.top :, part.left :]
        encoded = data[part.start : part.end]
        own = webp.read(encoded)
        if max(own.width, own.buffer_width) > part.width or max(own.height, own.buffer_height) > part.height:
            raise undecodable("tiff", "holds a part that is larger than its place")
        pixels = _decode_webp(encoded, own, 1)
        height, width = min(len(target), len(pixels)), min(target.shape[1], pixels.shape[1])
        target[:height, :width] = pixels[:height, :width]
    return apply_orientation(image, header.orientation)


def _decode_opencv(data: bytes, header: ImageHeader, flags: int) -> Pixels:
    """Decode at full size."""
    with silenced_native_stderr():
        image = _imdecode(data, flags)
    if image is None or image.shape[:2] != (header.height, header.width):
        raise undecodable(header.format, "is damaged: its header can be read, its pixels can't")
    return image


def _imdecode(data: bytes, flags: int) -> Pixels | None:
    """OpenCV's decoder, which returns None for every failure."""
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
