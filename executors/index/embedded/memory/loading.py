"""Loading at the start of a shard: saved graphs that are still valid, and the vectors of the rows that they don't
cover.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from executors.index.embedded.disk.meta import KnownCollection, read_collections, read_meta
from executors.index.embedded.disk.reads import vectors_after, vectors_at
from executors.index.embedded.graph.graph_file import GraphFileInvalid, LoadedGraph, load, remove
from executors.index.embedded.memory.collection_memory import CollectionMemory, GraphOptions
from executors.index.embedded.memory.duplicates import find_copy
from executors.index.embedded.memory.live_graph import LiveGraph, room_for
from executors.index.embedded.memory.shard_memory import DEFAULT_OPTIONS, LoadedVector, Memory, add_vectors
from executors.index.embedded.tags.query import all_rows
from executors.index.encoding import decode_embedding

_LOADED_AT_ONCE: Final = 1024
_ANOTHER_PAST: Final = "it belongs to another history of the shard (one of the two files was restored)"


def graph_name(number: int) -> str:
    """The name of a collection's graph file."""
    return f"graph-{number}"


def load_memory(
    connection: sqlite3.Connection,
    folder: Path,
    options: GraphOptions = DEFAULT_OPTIONS,
    notes: list[str] | None = None,
) -> Memory:
    """Read everything that searches need; `notes` receives a line for each step.

    Raises:
        VisualSearchError: `store_invalid` if the file lacks its counters.
        sqlite3.Error: the file can't be read.
    """
    notes = [] if notes is None else notes
    meta = read_meta(connection)
    memory = Memory(meta, read_collections(connection), options)
    for known in memory.collections.values():
        held = memory.held[known.number]
        live = all_rows(connection, known.number)
        held.documents = len(live)
        started = time.perf_counter()
        graph, damaged = _load_graph(connection, folder, str(meta["store_id"]), memory, known, live, notes)
        held.graph = graph
        covered = graph.extent.covered if graph is not None else 0
        damaged |= _load_vectors(
            connection, memory.applied, held, known.number, 0 if options.keeps_vectors else covered
        )
        memory.damaged[known.number].update(damaged)
        in_graph = 0 if graph is None else graph.count - graph.dead
        notes.append(
            f"collection {known.collection.name!r}: {len(live)} documents, {in_graph} of them in the saved graph, loaded in"
            f" {time.perf_counter() - started:.2f} s"
        )
    return memory


def _load_graph(
    connection: sqlite3.Connection,
    folder: Path,
    store_id: str,
    memory: Memory,
    known: KnownCollection,
    live: NDArray[np.int64],
    notes: list[str],
) -> tuple[LiveGraph | None, dict[int, str]]:
    """The saved graph of a collection, or None (with a note) if there is no valid one.

    Damaged vectors of rows in the graph are found later (by `verify`, or a search that needs one); rows already known
    to be damaged are returned with their ids.
    """
    number = known.number
    options, held = memory.options, memory.held[number]
    if len(live) < options.graph_from:
        return None, {}
    try:
        loaded = load(
            folder,
            graph_name(number),
            store_id=store_id,
            collection=number,
            dimension=held.dimension,
            precision=options.precision,
            m=options.m,
            ef_construction=options.ef_construction,
            capacity=room_for(len(live)),
        )
        _check_past(connection, loaded)
        graph = LiveGraph(loaded.graph, loaded.rows, memory.applied)
        damaged = _add_copies(connection, graph, number, live)
    except (GraphFileInvalid, OSError) as error:
        notes.append(f"collection {known.collection.name!r}: the graph is rebuilt: {error}")
        # A file that is not valid now must not look valid later.
        with suppress(OSError):
            remove(folder, graph_name(number))
        return None, {}
    graph.keep_only(live)
    return graph, damaged


def _add_copies(
    connection: sqlite3.Connection, graph: LiveGraph, number: int, live: NDArray[np.int64]
) -> dict[int, str]:
    """Find the documents that the graph covers as copies, which the file does not hold; returns the damaged ones.

    Raises:
        GraphFileInvalid: a document that the graph should cover is no copy of anything.
    """
    extent = graph.extent
    expected = live[: np.searchsorted(live, extent.covered, side="right")]
    missing = expected[~np.isin(expected, graph.rows(extent), assume_unique=True)]
    damaged: dict[int, str] = {}
    for row, document_id, embedding in vectors_at(connection, missing.tolist()):
        if embedding is None or len(embedding) != 4 * graph.graph.dimension:
            damaged[row] = document_id
            continue
        slot = find_copy(graph.graph, graph.graph.rounded(decode_embedding(embedding)[np.newaxis])[0])
        if slot is None:
            raise GraphFileInvalid("it lacks documents")
        graph.add_copy(row, slot)
    return damaged


def _check_past(connection: sqlite3.Connection, loaded: LoadedGraph) -> None:
    """Refuse a graph that was saved in another history than this file's.

    Raises:
        GraphFileInvalid: the run of a process that saved it, or the sequence number, is unknown here.
    """
    if epoch_of(connection, loaded.stamp.sequence) != loaded.stamp.epoch:
        raise GraphFileInvalid(_ANOTHER_PAST)
    # Rows reach memory a moment before the number of their transaction, so the stamp may have the number before.
    next_row = connection.execute("SELECT value FROM meta WHERE key = 'next_row'").fetchone()[0]
    if len(loaded.rows) and loaded.rows[-1] >= next_row:
        raise GraphFileInvalid(_ANOTHER_PAST)


def epoch_of(connection: sqlite3.Connection, sequence: int) -> str:
    """The run of a process that wrote the transaction of that number; empty if the transaction is not in the file."""
    row = connection.execute(
        "SELECT token FROM epochs WHERE first_sequence <= :at AND :at <= (SELECT value FROM meta WHERE key = 'sequence')"
        " ORDER BY first_sequence DESC LIMIT 1",
        {"at": sequence},
    ).fetchone()
    return "" if row is None else str(row[0])


def _load_vectors(
    connection: sqlite3.Connection, sequence: int, held: CollectionMemory, number: int, after: int
) -> dict[int, str]:
    """Load the vectors of a collection after a row; returns the damaged rows, with their ids."""
    damaged: dict[int, str] = {}
    documents = vectors_after(connection, number, after)
    while some := list(islice(documents, _LOADED_AT_ONCE)):
        sound: list[LoadedVector] = []
        for row, document_id, embedding in some:
            if embedding is None or len(embedding) != 4 * held.dimension:
                damaged[row] = document_id
            else:
                sound.append((row, document_id, embedding))
        add_vectors(held, sequence, sound)
    return damaged
