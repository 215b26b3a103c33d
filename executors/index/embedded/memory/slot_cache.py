"""A cache of the slots that filters select, for the next search with the same filter."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_MOST_KEPT: Final = 8


@dataclass(frozen=True, slots=True)
class Selection:
    """The slots that may be found.

    Attributes:
        bits: little-endian, one for each slot.
        slots: how many are set.
        size: how many rows they stand for.
    """

    bits: NDArray[np.uint8]
    slots: int
    size: int


class Selections:
    """The selections that were used last. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[object, Selection]] = OrderedDict()

    def get(self, key: Hashable, owner: object, make: Callable[[], Selection]) -> Selection:
        """The selection of a key, made if it is not there.

        Args:
            owner: the object whose identity is part of the key. It is kept as long as the selection, so that no other
                object gets the same identity.
        """
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
                return kept[1]
        made = make()
        with self._lock:
            self._kept[key] = owner, made
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return made
