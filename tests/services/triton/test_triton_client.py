"""The Triton backends against a real server: the default model, and a server of the replica's own."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import orjson
import pytest
import tritonclient.grpc as triton

from executors.devices import CPU
from executors.embed.triton.backend import TritonBackend
from executors.embed.triton.managed import ManagedTritonBackend
from executors.errors import VisualSearchError
from executors.models.repository import load_towers, model_path
from executors.triton_server.installation import Installation
from executors.triton_server.server import TritonServer
from tests.support.models.models import TINY, tiny_config, tiny_model, write_entry
from tests.support.pictures.pictures import scene
from tests.support.triton.triton_server import RawTriton, kill_others_of_group, stubs_of

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]

NAME = "efficientnet-lite0"
TINY_CONFIG = tiny_config() + "instance_group { count: 1 kind: KIND_CPU }\n"


@pytest.fixture(scope="module")
def server(
    triton_installation: Installation, models_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RawTriton]:
    """A server with the default model."""
    folder = tmp_path_factory.mktemp("server")
    started = RawTriton(triton_installation, models_dir, [NAME], folder / "log")
    started.start()
    started.wait_ready()
    yield started
    started.kill()


@pytest.fixture
async def backend(server: RawTriton, models_dir: Path) -> AsyncIterator[TritonBackend]:
    made = TritonBackend(
        models_dir,
        load_towers(models_dir, NAME),
        [server.url],
        preferred=0,
        timeout_s=10,
        total_timeout_s=30,
        in_flight=16,
        cpu_batch=4,
    )
    await made.start()
    yield made
    await made.close()


async def test_vectors_are_those_of_the_model_in_process(backend: TritonBackend, models_dir: Path) -> None:
    pictures = np.stack([scene(seed, 224, 224) for seed in range(11)])
    vectors = await backend.embed(backend.towers.image, pictures)
    session = onnxruntime.InferenceSession(str(model_path(models_dir, NAME)), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"image": pictures})[0]
    assert np.min(np.sum(vectors * expected, axis=1)) > 0.99999
    report = orjson.loads(orjson.dumps(backend.status()))
    model = report["endpoints"][0]["models"][NAME]
    assert (model["device"], model["rows_per_call"], model["state"]) == ("cpu", 4, "ready")
    assert " 2." in report["endpoints"][0]["server"]


# a server of the replica's own


Managed = tuple[ManagedTritonBackend, TritonServer]


@pytest.fixture
async def managed(triton_installation: Installation, tmp_path: Path) -> AsyncIterator[Callable[[], Managed]]:
    """Makes a managed backend of the tiny model, not started yet."""
    made: list[ManagedTritonBackend] = []

    def make() -> Managed:
        own = TritonServer(
            triton_installation,
            models_dir=tmp_path / "models",
            models=[TINY],
            device=CPU,
            threads=1,
            logs_dir=tmp_path / "logs",
            name="embed-0",
        )
        made.append(
            ManagedTritonBackend(
                tmp_path / "models",
                load_towers(tmp_path / "models", TINY),
                own,
                timeout_s=1,
                total_timeout_s=5,
                in_flight=8,
                cpu_batch=4,
            )
        )
        return made[-1], own

    write_entry(tmp_path / "models", tiny_model(), TINY_CONFIG)
    yield make
    for backend in made:
        await backend.close()


def pictures(count: int) -> Any:
    return np.random.default_rng(0).integers(1, 256, (count, 8, 8, 3), np.uint8)


async def until_ready(backend: ManagedTritonBackend, seconds: float = 40) -> None:
    async with asyncio.timeout(seconds):
        while not backend.status()["ready"]:
            await asyncio.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


async def test_it_starts_serves_and_leaves_nothing(managed: Callable[[], Managed]) -> None:
    backend, own = managed()
    await backend.start()
    report = backend.status()
    assert (report["backend"], report["ready"]) == ("managed-triton", True)
    orjson.dumps(report)
    assert (await backend.embed(backend.towers.image, pictures(9))).shape == (9, 3)
    pid = own.status()["pid"]
    assert alive(pid)
    await backend.close()
    assert not alive(pid)
    with pytest.raises(VisualSearchError, match="unavailable"):
        await backend.embed(backend.towers.image, pictures(1))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_server_that_dies_or_hangs_is_back_soon(managed: Callable[[], Managed], how: signal.Signals) -> None:
    backend, own = managed()
    await backend.start()
    await backend.embed(backend.towers.image, pictures(1))
    await asyncio.sleep(1)
    pid = own.status()["pid"]
    os.kill(pid, how)
    with pytest.raises(VisualSearchError, match="unavailable"):
        await asyncio.gather(*(backend.embed(backend.towers.image, pictures(1)) for _ in range(100)))
    async with asyncio.timeout(40):
        while own.status()["pid"] in (pid, None):
            await asyncio.sleep(0.05)
    await until_ready(backend)
    assert (await backend.embed(backend.towers.image, pictures(9))).shape == (9, 3)
    assert own.status()["restarts"] == 1
    assert not alive(pid)


async def test_a_server_whose_model_died_is_started_again(managed: Callable[[], Managed]) -> None:
    backend, own = managed()
    await backend.start()
    await backend.embed(backend.towers.image, pictures(1))
    await asyncio.sleep(1)
    pid = own.status()["pid"]
    assert kill_others_of_group(pid) >= 1
    with pytest.raises(VisualSearchError):
        await backend.embed(backend.towers.image, pictures(1))
    async with asyncio.timeout(40):
        while not own.status()["restarts"]:
            await asyncio.sleep(0.05)
    await until_ready(backend)
    await backend.embed(backend.towers.image, pictures(1))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_server_of_which_one_of_two_instances_dies_or_hangs_is_sound_again_soon(
    managed: Callable[[], Managed], tmp_path: Path, how: signal.Signals
) -> None:
    write_entry(tmp_path / "models", tiny_model(), tiny_config() + "instance_group { count: 2 kind: KIND_CPU }\n")
    backend, own = managed()
    await backend.start()
    await backend.embed(backend.towers.image, pictures(1))
    stubs = stubs_of(own.status()["pid"])
    assert len(stubs) == 2
    os.kill(stubs[0], how)

    async def call_all_the_time(until: Callable[[], Any]) -> list[VisualSearchError]:
        errors = []
        async with asyncio.timeout(40):
            while not until():
                try:
                    await backend.embed(backend.towers.image, pictures(1))
                except VisualSearchError as error:
                    errors.append(error)
                    await asyncio.sleep(0.02)
        return errors

    callers = [call_all_the_time(lambda: own.status()["restarts"]) for _ in range(4)]
    errors = [error for found in await asyncio.gather(*callers) for error in found]
    assert "a process that runs the model is dead or hung" in own.status()["last_exit"]
    assert not any("its model changed" in error.message for error in errors)
    await until_ready(backend)
    calls = iter(range(200))
    assert await call_all_the_time(lambda: next(calls, None) is None) == []
    assert own.status()["restarts"] == 1
    assert not any(alive(stub) for stub in stubs)


async def test_a_model_that_its_server_lost_is_loaded_again(managed: Callable[[], Managed]) -> None:
    backend, own = managed()
    await backend.start()
    await backend.embed(backend.towers.image, pictures(1))
    await asyncio.sleep(1)
    with triton.InferenceServerClient(own.url) as client:
        client.unload_model(TINY)
    with pytest.raises(VisualSearchError):
        await backend.embed(backend.towers.image, pictures(1))
    async with asyncio.timeout(40):
        while not own.status()["restarts"]:
            await asyncio.sleep(0.05)
    await until_ready(backend)
    await backend.embed(backend.towers.image, pictures(1))


async def test_a_model_that_can_not_be_loaded_is_named_at_the_start(
    managed: Callable[[], Managed], tmp_path: Path
) -> None:
    write_entry(tmp_path / "models", b"not a model", TINY_CONFIG)
    backend, own = managed()
    with pytest.raises(VisualSearchError) as caught:
        await asyncio.wait_for(backend.start(), 40)
    assert caught.value.code == "triton_failed"
    assert TINY in caught.value.message
    assert own.status()["pid"] is None
