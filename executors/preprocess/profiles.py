"""Embedded ICC profiles: conversion of a file's colours to sRGB, by Little CMS through Pillow."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias

import cv2
import numpy as np
from PIL import Image, ImageCms

from executors.preprocess.pixels import Pixels

Mode: TypeAlias = Literal["RGB", "L", "CMYK", "LAB"]

# A smaller difference from sRGB is rounding: no change would be visible in an 8-bit picture.
_INVISIBLE: Final = 3
_STEPS: Final = 9
# The largest difference between the channels of grey if a codec stores lightness and colour separately.
_ROUNDED: Final = 2
# About 3 MB of RGB at a time, so that no second full-size copy exists beside the picture.
_STRIPE_PIXELS: Final = 1 << 20
# There are few profiles of cameras, phones and programs; a transform takes some 100 KB.
_TRANSFORMS: Final = 32
_MAX_PROFILE_BYTES: Final = 4_000_000


def to_srgb(image: Pixels, profile: bytes | None, *, grey: bool | None = None) -> Pixels:
    """Convert RGB pixels to sRGB, in place, by their profile.

    A profile that is damaged, of another kind than the picture, or nearly sRGB changes nothing, because a picture is
    not refused for its metadata.

    Args:
        image: H x W x 3 uint8.
        profile: an ICC profile, None for none.
        grey: whether a profile of grey fits the picture, as `fits_grey` says; None: not known yet.
    """
    if not profile or len(profile) > _MAX_PROFILE_BYTES:
        return image
    mode = profile_mode(profile)
    if mode != "RGB" and not (mode == "L" and (fits_grey(image, profile) if grey is None else grey)):
        return image
    transform = _transform(profile, mode)
    if transform is None:
        return image
    image = np.require(image, requirements=("C", "W"))
    rows = max(1, _STRIPE_PIXELS // image.shape[1])
    for top in range(0, image.shape[0], rows):
        stripe = image[top : top + rows]
        source = stripe if mode == "RGB" else np.ascontiguousarray(stripe[..., 0])
        stripe[:] = np.asarray(transform.apply(Image.fromarray(source)))
    return image


def fits_grey(image: Pixels, profile: bytes | None) -> bool:
    """Whether a picture has a profile of grey, and none of its pixels has a colour, up to rounding.

    Args:
        image: H x W, or H x W x 3 or 4, of which the fourth is alpha.
        profile: an ICC profile, None for none.
    """
    if not profile or profile_mode(profile) != "L":
        return False
    if image.ndim == 2:
        return True
    most = _ROUNDED if image.dtype == np.uint8 else _ROUNDED * 257
    first, second, third = (cv2.extractChannel(image, channel) for channel in range(3))
    return all(cv2.minMaxLoc(cv2.absdiff(first, other))[1] <= most for other in (second, third))


def layer_to_srgb(layer: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert a CMYK or CIELAB picture to RGB: by its profile or, without a usable one, as Pillow does.

    Args:
        layer: mode `CMYK` or `LAB`.
        profile: an ICC profile, None for none. CIELAB needs none.
    """
    transform: ImageCms.ImageCmsTransform | None = None
    if layer.mode == "LAB":
        transform = _lab_transform()
    elif profile and len(profile) <= _MAX_PROFILE_BYTES and profile_mode(profile) == "CMYK":
        transform = _transform(profile, "CMYK")
    return layer.convert("RGB") if transform is None else transform.apply(layer)


def profile_mode(profile: bytes) -> Mode | None:
    """The pixel mode of the profile, by its header (ICC.1:2022, 7.2.6); None for one that is not converted."""
    known: dict[bytes, Mode] = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
    return known.get(profile[16:20])


_Key: TypeAlias = tuple[bytes, Mode]
_kept: Final[OrderedDict[_Key, ImageCms.ImageCmsTransform | None]] = OrderedDict()
_kept_lock: Final = threading.Lock()


def _transform(profile: bytes, mode: Mode) -> ImageCms.ImageCmsTransform | None:
    """A cache of `_build`, keyed by a digest, since a profile itself may have megabytes."""
    key = (hashlib.sha256(profile).digest(), mode)
    with _kept_lock:
        if key in _kept:
            _kept.move_to_end(key)
            return _kept[key]
    transform = _build(profile, mode)
    with _kept_lock:
        _kept[key] = transform
        if len(_kept) > _TRANSFORMS:
            _kept.popitem(last=False)
    return transform


def _build(profile: bytes, mode: Mode) -> ImageCms.ImageCmsTransform | None:
    """The transform of a profile; None for a profile that can't be used, and for one without a visible effect."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(source, _srgb(), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return None if _changes_nothing(transform, mode) else transform


@lru_cache(maxsize=1)
def _lab_transform() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), _srgb(), "LAB", "RGB")


@lru_cache(maxsize=1)
def _srgb() -> Any:
    return ImageCms.createProfile("sRGB")


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: Mode) -> bool:
    """Whether a transform leaves a lattice of colours unchanged."""
    levels: Pixels = np.linspace(0, 255, _STEPS).round().astype(np.uint8)
    lattice: Pixels
    expected: Pixels
    if mode == "RGB":
        lattice = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(_STEPS, -1, 3)
        expected = lattice
    elif mode == "L":
        lattice = levels[None]
        expected = cv2.cvtColor(lattice, cv2.COLOR_GRAY2RGB)
    else:
        return False
    converted = np.asarray(transform.apply(Image.fromarray(np.ascontiguousarray(lattice))))
    return int(cv2.absdiff(converted, np.ascontiguousarray(expected)).max()) <= _INVISIBLE
