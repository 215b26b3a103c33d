from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from executors.cores import allowed_cores
from executors.devices import CPU, Device
from executors.embed.onnx import OnnxBackend
from executors.errors import VisualSearchError
from executors.models.repository import load_towers, model_path
from executors.models.spec import Towers
from tests.support.models.models import TINY, TINY_SIDE, tiny_model, write_entry
from tests.support.models.text_models import TINY_TEXT, write_towers
from tests.support.pictures.pictures import scene

NAME = "efficientnet-lite0"
TASKS = Path("/proc/self/task")


@pytest.fixture(scope="module")
def tensors() -> NDArray[np.uint8]:
    """Eleven different pictures, 224 x 224."""
    return np.stack([scene(seed, 224, 224) for seed in range(11)])


@pytest.fixture
async def backend(models_dir: Path) -> AsyncIterator[OnnxBackend]:
    started = OnnxBackend(models_dir, load_towers(models_dir, NAME), CPU, batch=4, threads=1)
    await started.start()
    yield started
    await started.close()


@pytest.fixture
async def tiny(tmp_path: Path) -> AsyncIterator[OnnxBackend]:
    started = OnnxBackend(tmp_path, Towers(write_entry(tmp_path, tiny_model())), CPU, batch=4, threads=1)
    await started.start()
    yield started
    await started.close()


def tiny_pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(1, 256, (count, TINY_SIDE, TINY_SIDE, 3), np.uint8)


def thread_ids() -> set[str]:
    """Every thread of this process, Python's and others."""
    return {path.name for path in TASKS.iterdir()}


async def refused_start(models_dir: Path, name: str = TINY) -> VisualSearchError:
    backend = OnnxBackend(models_dir, load_towers(models_dir, name), CPU, batch=4, threads=1)
    with pytest.raises(VisualSearchError) as caught:
        await backend.start()
    assert not backend.status()["ready"]
    with pytest.raises(VisualSearchError):
        await backend.embed(backend.towers.image, tiny_pictures(1))
    await backend.close()
    return caught.value


async def test_an_embedding_does_not_depend_on_its_neighbours(
    backend: OnnxBackend, models_dir: Path, tensors: NDArray[np.uint8]
) -> None:
    alone = np.concatenate([await backend.embed(backend.towers.image, tensors[i : i + 1]) for i in range(len(tensors))])
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-6)
    assert np.max(alone @ alone.T - np.eye(len(alone))) < 0.999, "the pictures are told apart"
    for batch, threads in ((1, 1), (4, 1), (5, 2), (11, 2)):
        other = OnnxBackend(models_dir, backend.towers, CPU, batch=batch, threads=threads)
        await other.start()
        together = await other.embed(other.towers.image, tensors)
        assert np.min(np.sum(alone * together, axis=1)) > 0.99999
        order = np.random.default_rng(batch).permutation(len(tensors))
        shuffled = await other.embed(other.towers.image, np.ascontiguousarray(tensors[order]))
        assert np.min(np.sum(alone[order] * shuffled, axis=1)) > 0.99999
        await other.close()


@pytest.mark.parametrize(("count", "runs"), [(1, 1), (4, 1), (5, 2), (33, 9)])
async def test_rows_go_in_as_few_runs_as_the_batch_allows(tiny: OnnxBackend, count: int, runs: int) -> None:
    before = tiny.status()["runs"]
    await tiny.embed(tiny.towers.image, tiny_pictures(count))
    assert tiny.status()["runs"] - before == runs
    assert tiny.status()["waiting"] == 0


async def test_a_search_does_not_wait_for_a_large_write(backend: OnnxBackend, tensors: NDArray[np.uint8]) -> None:
    write = asyncio.create_task(backend.embed(backend.towers.image, np.concatenate([tensors] * 4)))
    await asyncio.sleep(0)
    await backend.embed(backend.towers.image, tensors[:1])
    assert not write.done()
    await write


async def test_the_event_loop_stays_free(backend: OnnxBackend, tensors: NDArray[np.uint8]) -> None:
    turns = 0
    work = asyncio.create_task(backend.embed(backend.towers.image, tensors))
    while not work.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert turns > 10


async def test_a_cancelled_call_stops_and_harms_no_other(tiny: OnnxBackend) -> None:
    before = tiny.status()["runs"]
    call = asyncio.create_task(tiny.embed(tiny.towers.image, tiny_pictures(4000)))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert tiny.status()["waiting"] == 0
    assert len(await tiny.embed(tiny.towers.image, tiny_pictures(5))) == 5
    assert tiny.status()["runs"] - before < 10


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
    backend = OnnxBackend(tmp_path, Towers(before), CPU, batch=4, threads=1)
    with pytest.raises(VisualSearchError) as caught:
        await backend.start()
    assert caught.value.code == "model_invalid"
    assert (caught.value.details["expected"], caught.value.details["actual"]) == (before.model_id, after.model_id)
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


async def test_a_text_tower_is_checked_like_the_image_model(tmp_path: Path) -> None:
    towers = write_towers(tmp_path)
    assert towers.text is not None
    differs = Towers(towers.image, replace(towers.text, input_type="INT32"))
    with pytest.raises(VisualSearchError, match=r"tokens is tensor\(int64\), expected tensor\(int32\)"):
        await OnnxBackend(tmp_path, differs, CPU, batch=4, threads=1).start()
    with model_path(tmp_path, TINY_TEXT).open("ab") as file:
        file.write(b"x")
    backend = OnnxBackend(tmp_path, towers, CPU, batch=4, threads=1)
    with pytest.raises(VisualSearchError, match=TINY_TEXT):
        await backend.start()
    assert not backend.status()["ready"], "not even the sound image model"


async def test_every_difference_is_told_at_once(tmp_path: Path) -> None:
    write_entry(tmp_path, tiny_model(side=16, dimension=5))
    assert len((await refused_start(tmp_path)).details["faults"]) == 2


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this ONNX Runtime can use a GPU"
)
async def test_a_gpu_that_can_not_be_used_is_not_hidden(tmp_path: Path) -> None:
    backend = OnnxBackend(tmp_path, Towers(write_entry(tmp_path, tiny_model())), Device("gpu", "3"), batch=4, threads=1)
    await backend.start()
    status = backend.status()
    assert status["device"] == "cpu"
    assert "gpu 3 was given" in status["note"]
    assert status["batch"] == 4
    await backend.close()


async def test_the_status_counts_what_was_done(tiny: OnnxBackend) -> None:
    assert "note" not in tiny.status()
    await tiny.embed(tiny.towers.image, tiny_pictures(6))
    status = json.loads(json.dumps(tiny.status()))
    assert (status["backend"], status["device"], status["ready"]) == ("onnx", "cpu", True)
    assert (status["images"], status["waiting"], status["failures"]) == (6, 0, 0)
    assert (status["batch"], status["threads"]) == (4, 1)


@pytest.mark.skipif(not TASKS.is_dir(), reason="threads are counted in /proc")
async def test_it_computes_with_as_many_threads_as_it_was_given(tmp_path: Path) -> None:
    towers = Towers(write_entry(tmp_path, tiny_model()))
    added = []
    for threads in (1, 4):
        before = thread_ids()
        backend = OnnxBackend(tmp_path, towers, CPU, batch=4, threads=threads)
        await backend.start()
        added.append(len(thread_ids() - before))
        await backend.close()
    assert added[1] - added[0] == 3


async def test_a_run_never_exceeds_the_models_own_limit(tmp_path: Path) -> None:
    backend = OnnxBackend(tmp_path, Towers(write_entry(tmp_path, tiny_model())), CPU, batch=200, threads=1)
    assert backend.status()["batch"] == backend.towers.image.max_batch_size == 16
    await backend.close()


@pytest.mark.skipif(len(allowed_cores()) < 2, reason="there is only one core")
async def test_the_threads_that_help_run_on_the_cores_that_they_were_given(tmp_path: Path) -> None:
    towers = Towers(write_entry(tmp_path, tiny_model()))
    core = allowed_cores()[-1]
    before = thread_ids()
    backend = OnnxBackend(tmp_path, towers, CPU, batch=4, threads=2, helper_cores=[core])
    await backend.start()
    try:
        # A thread takes its cores itself, once it runs. Those of other tests run on all cores.
        async with asyncio.timeout(30):
            while {core} not in [cores_of(thread) for thread in thread_ids() - before]:
                await asyncio.sleep(0.01)
    finally:
        await backend.close()


def cores_of(thread: str) -> set[int]:
    """The cores that a thread may run on; none if it has ended."""
    try:
        return os.sched_getaffinity(int(thread))
    except ProcessLookupError:
        return set()
