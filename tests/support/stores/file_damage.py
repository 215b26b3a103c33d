"""Kinds of damage to the bytes of a file."""

from __future__ import annotations

import random


def torn(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def flipped(data: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]


def zeroed(data: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(data))
    page = bytes(len(data[place : place + 512]))
    return data[:place] + page + data[place + 512 :]


def doubled(data: bytes, chance: random.Random) -> bytes:
    return data + data[-chance.randrange(1, len(data)) :]


def garbage(data: bytes, chance: random.Random) -> bytes:
    return chance.randbytes(len(data))


def empty(data: bytes, chance: random.Random) -> bytes:
    return b""
