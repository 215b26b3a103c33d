"""Decodes BMPs without run lengths, with any palette and any masks; no library reads all of these."""

from __future__ import annotations

from typing import Final

import numpy as np

from executors.preprocess.colour import over_white
from executors.preprocess.formats.base import undecodable
from executors.preprocess.formats.bmp import Layout
from executors.preprocess.pixels import Pixels

_STRIPE_PIXELS: Final = 1 << 20


def decode(data: bytes, layout: Layout) -> Pixels:
    """Decode a BMP without run lengths, in stripes.

    Returns:
        H x W x 3 uint8 RGB, composited over white.

    Raises:
        VisualSearchError: `undecodable_image` when rows are missing.
    """
    row_bytes = layout.row_bytes
    # The last row needs no padding.
    needed = row_bytes * (layout.height - 1) + (layout.width * layout.bits + 7) // 8
    if layout.pixels + needed > len(data):
        raise undecodable("bmp", "is cut off")
    result = np.empty((layout.height, layout.width, 3), np.uint8)
    palette = _palette(data, layout)
    per_stripe = max(1, _STRIPE_PIXELS // layout.width)
    for first in range(0, layout.height, per_stripe):
        count = min(per_stripe, layout.height - first)
        start = layout.pixels + first * row_bytes
        stored = data[start : start + count * row_bytes].ljust(count * row_bytes, b"\0")
        colours = _colours(np.frombuffer(stored, np.uint8).reshape(count, row_bytes), layout, palette)
        if layout.downwards:
            result[first : first + count] = colours
        else:
            end = layout.height - first
            result[end - count : end] = colours[::-1]
    return result


def _palette(data: bytes, layout: Layout) -> Pixels:
    """The colours by index, H x 3 RGB; black beyond the last."""
    start, count, entry = layout.palette
    stored = data[start : start + count * entry]
    count = len(stored) // entry
    palette = np.zeros((max(256, count), 3), np.uint8)
    palette[:count] = np.frombuffer(stored[: count * entry], np.uint8).reshape(count, entry)[:, 2::-1]
    return palette


def _colours(rows: Pixels, layout: Layout, palette: Pixels) -> Pixels:
    """RGB of some stored rows, H x row_bytes uint8."""
    width, bits = layout.width, layout.bits
    if bits <= 8:
        return palette[_indices(rows, bits)[:, :width]]
    if bits == 24:
        return rows[:, : width * 3].reshape(len(rows), width, 3)[..., ::-1]
    pixels = rows.view("<u2" if bits == 16 else "<u4")[:, :width].astype(np.uint32)
    colours = np.stack([_sample(pixels, mask) for mask in layout.masks[:3]], axis=-1)
    return over_white(colours, _sample(pixels, layout.masks[3])) if layout.masks[3] else colours


def _indices(rows: Pixels, bits: int) -> Pixels:
    """Split bytes into numbers of 1, 2, 4 or 8 bits, the highest first."""
    if bits == 8:
        return rows
    shifts: Pixels = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    numbers: Pixels = rows[..., None] >> shifts & (1 << bits) - 1
    return numbers.reshape(len(rows), -1)


def _sample(pixels: Pixels, mask: int) -> Pixels:
    """The bits under a mask, scaled to the range 0 to 255."""
    if mask == 0:
        return np.zeros(pixels.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    most = mask >> shift
    values: Pixels = (pixels & np.uint32(mask)) >> np.uint32(shift)
    if most == 255:
        return values.astype(np.uint8)
    return np.rint(values * (255 / most)).astype(np.uint8)
