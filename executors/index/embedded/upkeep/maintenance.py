"""The maintenance thread: it adds new rows to the graphs, rebuilds graphs that are full of removed rows, saves, and
purges.

It works in small steps and takes turns between collections, so that no search waits long (the graph's lock is held for
a few rows), no write (a write only waits for the moment in which rows change their place), and no other collection.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import Any, Final

from executors.errors import VisualSearchError
from executors.index.embedded.disk.database import ReadConnections
from executors.index.embedded.disk.meta import dropped_collections, free_pages, read_meta
from executors.index.embedded.disk.placement import Placement
from executors.index.embedded.disk.transaction import Transaction
from executors.index.embedded.graph.graph_file import Stamp, remove, save
from executors.index.embedded.graph.hnsw import use_one_thread
from executors.index.embedded.memory.collection_memory import CollectionMemory
from executors.index.embedded.memory.live_graph import ROWS_A_MOVE, LiveGraph, room_for
from executors.index.embedded.memory.loading import epoch_of, graph_name
from executors.index.embedded.memory.shard_memory import Memory
from executors.index.embedded.upkeep.rebuild import Rebuild
from executors.index.embedded.write.writer import Writer

_MOVED_A_TURN: Final = 256
_PURGED_A_TURN: Final = 500
_REBUILD_FROM_DEAD: Final = 0.2
_SAVE_AT_LEAST: Final = 10_000
# A graph that differs from its file by fewer rows is not saved when the shard closes: they are added again at the
# start.
_SAVE_AT_CLOSE: Final = 1_000
_SAVE_RETRY_S: Final = 60.0
_IDLE_S: Final = 0.5
_FREE_PAGES_KEPT: Final = 1024
_VACUUM_EVERY_S: Final = 5.0

_log = logging.getLogger(__name__)


class Maintenance:
    """The maintenance thread of a shard. Call `wake` after every write; `close` waits for the running step, and saves.

    Args:
        placement: the folder where graphs are saved, as long as it belongs to the shard.
        memory: the memory to keep up to date.
        reading: connections of this thread's own.
        writer: removes the documents of dropped collections.
    """

    def __init__(self, placement: Placement, memory: Memory, reading: ReadConnections, writer: Writer) -> None:
        self._placement = placement
        self._folder = placement.folder
        self._memory = memory
        self._reading = reading
        self._writer = writer
        self._wake = threading.Event()
        self._closing = False
        self._rebuilds: dict[int, Rebuild] = {}
        self._wanted: set[int] = set()
        # By collection: how many rebuilds have finished since this process started.
        self._rebuilt: Counter[int] = Counter()
        # By collection: the graph that was saved last, and how many rows it had.
        self._saved: dict[int, tuple[LiveGraph, int]] = {
            number: (held.graph, held.graph.count) for number, held in memory.held.items() if held.graph is not None
        }
        self._save_again_at = 0.0
        self._to_purge = reading.run(dropped_collections)
        self._vacuum_at = 0.0
        self._thread = threading.Thread(target=self._run, name="index-graph", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Tell the thread that there may be work."""
        self._wake.set()

    def reindex(self, numbers: set[int]) -> None:
        """Rebuild the graphs of these collections."""
        self._wanted |= numbers
        self._wake.set()

    def purge(self, number: int) -> None:
        """Remove the documents of a dropped collection, a few at a time."""
        self._to_purge = [*self._to_purge, number]
        self._wake.set()

    def close(self) -> None:
        """Finish the running step, save the graphs that changed enough, end the thread."""
        self._closing = True
        self._wake.set()
        self._thread.join()

    def report(self) -> list[dict[str, Any]]:
        """For each collection: what the graph covers, whether it is being rebuilt, and how often it has been.

        The counter of finished rebuilds is read after the running ones, in the reverse of the order in which the thread
        sets them, so that a finished rebuild is never missing from both.
        """
        lines = []
        for name, known in sorted(self._memory.collections.items()):
            held = self._memory.held.get(known.number)
            if held is None:
                continue
            waiting = known.number in self._wanted
            rebuild = self._rebuilds.get(known.number)
            graph = held.graph
            lines.append(
                {
                    "collection": name,
                    "documents": held.documents,
                    "in_graph": 0 if graph is None else graph.count - graph.dead,
                    "removed_in_graph": 0 if graph is None else graph.dead,
                    "uncovered": held.uncovered,
                    # Without a graph, there is nothing to rebuild, also on request.
                    "rebuilding": None if rebuild is None and not (waiting and graph is not None)
                    else {"done": 0 if rebuild is None else rebuild.done, "total": held.documents},
                    "rebuilds": self._rebuilt[known.number],
                }
            )  # fmt: skip
        return lines

    def _run(self) -> None:
        use_one_thread()
        while not self._closing:
            if self._placement.lost is not None:
                self._wake.wait(_IDLE_S)
                self._wake.clear()
                continue
            busy = False
            for step in (self._keep_graphs, self._rebuild, self._save_due, self._purge, self._vacuum):
                try:
                    busy = step() or busy
                except Exception:
                    # Whatever the error is, searches and writes go on; the step is tried again later.
                    _log.exception("the graphs could not be kept up to date; trying again")
                    time.sleep(_IDLE_S)
            if not busy:
                self._wake.wait(_IDLE_S)
                self._wake.clear()
        for rebuild in self._rebuilds.values():
            rebuild.abandon()
        if self._placement.lost is None:
            with suppress(Exception):
                self._save_all(_SAVE_AT_CLOSE)

    def _keep_graphs(self) -> bool:
        busy = False
        for number, held in list(self._memory.held.items()):
            try:
                if held.graph is None and held.documents >= held.options.graph_from:
                    held.start_graph(self._memory.applied)
                busy = self._move(held) or busy
            except Exception:
                # The usual cause is a lack of memory. Rows outside the graph are compared one by one; the other
                # collections go on.
                _log.exception("the graph of collection %d could not be kept up to date; trying again", number)
            self._plan_rebuild(number, held)
        return busy

    def _move(self, held: CollectionMemory) -> bool:
        """Add some of the new rows to the graph; returns whether there may be more."""
        graph = held.graph
        if graph is None or not graph.graph.complete:
            return False
        moved = 0
        while moved < _MOVED_A_TURN and not self._closing:
            if not graph.has_room:
                graph.grow(room_for(graph.extent.slots + _MOVED_A_TURN), held.changing)
            count = held.move_some(ROWS_A_MOVE)
            moved += count
            if not count:
                break
        if moved:
            held.drop_covered()
        return moved > 0

    def _plan_rebuild(self, number: int, held: CollectionMemory) -> None:
        graph = held.graph
        if graph is None or number in self._rebuilds:
            self._wanted -= {number} if graph is None else set()
            return
        if not graph.graph.complete or number in self._wanted or graph.dead > max(1, _REBUILD_FROM_DEAD * graph.count):
            self._rebuilds[number] = Rebuild(self._memory, number, held, self._reading)
            self._wanted.discard(number)

    def _rebuild(self) -> bool:
        for number, rebuild in list(self._rebuilds.items()):
            held = self._memory.held.get(number)
            old = None if held is None else held.graph
            try:
                rebuild.step()
            except BaseException:
                rebuild.abandon()
                del self._rebuilds[number]
                raise
            if rebuild.finished:
                # A rebuild that ended because its collection was dropped, or because its graph is missing, has replaced
                # nothing.
                if held is not None and held.graph is not old:
                    self._rebuilt[number] += 1
                del self._rebuilds[number]
        return bool(self._rebuilds)

    def _save_due(self) -> bool:
        if time.monotonic() >= self._save_again_at:
            options = self._memory.options
            self._save_all(options.save_every)
        return False

    def _save_all(self, at_least: int) -> None:
        """Save the graphs that differ from their files by that many rows (0: a tenth, and at least 10,000)."""
        for number, held in list(self._memory.held.items()):
            graph = held.graph
            if graph is None:
                continue
            saved, rows = self._saved.get(number, (None, 0))
            changed = graph.count - rows if saved is graph else graph.count
            if changed >= (at_least or max(_SAVE_AT_LEAST, graph.count // 10)):
                rows = graph.count
                if self._save(number, graph):
                    self._saved[number] = (graph, rows)

    def _save(self, number: int, graph: LiveGraph) -> bool:
        """Write the graph's file; False if the disk refuses it."""
        started = time.perf_counter()
        sequence = self._memory.applied
        store_id, epoch = self._reading.run(
            lambda connection: (str(read_meta(connection)["store_id"]), epoch_of(connection, sequence))
        )
        built = graph.graph
        stamp = Stamp(
            store_id=store_id,
            epoch=epoch,
            sequence=sequence,
            collection=number,
            dimension=built.dimension,
            precision=built.precision,
            m=built.m,
            ef_construction=built.ef_construction,
            count=graph.extent.slots,
        )
        try:
            # Only this thread adds rows, so the graph stays the same while searches go on.
            size = save(built, graph.rows(graph.extent).copy(), stamp, self._folder, graph_name(number))
        except OSError as error:
            self._save_again_at = time.monotonic() + _SAVE_RETRY_S
            _log.warning("the graph of collection %d could not be saved, trying again later: %s", number, error)
            return False
        _log.info(
            "graph of collection %d saved: %d rows, %d bytes, %.2f s",
            number, graph.count, size, time.perf_counter() - started,
        )  # fmt: skip
        return True

    def _purge(self) -> bool:
        if not self._to_purge:
            return False
        number = self._to_purge[0]

        def some(transaction: Transaction) -> int:
            return transaction.purge(number, _PURGED_A_TURN)

        try:
            purged = self._writer.submit(some, _PURGED_A_TURN, frees_space=True).result()
        except VisualSearchError as error:
            # The disk is full, or the shard is closing: the next start continues.
            _log.warning("a dropped collection is not removed yet: %s", error)
            self._wake.wait(_IDLE_S)
            return False
        if purged < _PURGED_A_TURN:
            self._to_purge = self._to_purge[1:]
            with suppress(OSError):
                remove(self._folder, graph_name(number))
            self._saved.pop(number, None)
            self._rebuilt.pop(number, None)
        return True

    def _vacuum(self) -> bool:
        """Give free pages at the end of the file back to the disk, some at a time; returns whether there are more."""
        if time.monotonic() < self._vacuum_at:
            return False
        free, pages = self._reading.run(free_pages)
        if free < max(_FREE_PAGES_KEPT, pages // 10):
            self._vacuum_at = time.monotonic() + _VACUUM_EVERY_S
            return False
        try:
            self._writer.submit(Transaction.vacuum_some, _PURGED_A_TURN, frees_space=True).result()
        except VisualSearchError as error:
            self._vacuum_at = time.monotonic() + _SAVE_RETRY_S
            _log.warning("free space is not given back yet: %s", error)
            return False
        return True
