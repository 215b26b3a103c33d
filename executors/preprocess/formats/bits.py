"""Numbers of any number of bits, as codecs write them."""

from __future__ import annotations

import struct


class BitReader:
    """Reads bits of each byte from the highest on, or from the lowest."""

    def __init__(self, data: bytes, *, lowest_first: bool = False) -> None:
        order = "little" if lowest_first else "big"
        self._value = int.from_bytes(data, order)  # type: ignore[arg-type]
        self._size = 8 * len(data)
        self._lowest_first = lowest_first
        self._position = 0

    def read(self, count: int) -> int:
        """The next `count` bits.

        Raises:
            struct.error: the data end before.
        """
        end = self._position + count
        if end > self._size:
            raise struct.error("the data are cut off")
        shift = self._position if self._lowest_first else self._size - end
        self._position = end
        return self._value >> shift & (1 << count) - 1

    def read_exp_golomb(self) -> int:
        """An unsigned number in Exp-Golomb code (ITU-T H.265, 9.2).

        Raises:
            struct.error: the data end before, or the number has more than 32 bits.
        """
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > 32:
                raise struct.error("a number is too large")
        return (1 << zeros) - 1 + self.read(zeros)
