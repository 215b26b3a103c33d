from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from executors.embed.devices import CPU, Device
from executors.embed.onnx import OnnxBackend
from executors.embed.vectors import check_vectors
from executors.errors import VisualSearchError
from executors.models.repository import load_spec, model_path
from tests.support.models import TINY, TINY_DIMENSION, TINY_SIDE, tiny_model, write_entry
from tests.support.pictures import scene

NAME = "efficientnet-lite0"
TASKS = Path("/proc/self/task")


@pytest.fixture(scope="module")
def tensors() -> NDArray[np.uint8]:
    """Eleven different pictures, 224 x 224."""
    return np.stack([scene(seed, 224, 224) for seed in range(11)])


@pytest.fixture
async def backend(models_dir: Path) -> AsyncIterator[OnnxBackend]:
    started = OnnxBackend(models_dir, load_spec(models_dir, NAME), CPU, batch=4, threads=1)
    await started.start()
    yield started
    await started.close()


@pytest.fixture
async def tiny(tmp_path: Path) -> AsyncIterator[OnnxBackend]:
    started = OnnxBackend(tmp_path, write_entry(tmp_path, tiny_model()), CPU, batch=4, threads=1)
    await started.start()
    yield started
    await started.close()


def tiny_pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(1, 256, (count, TINY_SIDE, TINY_SIDE, 3), np.uint8)


def thread_ids() -> set[str]:
    """Every thread of this process, Python's and others."""
    return {path.name for path in TASKS.iterdir()}


async def refused_start(models_dir: Path, name: str = TINY) -> VisualSearchError:
    backend = OnnxBackend(models_dir, load_spec(models_dir, name), CPU, batch=4, threads=1)
    with pytest.raises(VisualSearchError) as caught:
        await backend.start()
    assert not backend.status()["ready"]
    with pytest.raises(VisualSearchError):
        await backend.embed(tiny_pictures(1))
    await backend.close()
    return caught.value


async def test_an_embedding_does_not_depend_on_its_neighbours(
    backend: OnnxBackend, models_dir: Path, tensors: NDArray[np.uint8]
) -> None:
    alone = np.concatenate([await backend.embed(tensors[i : i + 1]) for i in range(len(tensors))])
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-6)
    assert np.max(alone @ alone.T - np.eye(len(alone))) < 0.999, "the pictures are told apart"
    for batch, threads in ((1, 1), (4, 1), (5, 2), (11, 2)):
        other = OnnxBackend(models_dir, backend.spec, CPU, batch=batch, threads=threads)
        await other.start()
        together = await other.embed(tensors)
        assert np.min(np.sum(alone * together, axis=1)) > 0.99999
        order = np.random.default_rng(batch).permutation(len(tensors))
        shuffled = await other.embed(np.ascontiguousarray(tensors[order]))
        assert np.min(np.sum(alone[order] * shuffled, axis=1)) > 0.99999
        await other.close()


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 9, 33])
async def test_any_number_of_pictures_is_answered_in_order(tiny: OnnxBackend, count: int) -> None:
    pictures = tiny_pictures(count)
    runs = tiny.status()["runs"]
    together = await tiny.embed(pictures)
    assert tiny.status()["runs"] - runs == -(-count // 4)
    assert (together.shape, together.dtype) == ((count, TINY_DIMENSION), np.float32)
    alone = np.concatenate([await tiny.embed(picture[None]) for picture in pictures])
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    assert len(np.unique(together, axis=0)) == count


async def test_calls_at_the_same_time_get_their_own_answers(tiny: OnnxBackend) -> None:
    requests = [tiny_pictures(count, seed) for seed, count in enumerate([1, 7, 4, 30, 2, 1, 13, 5] * 4)]
    answers = await asyncio.gather(*(tiny.embed(pictures) for pictures in requests))
    for pictures, answer in zip(requests, answers, strict=True):
        np.testing.assert_allclose(answer, await tiny.embed(pictures), rtol=1e-5)
    assert tiny.status()["waiting"] == 0


async def test_a_search_does_not_wait_for_a_large_write(backend: OnnxBackend, tensors: NDArray[np.uint8]) -> None:
    write = asyncio.create_task(backend.embed(np.concatenate([tensors] * 4)))
    await asyncio.sleep(0)
    await backend.embed(tensors[:1])
    assert not write.done()
    await write


async def test_the_event_loop_stays_free(backend: OnnxBackend, tensors: NDArray[np.uint8]) -> None:
    turns = 0
    work = asyncio.create_task(backend.embed(tensors))
    while not work.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert turns > 10


async def test_a_cancelled_call_stops_and_harms_nobody(tiny: OnnxBackend) -> None:
    before = tiny.status()["runs"]
    call = asyncio.create_task(tiny.embed(tiny_pictures(4000)))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert tiny.status()["waiting"] == 0
    assert len(await tiny.embed(tiny_pictures(5))) == 5
    assert tiny.status()["runs"] - before < 10


def test_a_backend_started_in_one_event_loop_works_in_another(tmp_path: Path) -> None:
    backend = OnnxBackend(tmp_path, write_entry(tmp_path, tiny_model()), CPU, batch=4, threads=1)
    asyncio.run(backend.start())
    assert asyncio.run(backend.embed(tiny_pictures(9))).shape == (9, TINY_DIMENSION)
    asyncio.run(backend.close())


async def test_closing_is_safe_twice_and_while_calls_run(tiny: OnnxBackend) -> None:
    calls = [asyncio.create_task(tiny.embed(tiny_pictures(2000, seed))) for seed in range(4)]
    await asyncio.sleep(0.001)
    await asyncio.gather(tiny.close(), tiny.close())
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(outcome, VisualSearchError)
        assert outcome.code == "unavailable"
    with pytest.raises(VisualSearchError) as caught:
        await tiny.embed(tiny_pictures(1))
    assert caught.value.code == "unavailable"
    assert tiny.status()["ready"] is False


@pytest.mark.parametrize(
    "tensors",
    [
        np.zeros((2, TINY_SIDE, TINY_SIDE + 1, 3), np.uint8),
        np.zeros((2, TINY_SIDE, TINY_SIDE, 3), np.float32),
        np.zeros((TINY_SIDE, TINY_SIDE, 3), np.uint8),
        np.zeros((0, TINY_SIDE, TINY_SIDE, 3), np.uint8),
    ],
    ids=["size", "dtype", "no batch", "empty"],
)
async def test_tensors_that_the_model_does_not_take_are_refused(tiny: OnnxBackend, tensors: Any) -> None:
    with pytest.raises(VisualSearchError) as caught:
        await tiny.embed(tensors)
    assert caught.value.code == "invalid_tensor"


async def test_a_model_that_returns_nan_fails_only_that_picture(tiny: OnnxBackend) -> None:
    pictures = tiny_pictures(3)
    pictures[1] = 0
    first, black, last = check_vectors(await tiny.embed(pictures), 3, TINY_DIMENSION)
    assert isinstance(black, VisualSearchError)
    assert isinstance(first, np.ndarray)
    assert isinstance(last, np.ndarray)


async def test_a_damaged_model_is_refused_at_start(tmp_path: Path) -> None:
    write_entry(tmp_path, tiny_model())
    with model_path(tmp_path, TINY).open("ab") as file:
        file.write(b"x")
    error = await refused_start(tmp_path)
    assert error.code == "model_invalid"
    assert "visual-search models build" in error.message


async def test_a_file_that_is_no_model_is_refused_though_its_digest_fits(tmp_path: Path) -> None:
    write_entry(tmp_path, b"\0 no model" * 50)
    error = await refused_start(tmp_path)
    assert (error.code, str(tmp_path) in error.message) == ("model_invalid", False)


async def test_a_missing_file_is_a_missing_model(tmp_path: Path) -> None:
    write_entry(tmp_path, tiny_model())
    model_path(tmp_path, TINY).unlink()
    assert (await refused_start(tmp_path)).code == "model_missing"


async def test_other_weights_than_when_the_spec_was_read_are_refused(tmp_path: Path) -> None:
    before = write_entry(tmp_path, tiny_model(seed=0))
    after = write_entry(tmp_path, tiny_model(seed=1))
    backend = OnnxBackend(tmp_path, before, CPU, batch=4, threads=1)
    with pytest.raises(VisualSearchError) as caught:
        await backend.start()
    assert caught.value.details == {"expected": before.model_id, "actual": after.model_id}
    await backend.close()


@pytest.mark.parametrize(
    ("difference", "told"),
    [
        ({"dimension": 5}, "embedding has the shape ['batch', 5], expected ['batch', 3]"),
        ({"side": 16}, "image has the shape ['batch', 16, 16, 3], expected ['batch', 8, 8, 3]"),
        ({"input_type": TensorProto.FLOAT}, "image is tensor(float), expected tensor(uint8)"),
        ({"input_name": "pixels"}, "its inputs are pixels, expected image"),
        ({"output_name": "vector"}, "its outputs are vector, expected embedding"),
        ({"batch": 1}, "image has the shape [1, 8, 8, 3]"),
        ({"extra_input": True}, "its inputs are image, length, expected image"),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
async def test_a_model_that_does_not_fit_its_configuration_is_refused_with_what_differs(
    tmp_path: Path, difference: dict[str, Any], told: str
) -> None:
    write_entry(tmp_path, tiny_model(**difference))
    error = await refused_start(tmp_path)
    assert error.code == "model_invalid"
    assert told in error.message


async def test_every_difference_is_told_at_once(tmp_path: Path) -> None:
    write_entry(tmp_path, tiny_model(side=16, dimension=5))
    assert len((await refused_start(tmp_path)).details["faults"]) == 2


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this ONNX Runtime can use a GPU"
)
async def test_a_gpu_that_can_not_be_used_is_not_hidden(tmp_path: Path) -> None:
    backend = OnnxBackend(tmp_path, write_entry(tmp_path, tiny_model()), Device("gpu", "3"), batch=4, threads=1)
    await backend.start()
    status = backend.status()
    assert status["device"] == "cpu"
    assert "gpu 3 was given" in status["note"]
    assert status["batch"] == 4
    await backend.close()


async def test_the_status_counts_what_was_done(tiny: OnnxBackend) -> None:
    assert "note" not in tiny.status()
    await tiny.embed(tiny_pictures(6))
    status = json.loads(json.dumps(tiny.status()))
    assert (status["backend"], status["device"], status["ready"]) == ("onnx", "cpu", True)
    assert (status["images"], status["waiting"], status["failures"]) == (6, 0, 0)
    assert (status["batch"], status["threads"]) == (4, 1)


@pytest.mark.skipif(not TASKS.is_dir(), reason="threads are counted in /proc")
async def test_it_computes_with_as_many_threads_as_it_was_given(tmp_path: Path) -> None:
    spec = write_entry(tmp_path, tiny_model())
    added = []
    for threads in (1, 4):
        before = thread_ids()
        backend = OnnxBackend(tmp_path, spec, CPU, batch=4, threads=threads)
        await backend.start()
        added.append(len(thread_ids() - before))
        await backend.close()
    assert added[1] - added[0] == 3


async def test_a_run_never_exceeds_the_models_own_limit(tmp_path: Path) -> None:
    backend = OnnxBackend(tmp_path, write_entry(tmp_path, tiny_model()), CPU, batch=200, threads=1)
    assert backend.status()["batch"] == backend.spec.max_batch_size == 16
    await backend.close()
