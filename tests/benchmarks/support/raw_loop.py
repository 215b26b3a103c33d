"""The least that indexing could cost: two processes that read, decode, make the thumbnail and embed, and keep nothing."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_WORKERS = 2


def _worker(number: int, files: Sequence[Path], ready: Any, together: Any, orders: Any, results: Any) -> None:
    import time

    import numpy as np

    from executors.embed.backends import make_backend
    from executors.models.repository import load_towers
    from executors.preprocess.decode import configure_opencv
    from executors.preprocess.header import ImageLimits
    from executors.preprocess.pipeline import ImagePipeline
    from executors.settings import read_settings

    chosen = read_settings()
    towers = load_towers(chosen.models_dir, chosen.model)
    configure_opencv()
    limits = ImageLimits(chosen.max_image_bytes, chosen.max_image_pixels, chosen.max_image_side)
    pipeline = ImagePipeline(towers.image, limits, thumbnails=chosen.thumbnails == "on")

    async def run() -> None:
        backend = make_backend(chosen, towers, "", f"embed/rep-{number}")
        await backend.start()
        ready.wait()
        while orders.get():
            together.wait()
            started = time.perf_counter()
            for start in range(0, len(files), chosen.embed_batch):
                some = files[start : start + chosen.embed_batch]
                tensors = [pipeline.prepare(each.read_bytes()).tensor for each in some]
                await backend.embed(towers.image, np.stack(tensors))
            results.put((started, time.perf_counter()))
        await backend.close()

    asyncio.run(run())


@dataclass(frozen=True, slots=True)
class RawLoop:
    """The processes, which wait until they are asked."""

    files: int
    pids: tuple[int, ...]
    _orders: Any
    _results: Any

    def run(self) -> float:
        """Return photos a second, from the first that starts to the last that ends."""
        for _ in self.pids:
            self._orders.put(True)
        spans = [self._results.get() for _ in self.pids]
        return self.files / (max(end for _, end in spans) - min(start for start, _ in spans))


@contextmanager
def raw_loop(files: Sequence[Path]) -> Iterator[RawLoop]:
    """The loop over these files, half of them a process, with the model loaded."""
    context = multiprocessing.get_context("spawn")
    ready, together = context.Barrier(_WORKERS + 1), context.Barrier(_WORKERS)
    orders, results = context.Queue(), context.Queue()
    workers = [
        context.Process(
            target=_worker, args=(half, files[half::_WORKERS], ready, together, orders, results), daemon=True
        )
        for half in range(_WORKERS)
    ]
    for worker in workers:
        worker.start()
    ready.wait()
    try:
        yield RawLoop(len(files), tuple(worker.pid for worker in workers if worker.pid), orders, results)
    finally:
        for _ in workers:
            orders.put(False)
        for worker in workers:
            worker.join()
