"""What happens to real Triton servers in production, and what callers of the embedding backend notice of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from executors.embed.triton.backend import TritonBackend
from executors.embed.vectors import check_vectors
from executors.errors import VisualSearchError
from executors.models.reference import Reference, write_reference
from executors.models.repository import load_towers, model_path
from executors.models.spec import Towers
from executors.triton.installation import Installation
from tests.support.models import TINY, tiny_config, tiny_model, write_entry
from tests.support.triton_server import RawTriton, write_slow_entry

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]

TIMEOUT_S = 1.0
TOTAL_S = 4.0
# As deployments have it: requests of one moment run together.
BATCHING = "dynamic_batching { max_queue_delay_microseconds: 500 }\ninstance_group { count: 1 kind: KIND_CPU }\n"

MakeServer = Callable[..., RawTriton]
MakeBackend = Callable[..., Awaitable[TritonBackend]]


def pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(1, 256, (count, 8, 8, 3), np.uint8)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The local model repository, with stored reference vectors."""
    folder = tmp_path_factory.mktemp("local")
    write_entry(folder, tiny_model(), tiny_config() + BATCHING)
    towers = load_towers(folder, TINY)
    inputs = pictures(3, 99)
    write_reference(folder, towers.image, Reference(inputs, truth(folder, inputs)))
    return folder


@pytest.fixture
def towers(local: Path) -> Towers:
    return load_towers(local, TINY)


def truth(folder: Path, inputs: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the model's file computes, in this process."""
    session = onnxruntime.InferenceSession(str(model_path(folder, TINY)), providers=["CPUExecutionProvider"])
    vectors: NDArray[np.float32] = session.run(None, {"image": inputs})[0]
    return vectors


@pytest.fixture
def make_server(triton_installation: Installation, local: Path, tmp_path: Path) -> Iterator[MakeServer]:
    """Makes servers, not started yet, each with a copy of the local entry or what the test writes in its place."""
    made: list[RawTriton] = []

    def make(write: Callable[[Path], object] | None = None) -> RawTriton:
        folder = tmp_path / f"server-{len(made)}"
        server = RawTriton(triton_installation, folder, [TINY], tmp_path / f"{folder.name}.log")
        if write is None:
            server.replace(TINY, local / TINY)
        else:
            write(folder)
        made.append(server)
        return server

    yield make
    for server in made:
        server.kill()


@pytest.fixture
async def make_backend(local: Path, towers: Towers) -> AsyncIterator[MakeBackend]:
    """Makes and starts backends, and closes them at the end."""
    made: list[TritonBackend] = []

    async def make(servers: list[RawTriton], **changes: Any) -> TritonBackend:
        options = {"timeout_s": TIMEOUT_S, "total_timeout_s": TOTAL_S, "in_flight": 8, "cpu_batch": 4, "preferred": 0}
        made.append(TritonBackend(local, towers, [server.url for server in servers], **(options | changes)))
        await made[-1].start()
        return made[-1]

    yield make
    for backend in made:
        await backend.close()


async def until(condition: Callable[[], Any], seconds: float = 40.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def all_verified(backend: TritonBackend) -> None:
    await until(lambda: {e["models"][TINY]["state"] for e in backend.status()["endpoints"]} == {"ready"}, 10)


async def refused(backend: TritonBackend, count: int = 1) -> VisualSearchError:
    """A call that must fail: its error, which must not be late."""
    started = time.monotonic()
    with pytest.raises(VisualSearchError) as caught:
        await backend.embed(backend.towers.image, pictures(count))
    assert time.monotonic() - started < TOTAL_S + 1
    return caught.value


class Load:
    """Callers that never pause: every answer is compared with the truth, every error and the slowest call kept."""

    def __init__(self, backend: TritonBackend, local: Path, callers: int = 6) -> None:
        self._backend = backend
        self._inputs = pictures(3)
        self._expected = truth(local, self._inputs)
        self.answers = 0
        self.wrong = 0
        self.errors: list[VisualSearchError] = []
        self.slowest_s = 0.0
        self._tasks = [asyncio.create_task(self._call()) for _ in range(callers)]

    async def _call(self) -> None:
        while True:
            started = time.monotonic()
            try:
                vectors = await self._backend.embed(self._backend.towers.image, self._inputs)
                self.answers += 1
                self.wrong += not np.allclose(vectors, self._expected, rtol=1e-4)
            except VisualSearchError as error:
                self.errors.append(error)
                await asyncio.sleep(0.01)
            self.slowest_s = max(self.slowest_s, time.monotonic() - started)

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes), outcomes
        assert self.wrong == 0
        assert self.slowest_s < TOTAL_S + 1


# servers that come and go


async def test_a_server_that_is_not_there_at_the_start(make_server: MakeServer, make_backend: MakeBackend) -> None:
    server = make_server()
    backend = await make_backend([server])
    assert backend.status()["error"]["code"] == "unavailable"
    started = time.monotonic()
    error = await refused(backend)
    assert time.monotonic() - started < 1, "at once"
    assert (error.code, error.details["endpoints"][0]["url"]) == ("unavailable", server.url)
    await server.up()
    await until(lambda: backend.status()["ready"])
    vectors = await backend.embed(backend.towers.image, pictures(9))
    assert vectors.shape == (9, 3)


async def test_a_server_killed_under_load_costs_no_request_where_there_is_another(
    make_server: MakeServer, make_backend: MakeBackend, local: Path
) -> None:
    first, second = await make_server().up(), await make_server().up()
    backend = await make_backend([first, second])
    await all_verified(backend)
    load = Load(backend, local)
    for _ in range(2):
        await asyncio.sleep(0.5)
        first.kill()
        await asyncio.sleep(1.5)
        await first.up()
        await until(lambda: backend.status()["endpoints"][0]["models"][TINY]["state"] == "ready")
    second.kill()
    await asyncio.sleep(1)
    await load.end()
    assert [str(error) for error in load.errors] == []
    assert load.answers > 100
    assert backend.status()["endpoints"][1]["retries"] > 0


async def test_a_server_killed_alone_means_coded_errors_and_then_recovery(
    make_server: MakeServer, make_backend: MakeBackend, local: Path
) -> None:
    server = await make_server().up()
    backend = await make_backend([server])
    await all_verified(backend)
    load = Load(backend, local)
    await asyncio.sleep(0.5)
    server.kill()
    await asyncio.sleep(1)
    assert {error.code for error in load.errors} == {"unavailable"}
    assert not backend.status()["ready"]
    await server.up()
    await until(lambda: backend.status()["ready"])
    before = load.answers
    await until(lambda: load.answers > before + 20, 10)
    await load.end()


async def test_a_frozen_server_is_left_alone_and_used_again(
    make_server: MakeServer, make_backend: MakeBackend, local: Path
) -> None:
    first, second = await make_server().up(), await make_server().up()
    backend = await make_backend([first, second])
    await all_verified(backend)
    load = Load(backend, local)
    await asyncio.sleep(0.3)
    first.freeze()
    try:
        await until(lambda: backend.status()["endpoints"][0]["breaker"] != "closed", 5)
        before = load.answers
        await until(lambda: load.answers > before + 100, 10)
    finally:
        first.thaw()
    await until(lambda: backend.status()["endpoints"][0]["models"][TINY]["state"] == "ready")
    await load.end()
    assert [str(error) for error in load.errors] == []


async def test_a_frozen_server_alone_means_errors_within_the_deadline(
    make_server: MakeServer, make_backend: MakeBackend, local: Path
) -> None:
    server = await make_server().up()
    backend = await make_backend([server])
    await all_verified(backend)
    load = Load(backend, local)
    server.freeze()
    try:
        await until(lambda: len(load.errors) > 20, 10)
        started = time.monotonic()
        await refused(backend)
        assert time.monotonic() - started < 0.5, "an open circuit answers at once"
    finally:
        server.thaw()
    await until(lambda: backend.status()["ready"])
    await load.end()
    assert {error.code for error in load.errors} <= {"unavailable", "deadline_exceeded"}


async def test_a_model_whose_process_is_killed_under_load_costs_no_request_where_there_is_another(
    make_server: MakeServer, make_backend: MakeBackend, local: Path
) -> None:
    first, second = await make_server().up(), await make_server().up()
    backend = await make_backend([first, second])
    await all_verified(backend)
    load = Load(backend, local)
    await asyncio.sleep(0.3)
    assert first.kill_stubs() >= 1
    # Triton does not start it again, and goes on to call the model ready: running it is what tells.
    await until(lambda: backend.status()["endpoints"][0]["models"][TINY]["state"] == "refused", 15)
    before = load.answers
    await until(lambda: load.answers > before + 50, 10)
    await asyncio.to_thread(first.unload, TINY)
    await asyncio.to_thread(first.load, TINY)
    await until(lambda: backend.status()["endpoints"][0]["models"][TINY]["state"] == "ready", 15)
    await load.end()
    assert [str(error) for error in load.errors] == []


# models that come, go, and change


async def test_a_model_unloaded_and_loaded_again(
    make_server: MakeServer, make_backend: MakeBackend, local: Path
) -> None:
    server = await make_server().up()
    backend = await make_backend([server])
    await all_verified(backend)
    load = Load(backend, local)
    await asyncio.sleep(0.3)
    await asyncio.to_thread(server.unload, TINY)
    await until(lambda: "has not loaded" in (backend.status().get("error") or {}).get("message", ""), 5)
    assert (await refused(backend)).code == "unavailable"
    assert backend.status()["endpoints"][0]["breaker"] == "closed", "the server itself is fine"
    await asyncio.to_thread(server.load, TINY)
    await until(lambda: backend.status()["ready"], 10)
    before = load.answers
    await until(lambda: load.answers > before + 20, 10)
    await load.end()


def other_entry(folder: Path, **changes: Any) -> None:
    """A sound entry of another model under the same name."""
    dimension = changes.get("dimension", 3)
    write_entry(folder, tiny_model(**changes), tiny_config(dimension=dimension) + BATCHING)


def forged_entry(folder: Path, model_id: str) -> None:
    """Other weights that call themselves `model_id`."""
    own = write_entry(folder, tiny_model(seed=1), tiny_config() + BATCHING).model_id
    config = folder / TINY / "config.pbtxt"
    config.write_text(config.read_text().replace(own, model_id))


async def test_a_model_of_another_dimension_is_refused_with_what_differs(
    make_server: MakeServer, make_backend: MakeBackend, towers: Towers
) -> None:
    server = await make_server(lambda folder: other_entry(folder, dimension=4)).up()
    with pytest.raises(VisualSearchError) as caught:
        await make_backend([server])
    assert caught.value.code == "model_mismatch"
    assert "embedding has the dims [4], expected [3]" in caught.value.message
    assert towers.image.model_id in caught.value.message


async def test_other_weights_of_the_same_dimension_are_refused(
    make_server: MakeServer, make_backend: MakeBackend, towers: Towers
) -> None:
    server = await make_server(lambda folder: other_entry(folder, seed=1)).up()
    with pytest.raises(VisualSearchError) as caught:
        await make_backend([server])
    assert caught.value.code == "model_mismatch"
    assert caught.value.details["expected"] == towers.image.model_id


async def test_other_weights_under_the_right_id_are_refused(
    make_server: MakeServer, make_backend: MakeBackend, towers: Towers
) -> None:
    server = await make_server(lambda folder: forged_entry(folder, towers.image.model_id)).up()
    with pytest.raises(VisualSearchError, match="other weights") as caught:
        await make_backend([server])
    assert caught.value.code == "model_mismatch"


async def test_a_server_that_comes_back_with_other_weights_never_answers(
    make_server: MakeServer, make_backend: MakeBackend, local: Path, towers: Towers
) -> None:
    server = await make_server().up()
    backend = await make_backend([server])
    await all_verified(backend)
    load = Load(backend, local)
    await asyncio.sleep(0.3)
    server.kill()
    forged_entry(server.repository, towers.image.model_id)
    await server.up()
    await until(lambda: any("other weights" in error.message for error in load.errors), 20)
    server.kill()
    server.replace(TINY, local / TINY)
    await server.up()
    await until(lambda: backend.status()["ready"], 30)
    before = load.answers
    await until(lambda: load.answers > before + 20, 10)
    await load.end()  # compares every vector with the truth


@pytest.mark.parametrize("forged", [False, True])
async def test_a_model_reloaded_with_other_weights_is_found_out_and_recovered_from(
    make_server: MakeServer, make_backend: MakeBackend, local: Path, towers: Towers, forged: bool
) -> None:
    server = await make_server().up()
    backend = await make_backend([server])
    for _ in range(20):
        await backend.embed(backend.towers.image, pictures(4))
    await asyncio.sleep(2.5)
    if forged:
        forged_entry(server.repository, towers.image.model_id)
    else:
        other_entry(server.repository, seed=1)
    await asyncio.to_thread(server.load, TINY)
    await until(lambda: backend.status()["endpoints"][0]["models"][TINY]["state"] == "refused", 5)
    assert backend.status()["endpoints"][0]["models"][TINY]["error"]["code"] == "model_mismatch"
    assert (await refused(backend)).code == "unavailable"
    server.replace(TINY, local / TINY)
    await asyncio.to_thread(server.load, TINY)
    await until(lambda: backend.status()["ready"], 10)
    vectors = await backend.embed(backend.towers.image, pictures(4))
    np.testing.assert_allclose(vectors, truth(local, pictures(4)), rtol=1e-4)


async def test_a_new_version_beside_the_old_changes_nothing(
    make_server: MakeServer, make_backend: MakeBackend, local: Path
) -> None:
    def two_versions(folder: Path) -> None:
        write_entry(folder, tiny_model(), tiny_config() + BATCHING + "version_policy { all {} }\n")
        (folder / TINY / "2").mkdir()
        (folder / TINY / "2" / "model.onnx").write_bytes(tiny_model(seed=1))

    server = await make_server(two_versions).up()
    backend = await make_backend([server])
    vectors = await backend.embed(backend.towers.image, pictures(8))
    np.testing.assert_allclose(vectors, truth(local, pictures(8)), rtol=1e-4)


async def test_a_row_that_is_nan_fails_alone(make_server: MakeServer, make_backend: MakeBackend) -> None:
    server = await make_server().up()
    backend = await make_backend([server])
    batch = pictures(8)
    batch[3] = 0  # black: the tiny model divides by its brightness
    rows = check_vectors(await backend.embed(backend.towers.image, batch), 8, 3)
    assert [index for index, row in enumerate(rows) if isinstance(row, VisualSearchError)] == [3]
    assert backend.status()["ready"]


# time, cancellation, counting


async def test_a_server_slower_than_the_deadline(
    make_server: MakeServer, make_backend: MakeBackend, towers: Towers, tmp_path: Path, local: Path
) -> None:
    flag = tmp_path / "slow"
    model_id = towers.image.model_id
    slow = await make_server(lambda folder: write_slow_entry(folder, TINY, model_id, flag, 3.0)).up()
    sound = await make_server().up()
    backend = await make_backend([slow, sound])
    await all_verified(backend)
    vectors = await backend.embed(backend.towers.image, pictures(3))
    np.testing.assert_allclose(vectors, truth(local, pictures(3)), rtol=1e-4)
    flag.touch()
    load = Load(backend, local)
    await until(lambda: backend.status()["endpoints"][0]["breaker"] != "closed", 15)
    before = load.answers
    await until(lambda: load.answers > before + 50, 10)
    flag.unlink()
    await until(lambda: backend.status()["endpoints"][0]["models"][TINY]["state"] == "ready", 40)
    await load.end()
    assert [str(error) for error in load.errors] == []
    assert backend.status()["endpoints"][0]["failures"]["deadline"] >= 3


async def test_callers_that_give_up_free_their_slots(
    make_server: MakeServer, make_backend: MakeBackend, towers: Towers, tmp_path: Path
) -> None:
    flag = tmp_path / "slow"
    model_id = towers.image.model_id
    server = await make_server(lambda folder: write_slow_entry(folder, TINY, model_id, flag, 0.1)).up()
    backend = await make_backend([server], timeout_s=10.0, total_timeout_s=20.0)
    await all_verified(backend)
    flag.touch()
    calls = [asyncio.create_task(backend.embed(backend.towers.image, pictures(16))) for _ in range(30)]
    await asyncio.sleep(0.3)
    assert backend.status()["endpoints"][0]["in_flight"] == 8
    before = server.requests(TINY)
    for call in calls:
        call.cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    report = backend.status()["endpoints"][0]
    assert (report["waiting"], report["breaker"]) == (0, "closed")
    await until(lambda: backend.status()["endpoints"][0]["in_flight"] == 0, 3)
    assert server.requests(TINY) - before <= 8, "of what was given up, only what had been sent was computed"
    await backend.embed(backend.towers.image, pictures(4))


async def test_a_storm_of_callers_that_give_up_does_not_crash_the_server(
    make_server: MakeServer, make_backend: MakeBackend, local: Path
) -> None:
    """Triton 2.51 crashes within some thousand calls that are cancelled as they complete."""
    server = await make_server().up()
    backend = await make_backend([server], in_flight=16)
    await all_verified(backend)
    chance = np.random.default_rng(0)

    async def give_up() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(chance.uniform(0, 0.01)):
                await backend.embed(backend.towers.image, pictures(4))

    for _ in range(500):
        await asyncio.gather(*(give_up() for _ in range(32)))
    assert server.alive()
    report = backend.status()
    assert (report["ready"], report["endpoints"][0]["failures"]) == (True, {})
    assert report["endpoints"][0]["cancelled"] > 3_000


async def test_a_request_makes_one_call_to_each_server_and_no_more(
    make_server: MakeServer, make_backend: MakeBackend, towers: Towers, tmp_path: Path
) -> None:
    def failing(folder: Path) -> None:
        """Fails for bright pictures, and for those alone."""
        write_slow_entry(folder, TINY, towers.image.model_id, tmp_path / "never", 0)
        script = folder / TINY / "1" / "model.py"
        raising = '            if colour.min() > 250: raise RuntimeError("by design")\n'
        script.write_text(script.read_text().replace("            vectors =", f"{raising}            vectors ="))

    servers = [await make_server(failing).up() for _ in range(3)]
    backend = await make_backend(servers)
    await all_verified(backend)
    bright = np.full((2, 8, 8, 3), 255, np.uint8)
    before = [server.metrics(TINY)["nv_inference_request_failure"] for server in servers]
    with pytest.raises(VisualSearchError, match="unavailable"):
        await backend.embed(backend.towers.image, bright)
    await asyncio.sleep(0.5)
    after = [server.metrics(TINY)["nv_inference_request_failure"] for server in servers]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 1]
    await backend.embed(backend.towers.image, pictures(2))


async def test_single_requests_run_as_batches(make_server: MakeServer, make_backend: MakeBackend) -> None:
    server = await make_server().up()
    backend = await make_backend([server], in_flight=32)
    await all_verified(backend)
    before = server.metrics(TINY)
    await asyncio.gather(*(backend.embed(backend.towers.image, pictures(1)) for _ in range(320)))
    done = server.metrics(TINY) - before
    assert done["nv_inference_count"] >= 320
    assert done["nv_inference_exec_count"] < done["nv_inference_count"] / 2


def resident_bytes() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])
async def test_many_requests_leave_memory_flat(make_server: MakeServer, make_backend: MakeBackend, count: int) -> None:
    server = await make_server().up()
    backend = await make_backend([server])
    inputs = [pictures(size, size) for size in (1, 2, 3, 4, 9)]

    async def run(requests: int) -> None:
        for start in range(0, requests, 20):
            await asyncio.gather(
                *(backend.embed(backend.towers.image, inputs[(start + index) % 5]) for index in range(20))
            )

    await run(1_000)
    before = resident_bytes()
    await run(count)
    grown = resident_bytes() - before
    assert grown < 4_000_000 + count * 100, f"{grown / 1e6:.1f} MB for {count} requests"
    assert backend.status()["endpoints"][0]["failures"] == {}
