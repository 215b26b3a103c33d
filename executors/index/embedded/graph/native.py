"""The part of faiss that the graph needs: memory that never moves, views of its arrays, and its thread settings.

This is the only module that imports faiss.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any, Final, Literal, cast

import faiss
import numpy as np
from numpy.typing import NDArray

Precision = Literal["half", "single"]
FAISS_VERSION: Final[str] = faiss.__version__

_SPARE_LINK_LISTS: Final = 16
_SIGMAS: Final = 8.0
_FREED_AT_ONCE: Final = 1 << 24
_FREED_PAUSE_S: Final = 0.001

_MADVISE: Final[Any] = getattr(ctypes.CDLL(None), "madvise", None) if sys.platform.startswith("linux") else None
if _MADVISE is not None:
    _MADVISE.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)

# faiss asks Python for signals in every search and in every add, also on threads that receive none. For that it takes
# the GIL, which waits for up to a switch interval (5 ms) while other threads compute; in an add, the write lock is held
# meanwhile.
faiss.InterruptCallback.clear_instance()


@dataclass(frozen=True, slots=True)
class Arrays:
    """Views of the arrays of a graph; valid until the graph grows.

    Attributes:
        codes: uint8, the stored vectors one after another.
        levels: int32, on how many levels each vector is linked.
        offsets: uint64, one more than there are vectors: the positions where the links of each begin.
        neighbors: int32 slots, -1 for a free link.
    """

    codes: NDArray[np.uint8]
    levels: NDArray[np.int32]
    offsets: NDArray[np.uint64]
    neighbors: NDArray[np.int32]


class NativeIndex:
    """A faiss HNSW index by inner product whose arrays keep room for `capacity` vectors.

    Args:
        used: how many of them `expand` is about to fill in at once.

    Attributes:
        index: the faiss index; `storage`: the index in it that holds the vectors.
    """

    def __init__(
        self, dimension: int, precision: Precision, capacity: int, m: int, ef_construction: int, used: int
    ) -> None:
        self.index: Any
        if precision == "half":
            kind = faiss.ScalarQuantizer.QT_fp16
            self.index = faiss.IndexHNSWSQ(dimension, kind, m, faiss.METRIC_INNER_PRODUCT)
        else:
            self.index = faiss.IndexHNSWFlat(dimension, m, faiss.METRIC_INNER_PRODUCT)
        self.index.hnsw.efConstruction = ef_construction
        self.storage: Any = faiss.downcast_index(self.index.storage)
        hnsw = self.index.hnsw
        links = _links_expected(capacity, m)
        _reserve(self.storage.codes, capacity * self.storage.code_size, 1, used * self.storage.code_size)
        _reserve(hnsw.levels, capacity, 4, used)
        _reserve(hnsw.offsets, capacity + 1, 8, used)
        _reserve(hnsw.neighbors, links, 4, 2 * m * used)
        hnsw.offsets.resize(1)
        # The last thread to drop an index may be a search, or may hold the lock that searches wait for.
        weakref.finalize(self, _free_aside, self.index, self.storage).atexit = False

    @property
    def entry_point(self) -> int:
        """The slot where a walk begins; -1 in an empty graph."""
        return int(self.index.hnsw.entry_point)

    @property
    def max_level(self) -> int:
        """The level at which a walk begins; -1 in an empty graph."""
        return int(self.index.hnsw.max_level)

    def addresses(self) -> tuple[int, int, int, int]:
        """The addresses of codes, levels, offsets and neighbors in memory."""
        hnsw = self.index.hnsw
        codes, levels, offsets, neighbors = self.storage.codes, hnsw.levels, hnsw.offsets, hnsw.neighbors
        return int(codes.data()), int(levels.data()), int(offsets.data()), int(neighbors.data())

    def arrays(self) -> Arrays:
        """Views of everything that is filled."""
        hnsw = self.index.hnsw
        return Arrays(_view(self.storage.codes), _view(hnsw.levels), _view(hnsw.offsets), _view(hnsw.neighbors))

    def expand(self, count: int, links: int) -> Arrays:
        """Make an empty index `count` vectors long, with room for as many links; the caller fills the arrays."""
        hnsw = self.index.hnsw
        self.storage.codes.resize(count * self.storage.code_size)
        hnsw.levels.resize(count)
        hnsw.offsets.resize(count + 1)
        hnsw.neighbors.resize(links)
        return self.arrays()

    def settle(self, count: int, entry_point: int, max_level: int) -> None:
        """Put an index to use whose arrays have been filled."""
        hnsw = self.index.hnsw
        hnsw.entry_point, hnsw.max_level = entry_point, max_level
        self.storage.ntotal = self.index.ntotal = count
        # Otherwise the levels of the next vectors would repeat those of the first ones.
        hnsw.rng = faiss.RandomGenerator(count)

    def first_links(self) -> NDArray[np.int64]:
        """The number of links of a vector that is linked on 0, 1, 2, ... levels: int64, ascending."""
        return np.asarray(faiss.vector_to_array(self.index.hnsw.cum_nneighbor_per_level), dtype=np.int64)


def walk_parameters(ef: int, selected: NDArray[np.uint8] | None) -> Any:
    """The parameters of `index.search`; a slot without a bit in `selected` is walked over, but not returned."""
    if selected is None:
        return faiss.SearchParametersHNSW(efSearch=ef)
    return faiss.SearchParametersHNSW(efSearch=ef, sel=faiss.IDSelectorBitmap(selected))


def scan_parameters(count: int, selected: NDArray[np.uint8] | None) -> Any:
    """The parameters of `storage.search`: the selected slots, or the first `count`."""
    selector = faiss.IDSelectorRange(0, count) if selected is None else faiss.IDSelectorBitmap(selected)
    return faiss.SearchParameters(sel=selector)


def use_one_thread() -> None:
    """Make faiss use only the calling thread for calls from it. Every search thread calls this first."""
    faiss.omp_set_num_threads(1)


@contextmanager
def using_threads(threads: int) -> Iterator[None]:
    """Let faiss use that many threads for calls from this thread, and afterwards as many as before."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _links_expected(capacity: int, m: int) -> int:
    """The maximum number of links of that many vectors.

    Each vector has 2 m links on the lowest level and m on every further one; it is on the next level with a probability
    of 1 / m (as faiss draws it). Eight standard deviations above the mean are never reached; if they were, one add
    would move memory.
    """
    chance = 1.0 / m
    levels = capacity * chance / (1.0 - chance) + _SIGMAS * sqrt(capacity * chance) / (1.0 - chance)
    return 2 * m * capacity + m * (ceil(levels) + _SPARE_LINK_LISTS)


def _view(vector: Any) -> NDArray[Any]:
    return cast(NDArray[Any], faiss.rev_swig_ptr(vector.data(), vector.size()))


def _reserve(vector: Any, elements: int, element_size: int, used: int) -> None:
    """Give an empty C++ vector capacity, which it keeps: a C++ vector that shrinks never gives memory back.

    `used` of the elements are about to be filled, so their pages stay.
    """
    vector.resize(elements)
    if elements > used:
        _forget(int(vector.data()) + used * element_size, (elements - used) * element_size)
    vector.resize(0)


def _forget(address: int, size: int) -> None:
    """Return the memory pages to the system; they come back as zeros one by one when they are used again.

    This happens in pieces: during each one, the kernel lets no other thread of the process map memory, which numpy does
    for any large array.
    """
    if _MADVISE is None:
        return
    start = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (address + size) // mmap.PAGESIZE * mmap.PAGESIZE
    for piece in range(start, end, _FREED_AT_ONCE):
        if piece > start:
            time.sleep(_FREED_PAUSE_S)
        # If the kernel refuses, the only cost is memory.
        _MADVISE(piece, min(_FREED_AT_ONCE, end - piece), mmap.MADV_DONTNEED)


def _free_aside(index: Any, storage: Any) -> None:
    """Free the memory of an index that is no longer used, on a separate thread if it is large.

    The kernel takes about 100 ms for a gigabyte, and lets no other thread map memory meanwhile.
    """
    if int(storage.codes.size()) < _FREED_AT_ONCE:
        return
    try:
        threading.Thread(target=_free, args=(index, storage), name="index-free", daemon=True).start()
    except RuntimeError:
        # No thread can be started. If malloc kept the memory, it might never go back.
        _free(index, storage)


def _free(index: Any, storage: Any) -> None:
    hnsw = index.hnsw
    for vector, element_size in ((storage.codes, 1), (hnsw.levels, 4), (hnsw.offsets, 8), (hnsw.neighbors, 4)):
        _forget(int(vector.data()), int(vector.size()) * element_size)
