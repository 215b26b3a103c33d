"""System shared memory against gRPC alone, to a Triton on the same machine: pictures of 224 x 224 per second.

Both sides in one run, in turns, against the same server. The default model shows what a user would notice on a CPU; a model that
computes next to nothing shows the transport alone, which is what a GPU is nearer to.

    python -m tests.benchmarks.bench_shared_memory [--seconds 1.5] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton
import tritonclient.utils.shared_memory as shm

from executors.embed.triton.client import connect
from executors.models.repository import load_spec
from executors.models.spec import ModelSpec
from executors.settings import read_settings
from executors.triton_server.packages import ensure_packages
from tests.benchmarks.support.common import print_table
from tests.support.models.models import tiny_config, tiny_model, write_entry
from tests.support.triton.triton_server import RawTriton

BATCHES = (1, 4, 32)
CALLERS = (1, 8)
SIDE = 224


class Region:
    """Shared memory for the input and the output of one caller."""

    def __init__(self, number: int, pictures: Any, spec: ModelSpec) -> None:
        self.names = [f"vs-bench-{os.getpid()}-{number}-{part}" for part in ("in", "out")]
        self.sizes = [pictures.nbytes, len(pictures) * spec.dimension * 4]
        self.handles = [
            shm.create_shared_memory_region(name, f"/{name}", size)
            for name, size in zip(self.names, self.sizes, strict=True)
        ]

    async def register(self, client: Any) -> None:
        for name, size in zip(self.names, self.sizes, strict=True):
            await client.register_system_shared_memory(name, f"/{name}", size)

    async def free(self, client: Any) -> None:
        for name, handle in zip(self.names, self.handles, strict=True):
            await client.unregister_system_shared_memory(name)
            shm.destroy_shared_memory_region(handle)


async def over_grpc(client: Any, spec: ModelSpec, pictures: Any) -> Any:
    tensor = triton.InferInput(spec.input_name, pictures.shape, "UINT8")
    tensor.set_data_from_numpy(pictures)
    answer = await client.infer(spec.name, [tensor], outputs=[triton.InferRequestedOutput(spec.output_name)])
    return answer.as_numpy(spec.output_name).copy()


async def over_shared_memory(client: Any, spec: ModelSpec, pictures: Any, region: Region) -> Any:
    shm.set_shared_memory_region(region.handles[0], [pictures])
    tensor = triton.InferInput(spec.input_name, pictures.shape, "UINT8")
    tensor.set_shared_memory(region.names[0], region.sizes[0])
    output = triton.InferRequestedOutput(spec.output_name)
    output.set_shared_memory(region.names[1], region.sizes[1])
    await client.infer(spec.name, [tensor], outputs=[output])
    return shm.get_contents_as_numpy(region.handles[1], np.float32, (len(pictures), spec.dimension)).copy()


async def rate(client: Any, spec: ModelSpec, batch: int, callers: int, seconds: float, shared: bool) -> float:
    """Pictures per second."""
    pictures = np.random.default_rng(0).integers(1, 256, (batch, SIDE, SIDE, 3), np.uint8)
    regions = [Region(number, pictures, spec) for number in range(callers)] if shared else []
    for region in regions:
        await region.register(client)
    done = 0
    started = time.perf_counter()

    async def call(number: int) -> None:
        nonlocal done
        while time.perf_counter() - started < seconds:
            if shared:
                await over_shared_memory(client, spec, pictures, regions[number])
            else:
                await over_grpc(client, spec, pictures)
            done += batch

    await asyncio.gather(*(call(number) for number in range(callers)))
    found = done / (time.perf_counter() - started)
    for region in regions:
        await region.free(client)
    return found


async def measure(url: str, spec: ModelSpec, seconds: float, rounds: int) -> list[list[str]]:
    client = connect(url)
    rows = []
    for batch in BATCHES:
        for callers in CALLERS:
            sides: dict[bool, list[float]] = {False: [], True: []}
            for turn in range(rounds):
                for shared in (False, True) if turn % 2 else (True, False):
                    sides[shared].append(await rate(client, spec, batch, callers, seconds, shared))
            grpc, shared_memory = (statistics.median(sides[side]) for side in (False, True))
            ratio = statistics.median(b / a for a, b in zip(sides[False], sides[True], strict=True))
            rows.append([spec.name, str(batch), str(callers), f"{grpc:.0f}", f"{shared_memory:.0f}", f"{ratio:.2f}"])
    await client.close()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    chosen = read_settings()
    with tempfile.TemporaryDirectory(prefix="shared-memory-") as folder:
        repository = Path(folder) / "models"
        default = load_spec(chosen.models_dir, "efficientnet-lite0")
        shutil.copytree(chosen.models_dir / default.name, repository / default.name)
        config = (
            tiny_config("transport", side=SIDE, max_batch_size="64") + "instance_group { count: 2 kind: KIND_CPU }\n"
        )
        cheap = write_entry(repository, tiny_model(side=SIDE), config, "transport")
        installation = ensure_packages(chosen.triton_dir, "cpu", print)
        server = RawTriton(installation, repository, [default.name, cheap.name], Path(folder) / "log")
        server.start()
        try:
            server.wait_ready()
            rows = [
                row
                for spec in (default, cheap)
                for row in asyncio.run(measure(server.url, spec, options.seconds, options.rounds))
            ]
        finally:
            server.kill()
    columns = ["model", "batch", "callers", "gRPC, pictures/s", "shared memory", "ratio"]
    print_table("Triton on the same machine: shared memory against gRPC", columns, rows)


if __name__ == "__main__":
    main()
