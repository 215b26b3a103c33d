"""The size that a coded picture itself declares: a decoder allocates memory for that size, whatever the file around it
says.
"""

from __future__ import annotations

import struct
from typing import Final

from executors.preprocess.formats.bits import BitReader

# How much of an item is read: the sequence header is at its beginning and has some 20 bytes.
BEGINNING: Final = 256

_SEQUENCE_HEADER: Final = 1
_SEQUENCE_PARAMETERS: Final = 33
_MAX_UNITS: Final = 16


def hevc_sizes(configuration: bytes) -> list[tuple[int, int]]:
    """Width and height of each sequence parameter set in an `hvcC` property (ISO/IEC 14496-15, 8.3.3.1).

    Raises:
        struct.error: it is cut off.
    """
    sizes = []
    (arrays,) = struct.unpack_from("B", configuration, 22)
    position = 23
    for _ in range(min(arrays, _MAX_UNITS)):
        kind, units = struct.unpack_from(">BH", configuration, position)
        position += 3
        for _ in range(min(units, _MAX_UNITS)):
            (length,) = struct.unpack_from(">H", configuration, position)
            position += 2
            if kind & 0x3F == _SEQUENCE_PARAMETERS:
                sizes.append(_hevc_size(configuration[position : position + length]))
            position += length
    return sizes


def av1_sizes(beginning: bytes) -> list[tuple[int, int]]:
    """Width and height in the sequence header at the beginning of a coded picture; empty if none can be read."""
    try:
        return [_av1_size(beginning)]
    except (struct.error, ValueError):
        return []


def _hevc_size(unit: bytes) -> tuple[int, int]:
    """Luma width and height of a sequence parameter set (ITU-T H.265, 7.3.2.2)."""
    # 00 00 03 is the escaped form of 00 00 where the data could look like a start code.
    bits = BitReader(unit[:BEGINNING].replace(b"\0\0\3", b"\0\0"))
    bits.read(16 + 4)
    sub_layers = bits.read(3)
    bits.read(1 + 88 + 8)
    present = [(bits.read(1), bits.read(1)) for _ in range(sub_layers)]
    if sub_layers:
        bits.read(2 * (8 - sub_layers))
    for profile, level in present:
        bits.read(88 * profile + 8 * level)
    bits.read_exp_golomb()
    if bits.read_exp_golomb() == 3:
        bits.read(1)
    return bits.read_exp_golomb(), bits.read_exp_golomb()


def _av1_size(beginning: bytes) -> tuple[int, int]:
    """Largest frame of the first sequence header (AV1 specification, 5.5).

    Raises:
        ValueError: there is none.
        struct.error: the data end before.
    """
    position = 0
    for _ in range(_MAX_UNITS):
        (head,) = struct.unpack_from("B", beginning, position)
        position += 2 if head & 4 else 1
        if head & 0x80 or not head & 2:
            break
        length = shift = 0
        while True:
            (byte,) = struct.unpack_from("B", beginning, position)
            position += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80 or shift > 56:
                break
        if head >> 3 & 15 == _SEQUENCE_HEADER:
            return _av1_frame_size(BitReader(beginning[position : position + length]))
        position += length
    raise ValueError("no sequence header")


def _av1_frame_size(bits: BitReader) -> tuple[int, int]:
    bits.read(3 + 1)
    if bits.read(1):
        bits.read(5)
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    return bits.read(width_bits) + 1, bits.read(height_bits) + 1


def _skip_operating_points(bits: BitReader) -> None:
    delay_bits: int | None = None
    if bits.read(1):
        bits.read(32 + 32)
        if bits.read(1):
            bits.read_exp_golomb()
        if bits.read(1):
            delay_bits = bits.read(5) + 1
            bits.read(32 + 5 + 5)
    initial_delays = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:
            bits.read(1)
        if delay_bits is not None and bits.read(1):
            bits.read(2 * delay_bits + 1)
        if initial_delays and bits.read(1):
            bits.read(4)
