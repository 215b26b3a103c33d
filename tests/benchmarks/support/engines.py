"""Three engines behind what bench_engines asks of each: the embedded store, DocArray's HnswDocumentIndex, and LanceDB."""

from __future__ import annotations

import asyncio
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from executors.index.store import Store
from tests.benchmarks.support.embedded import (
    COLLECTION,
    name_of,
    open_store,
    put_rows,
    row_of,
    rows_of,
    search,
    settled,
    tags_of,
)
from tests.benchmarks.support.vectors import Vectors

LIMIT = 20
M, EF_CONSTRUCTION, EF = 16, 200, 96


class Engine(ABC):
    """An index in a folder, opened or made.

    Args:
        capacity: how many rows there will be at most, for an engine that wants to know.
    """

    @abstractmethod
    def __init__(self, folder: Path, dimension: int, capacity: int) -> None: ...

    @abstractmethod
    def add(self, vectors: Vectors, rows: Sequence[int]) -> None:
        """Write rows of the matrix in one request; on return they count as acknowledged."""

    @abstractmethod
    def search(self, query: NDArray[np.float32]) -> list[int]:
        """The rows found, best first."""

    @abstractmethod
    def present(self, rows: Sequence[int]) -> set[int]:
        """Return which of these rows can be read by their id."""

    def finish(self) -> None:  # noqa: B027 - most have nothing to do
        """Build what searches need and writes have not built yet."""

    def close(self) -> None:  # noqa: B027 - most have nothing to do
        """Let go of the files."""

    def timed(self, queries: Vectors) -> tuple[list[float], list[list[int]]]:
        """Milliseconds of each query, and the rows found."""
        took, found = [], []
        for query in queries:
            started = time.perf_counter()
            rows = self.search(query)
            took.append((time.perf_counter() - started) * 1000)
            found.append(rows)
        return took, found


class OurStore(Engine):
    """The embedded store."""

    def __init__(self, folder: Path, dimension: int, capacity: int) -> None:
        self._runner = asyncio.Runner()
        self._store: Store = self._runner.run(open_store(folder / "store", dimension))

    def add(self, vectors: Vectors, rows: Sequence[int]) -> None:
        """See `Engine`."""
        self._runner.run(put_rows(self._store, vectors, rows, len(rows)))

    def finish(self) -> None:
        """See `Engine`."""
        self._runner.run(settled(self._store))

    def search(self, query: NDArray[np.float32]) -> list[int]:
        """See `Engine`."""
        return rows_of(self._runner.run(search(self._store, query, LIMIT)))

    def timed(self, queries: Vectors) -> tuple[list[float], list[list[int]]]:
        """See `Engine`; in one event loop, as in a server."""

        async def run() -> tuple[list[float], list[list[int]]]:
            took, found = [], []
            for query in queries:
                started = time.perf_counter()
                hits = await search(self._store, query, LIMIT)
                took.append((time.perf_counter() - started) * 1000)
                found.append(rows_of(hits))
            return took, found

        return self._runner.run(run())

    def present(self, rows: Sequence[int]) -> set[int]:
        """See `Engine`; vectors are read, too, and compared with their checksums."""
        names = [name_of(row) for row in rows]
        found = self._runner.run(self._store.get(COLLECTION, names, embedding=True))
        return {row for row, document in zip(rows, found, strict=True) if document is not None}

    def close(self) -> None:
        """See `Engine`."""
        self._runner.run(self._store.close())
        self._runner.close()


class DocArrayIndex(Engine):
    """HnswDocumentIndex: hnswlib's file and SQLite; it writes the whole graph to its file in every request."""

    def __init__(self, folder: Path, dimension: int, capacity: int) -> None:
        import docarray.index
        from docarray import BaseDoc
        from docarray.typing import NdArray
        from pydantic import Field

        settings: dict[str, Any] = {
            "space": "ip", "max_elements": capacity, "M": M, "ef_construction": EF_CONSTRUCTION, "ef": EF,
        }  # fmt: skip
        make_field: Any = Field
        field = make_field(dim=dimension, **settings)

        class Picture(BaseDoc):
            tags: str
            embedding: NdArray = field

        modules: Any = docarray.index
        self._document: Any = Picture
        self._index: Any = modules.HnswDocumentIndex[Picture](work_dir=str(folder / "docarray"))
        # It keeps `ef` for a new index only.
        for index in self._index._hnsw_indices.values():
            index.set_ef(EF)

    def add(self, vectors: Vectors, rows: Sequence[int]) -> None:
        """See `Engine`."""
        from docarray import DocList

        documents = [
            self._document(id=name_of(row), tags=json.dumps(tags_of(row)), embedding=np.array(vectors[row]))
            for row in rows
        ]
        self._index.index(DocList.__class_getitem__(self._document)(documents))

    def search(self, query: NDArray[np.float32]) -> list[int]:
        """See `Engine`."""
        found, _ = self._index.find(query, search_field="embedding", limit=LIMIT)
        return [row_of(document.id) for document in found]

    def present(self, rows: Sequence[int]) -> set[int]:
        """See `Engine`."""
        there = set()
        for row in rows:
            try:
                there.add(row_of(self._index[name_of(row)].id))
            except (KeyError, RuntimeError):
                continue
        return there


class LanceTable(Engine):
    """LanceDB: a table whose fragments are compacted and indexed (IVF_HNSW_SQ) when it is asked to."""

    def __init__(self, folder: Path, dimension: int, capacity: int) -> None:
        import lancedb
        import pyarrow as pa

        self._schema = pa.schema(
            [("id", pa.string()), ("tags", pa.string()), ("vector", pa.list_(pa.float32(), dimension))]
        )
        database = lancedb.connect(folder / "lancedb")
        self._table: Any = database.create_table("images", schema=self._schema, exist_ok=True)

    def add(self, vectors: Vectors, rows: Sequence[int]) -> None:
        """See `Engine`."""
        import pyarrow as pa

        matrix = np.ascontiguousarray(vectors[rows[0] : rows[-1] + 1])
        column = pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), matrix.shape[1])
        names, tags = [name_of(row) for row in rows], [json.dumps(tags_of(row)) for row in rows]
        self._table.add(pa.table([pa.array(names), pa.array(tags), column], schema=self._schema))

    def finish(self) -> None:
        """See `Engine`."""
        self._table.optimize()
        self._table.create_index(
            metric="cosine", index_type="IVF_HNSW_SQ", num_partitions=1, m=M, ef_construction=EF_CONSTRUCTION
        )

    def search(self, query: NDArray[np.float32]) -> list[int]:
        """See `Engine`."""
        asked = self._table.search(query, vector_column_name="vector").distance_type("cosine").ef(EF)
        found = asked.refine_factor(2).limit(LIMIT).select(["id", "tags", "_distance"]).to_list()
        return [row_of(each["id"]) for each in found]

    def present(self, rows: Sequence[int]) -> set[int]:
        """See `Engine`."""
        names = self._table.search().select(["id"]).limit(self._table.count_rows()).to_arrow()["id"].to_pylist()
        return {row_of(name) for name in names} & set(rows)


ENGINES: dict[str, type[Engine]] = {
    "the store": OurStore,
    "DocArray HnswDocumentIndex": DocArrayIndex,
    "LanceDB": LanceTable,
}
