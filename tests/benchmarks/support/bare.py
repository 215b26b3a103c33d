"""faiss alone, with the parameters that the store gives it: what an index in memory and nothing else takes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from executors.index.embedded.memory.collection_memory import GraphOptions
from tests.benchmarks.support.common import anonymous_mib
from tests.benchmarks.support.vectors import Vectors

_AT_ONCE = 16_384


@dataclass(frozen=True, slots=True)
class BareIndex:
    """An HNSW index with vectors of half precision, and what building it took."""

    index: Any
    seconds: float
    mib: float

    def search(self, query: NDArray[np.float32], k: int, ef: int, bits: NDArray[np.uint8] | None = None) -> list[int]:
        """The rows that a walk finds, best first."""
        if bits is None:
            parameters = faiss.SearchParametersHNSW(efSearch=ef)
        else:
            parameters = faiss.SearchParametersHNSW(efSearch=ef, sel=faiss.IDSelectorBitmap(bits))
        _, rows = self.index.search(query[np.newaxis], k, params=parameters)
        found: list[int] = rows[0].tolist()
        return found


def empty_index(dimension: int, options: GraphOptions) -> Any:
    """An index without vectors."""
    index = faiss.IndexHNSWSQ(dimension, faiss.ScalarQuantizer.QT_fp16, options.m, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = options.ef_construction
    index.is_trained = True
    return index


def build_bare(vectors: Vectors, options: GraphOptions, threads: int) -> BareIndex:
    """Build with all cores; searches get one thread each afterwards."""
    before, started = anonymous_mib(), time.perf_counter()
    index = empty_index(vectors.shape[1], options)
    faiss.omp_set_num_threads(threads)
    for start in range(0, len(vectors), _AT_ONCE):
        index.add(np.ascontiguousarray(vectors[start : start + _AT_ONCE]))
    faiss.omp_set_num_threads(1)
    return BareIndex(index, time.perf_counter() - started, anonymous_mib() - before)


def save_bare(bare: BareIndex, path: Path) -> None:
    """Write the index to a file."""
    faiss.write_index(bare.index, str(path))


def load_bare(path: Path) -> BareIndex:
    """Read an index, and what that took."""
    before, started = anonymous_mib(), time.perf_counter()
    faiss.omp_set_num_threads(1)
    index = faiss.read_index(str(path))
    return BareIndex(index, time.perf_counter() - started, anonymous_mib() - before)
