"""The contract of an embedding backend as tests: an implementation subclasses `EmbeddingContract` and says how one is made.

    @pytest.mark.services
    class TestMyBackend(EmbeddingContract):
        @pytest.fixture(scope="class")
        @classmethod
        def make(cls, repository: Repository) -> Iterator[MakeBackend]:
            with server_of(repository.models_dir) as url:       # once for all tests of the class
                yield lambda: MyBackend(repository.models_dir, repository.towers, [url])

Every test makes backends of its own from `make`; what they share (a server) belongs into that fixture. `repository` holds
both towers of `tests.support.models.text_models`, with at most 16 rows a run.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from executors.embed.backend import EmbeddingBackend
from executors.embed.vectors import check_vectors
from executors.errors import VisualSearchError
from executors.lifecycle import start_now
from executors.models.spec import TextSpec, Tower, Towers
from tests.support.models.models import TINY_DIMENSION
from tests.support.models.text_models import CONTEXT_LENGTH, MAX_BATCH_SIZE, write_towers

MakeBackend: TypeAlias = Callable[[], EmbeddingBackend]
Vectors: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Repository:
    """A model repository with an image model and its text tower, and what to expect of them."""

    models_dir: Path
    towers: Towers

    @property
    def image(self) -> Tower:
        return self.towers.image

    @property
    def text(self) -> Tower:
        assert self.towers.text is not None
        return self.towers.text


def inputs_for(tower: Tower, count: int, seed: int = 0) -> NDArray[Any]:
    """`count` different inputs: pictures without a black one, or words of which at least one is a colour."""
    random = np.random.default_rng(seed)
    if isinstance(tower, TextSpec):
        return random.integers(4, 7, (count, CONTEXT_LENGTH), np.int64)
    return random.integers(1, 256, (count, *tower.input_shape), np.uint8)


def expected(tower: Tower, inputs: NDArray[Any]) -> Vectors:
    """Compute the results of the tiny towers in numpy."""
    mixer = np.random.default_rng(0).uniform(0.5, 1.0, (3, TINY_DIMENSION)).astype(np.float32)
    if isinstance(tower, TextSpec):
        meanings = np.zeros((12, TINY_DIMENSION), np.float32)
        meanings[4:7] = mixer
        return np.asarray(meanings[inputs].sum(axis=1), np.float32)
    colours = inputs.astype(np.float32).mean(axis=(1, 2))
    return np.asarray(colours / np.linalg.norm(colours, axis=1, keepdims=True) @ mixer, np.float32)


def assert_right(tower: Tower, inputs: NDArray[Any], vectors: Vectors) -> None:
    assert vectors.shape == (len(inputs), tower.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected(tower, inputs), rtol=1e-5)


class EmbeddingContract:
    """Everything that `executors.embed.backend.EmbeddingBackend` promises, whatever runs the model."""

    @pytest.fixture(scope="class")
    @classmethod
    def repository(cls, tmp_path_factory: pytest.TempPathFactory) -> Repository:
        models_dir = tmp_path_factory.mktemp("models")
        return Repository(models_dir, write_towers(models_dir))

    @pytest.fixture(scope="class")
    @classmethod
    def make(cls, repository: Repository) -> Any:
        """A function that makes a backend over `repository`, not started."""
        raise NotImplementedError

    @pytest.fixture
    async def backend(self, make: MakeBackend) -> AsyncIterator[EmbeddingBackend]:
        made = make()
        await made.start()
        yield made
        await made.close()

    @pytest.mark.parametrize("count", [1, 3, MAX_BATCH_SIZE, MAX_BATCH_SIZE + 1, 5 * MAX_BATCH_SIZE + 3])
    async def test_any_number_of_inputs_is_answered_in_order(
        self, backend: EmbeddingBackend, repository: Repository, count: int
    ) -> None:
        for tower in repository.towers:
            inputs = inputs_for(tower, count, seed=count)
            assert_right(tower, inputs, await backend.embed(tower, inputs))

    async def test_both_towers_make_vectors_of_one_space(
        self, backend: EmbeddingBackend, repository: Repository
    ) -> None:
        colours = np.zeros((3, *repository.image.input_shape), np.uint8)
        words = np.zeros((3, CONTEXT_LENGTH), np.int64)
        for n in range(3):
            colours[n, ..., n] = 200
            words[n, 1] = 4 + n
        pictures = check_vectors(await backend.embed(repository.image, colours), 3, TINY_DIMENSION)
        texts = check_vectors(await backend.embed(repository.text, words), 3, TINY_DIMENSION)
        cosines = np.stack([np.asarray(each) for each in texts]) @ np.stack([np.asarray(each) for each in pictures]).T
        assert list(cosines.argmax(axis=1)) == [0, 1, 2]

    async def test_calls_at_the_same_time_get_their_own_answers(
        self, backend: EmbeddingBackend, repository: Repository
    ) -> None:
        calls = [
            (tower, inputs_for(tower, count, seed=100 * turn + count))
            for turn in range(4)
            for count in (1, 7, 4, 30, 2, 13)
            for tower in repository.towers
        ]
        answers = await asyncio.gather(*(backend.embed(tower, inputs) for tower, inputs in calls))
        for (tower, inputs), vectors in zip(calls, answers, strict=True):
            assert_right(tower, inputs, vectors)

    async def test_inputs_that_the_tower_does_not_take_are_refused_and_harm_no_other_call(
        self, backend: EmbeddingBackend, repository: Repository
    ) -> None:
        height, width, channels = repository.image.input_shape
        wrong: list[tuple[Tower, NDArray[Any]]] = [
            (repository.image, np.zeros((2, height, width + 1, channels), np.uint8)),
            (repository.image, np.zeros((2, height, width, channels), np.float32)),
            (repository.image, np.zeros((height, width, channels), np.uint8)),
            (repository.image, np.zeros((0, height, width, channels), np.uint8)),
            (repository.image, inputs_for(repository.text, 1)),
            (repository.text, np.zeros((1, CONTEXT_LENGTH - 1), np.int64)),
            (repository.text, np.zeros((1, CONTEXT_LENGTH), np.int32)),
            (repository.text, inputs_for(repository.image, 1)),
        ]
        good = inputs_for(repository.image, 5)
        *refused, vectors = await asyncio.gather(
            *(backend.embed(tower, inputs) for tower, inputs in wrong),
            backend.embed(repository.image, good),
            return_exceptions=True,
        )
        assert [getattr(each, "code", each) for each in refused] == ["invalid_tensor"] * len(wrong)
        assert isinstance(vectors, np.ndarray)
        assert_right(repository.image, good, vectors)

    async def test_a_row_that_is_not_finite_or_zero_costs_no_other(
        self, backend: EmbeddingBackend, repository: Repository
    ) -> None:
        for tower, bad in ((repository.image, (1, 4, 17)), (repository.text, (0, 19))):
            inputs = inputs_for(tower, 20)
            inputs[list(bad)] = 0
            checked = check_vectors(await backend.embed(tower, inputs), 20, tower.dimension)
            assert [n for n, row in enumerate(checked) if isinstance(row, VisualSearchError)] == list(bad)

    async def test_a_cancelled_call_harms_no_other(self, backend: EmbeddingBackend, repository: Repository) -> None:
        call = asyncio.create_task(backend.embed(repository.image, inputs_for(repository.image, 4000)))
        await asyncio.sleep(0.001)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        inputs = inputs_for(repository.image, 20, seed=9)
        assert_right(repository.image, inputs, await backend.embed(repository.image, inputs))

    async def test_an_executor_starts_and_closes_it_from_loops_beside_its_own(
        self, make: MakeBackend, repository: Repository
    ) -> None:
        backend = make()
        start_now(backend.start())  # this loop stands still meanwhile, as in a constructor
        inputs = inputs_for(repository.image, 9)
        assert_right(repository.image, inputs, await backend.embed(repository.image, inputs))
        start_now(backend.close())

    async def test_closing_is_safe_twice_and_what_comes_later_is_refused(
        self, make: MakeBackend, repository: Repository
    ) -> None:
        backend = make()
        await backend.start()
        await backend.embed(repository.image, inputs_for(repository.image, 1))
        await asyncio.gather(backend.close(), backend.close())
        await backend.close()
        for tower in repository.towers:
            with pytest.raises(VisualSearchError) as caught:
                await backend.embed(tower, inputs_for(tower, 1))
            assert caught.value.code == "unavailable"
        assert backend.status()["ready"] is False

    async def test_calls_that_run_while_it_is_closed_end(self, make: MakeBackend, repository: Repository) -> None:
        backend = make()
        await backend.start()
        inputs = inputs_for(repository.image, 3000)
        calls = [asyncio.create_task(backend.embed(repository.image, inputs)) for _ in range(4)]
        await asyncio.sleep(0.001)
        await backend.close()
        async with asyncio.timeout(30):
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, np.ndarray):
                assert_right(repository.image, inputs, outcome)
            else:
                assert getattr(outcome, "code", outcome) == "unavailable"

    async def test_the_status_is_json_and_says_whether_it_can_work(
        self, make: MakeBackend, repository: Repository
    ) -> None:
        backend = make()
        before = json.loads(json.dumps(backend.status()))
        assert before["ready"] is False
        assert set(before["error"]) == {"code", "message", "details"}
        await backend.start()
        await backend.embed(repository.image, inputs_for(repository.image, 6))
        await backend.embed(repository.text, inputs_for(repository.text, 2))
        status = json.loads(json.dumps(backend.status()))
        assert isinstance(status["backend"], str)
        assert (status["ready"], status["error"]) == (True, None)
        await backend.close()
