"""Servers that answer with another model than the expected one: at the start, later, and for a moment."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from executors.embed.triton.backend import TritonBackend
from executors.errors import VisualSearchError
from executors.models.spec import Towers
from tests.support.triton.triton_stand_in import (
    IMAGE,
    StandInTriton,
    config_of,
    other_weights,
    pictures,
    sound,
)
from tests.unit.embed.triton.conftest import RARELY, MakeBackend, all_verified, until

Servers = list[StandInTriton]


@pytest.mark.parametrize("count", [1, 2])
async def test_a_wrong_model_everywhere_keeps_the_backend_from_starting(
    servers: Servers, make_backend: MakeBackend, count: int
) -> None:
    config = config_of(IMAGE)
    config.parameters["model_id"].string_value = "tiny@other"
    for server in servers[:count]:
        server.models["tiny"].config = config
    backend = await make_backend(servers[:count], start=False)
    with pytest.raises(VisualSearchError) as caught:
        await backend.start()
    assert caught.value.code == "model_mismatch"
    assert "tiny@other" in caught.value.message
    assert [each["url"] for each in caught.value.details["endpoints"]] == [each.url for each in servers[:count]]
    with pytest.raises(VisualSearchError, match="unavailable"):
        await backend.embed(IMAGE, pictures(1))


async def test_other_weights_under_the_same_id_are_found_out(servers: Servers, make_backend: MakeBackend) -> None:
    servers[0].load(IMAGE, other_weights)
    backend = await make_backend(servers[:1], start=False)
    with pytest.raises(VisualSearchError, match="other weights") as caught:
        await backend.start()
    assert caught.value.code == "model_mismatch"


async def test_a_model_that_returns_nan_for_the_stored_inputs_is_refused(
    servers: Servers, make_backend: MakeBackend
) -> None:
    servers[0].load(IMAGE, lambda inputs: np.full((len(inputs), 3), np.nan, np.float32))
    backend = await make_backend(servers[:1], start=False)
    with pytest.raises(VisualSearchError, match="embedding_failed"):
        await backend.start()


async def test_one_wrong_server_among_others_is_passed_over(servers: Servers, make_backend: MakeBackend) -> None:
    servers[0].load(IMAGE, other_weights)
    backend = await make_backend(servers[:2])
    np.testing.assert_array_equal(await backend.embed(IMAGE, pictures(6)), sound(pictures(6)))
    report = backend.status()
    assert report["ready"]
    await until(lambda: backend.status()["endpoints"][0]["models"]["tiny"]["error"])
    assert backend.status()["endpoints"][0]["models"]["tiny"]["error"]["code"] == "model_mismatch"
    servers[0].load(IMAGE)
    async with asyncio.timeout(30):
        while backend.status()["endpoints"][0]["models"]["tiny"]["state"] != "ready":
            await asyncio.sleep(0.02)


async def test_without_stored_vectors_the_configuration_alone_decides(servers: Servers, tmp_path: Path) -> None:
    backend = TritonBackend(
        tmp_path,
        Towers(IMAGE),
        [servers[0].url],
        preferred=0,
        timeout_s=1,
        total_timeout_s=2,
        in_flight=2,
        cpu_batch=4,
    )
    await backend.start()
    np.testing.assert_array_equal(await backend.embed(IMAGE, pictures(2)), sound(pictures(2)))
    await backend.close()


@pytest.mark.parametrize("shape", [(2, 4), (1, 3), (2, 3, 1)])
async def test_an_answer_of_another_shape_is_no_vector(
    servers: Servers, make_backend: MakeBackend, shape: tuple[int, ...]
) -> None:
    backend = await make_backend(servers[:1])
    await backend.embed(IMAGE, pictures(1))
    servers[0].models["tiny"].function = lambda inputs: (
        np.ones(shape, np.float32) if len(inputs) == 2 else sound(inputs)
    )
    with pytest.raises(VisualSearchError) as caught:
        await backend.embed(IMAGE, pictures(2))
    assert caught.value.code == "embedding_failed"


async def test_a_model_unloaded_and_loaded_again(servers: Servers, make_backend: MakeBackend) -> None:
    backend = await make_backend(servers[:1])
    await backend.embed(IMAGE, pictures(1))
    model = servers[0].models.pop("tiny")
    with pytest.raises(VisualSearchError) as caught:
        await backend.embed(IMAGE, pictures(1))
    assert caught.value.code == "unavailable"
    async with asyncio.timeout(30):
        while backend.status()["endpoints"][0]["models"]["tiny"]["state"] in ("ready", "checking"):
            await asyncio.sleep(0.01)
    assert "has not loaded" in backend.status()["error"]["message"]
    assert backend.status()["endpoints"][0]["breaker"] == "closed", "the server itself is fine"
    servers[0].models["tiny"] = model
    async with asyncio.timeout(30):
        while not backend.status()["ready"]:
            await asyncio.sleep(0.01)
    await backend.embed(IMAGE, pictures(1))


async def test_a_call_that_is_refused_has_the_model_verified_at_once(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:1], pace=RARELY)
    await all_verified(backend)
    servers[0].models.clear()
    for _ in range(2):
        with pytest.raises(VisualSearchError) as caught:
            await backend.embed(IMAGE, pictures(2))
    assert "has not loaded version 1 of the model 'tiny'" in caught.value.message
    assert servers[0].sizes.count(2) == 1, "what is known not to be there is not called"


async def test_after_a_call_without_an_answer_the_model_is_checked_before_the_next_call(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:1], timeout_s=0.2, pace=replace(RARELY, verify_within=0.3))
    await all_verified(backend)
    servers[0].delay_s = 60
    with pytest.raises(VisualSearchError):
        await backend.embed(IMAGE, pictures(2))
    async with asyncio.timeout(30):
        while backend.status()["endpoints"][0]["models"]["tiny"]["state"] in ("ready", "checking"):
            await asyncio.sleep(0.02)
    assert servers[0].sizes.count(2) == 1


async def test_no_vector_comes_over_a_new_connection_before_its_server_passed(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:1], pace=RARELY)
    await all_verified(backend)
    await servers[0].stop()
    servers[0].load(IMAGE, other_weights)
    await servers[0].again()
    message = ""
    async with asyncio.timeout(10):
        while "other weights" not in message:
            with pytest.raises(VisualSearchError) as caught:
                await backend.embed(IMAGE, pictures(2))
            message = caught.value.message
            await asyncio.sleep(0.01)


async def test_a_model_loaded_anew_with_other_weights_and_the_same_id_is_found_out(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:1])
    for _ in range(10):
        await backend.embed(IMAGE, pictures(4))
    asked = servers[0].statistics_asked
    await until(lambda: servers[0].statistics_asked >= asked + 2)  # it has seen how often the model ran
    servers[0].load(IMAGE, other_weights)
    async with asyncio.timeout(30):
        while backend.status()["endpoints"][0]["models"]["tiny"]["state"] in ("ready", "checking"):
            await asyncio.sleep(0.01)
    with pytest.raises(VisualSearchError, match="other weights"):
        await backend.embed(IMAGE, pictures(1))


async def test_a_server_replaced_by_another_never_answers_with_its_vectors(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:1])
    await backend.embed(IMAGE, pictures(1))
    answers: list[object] = []

    def is_told(answer: object) -> bool:
        return isinstance(answer, VisualSearchError) and "other weights" in answer.message

    async def search() -> None:
        while len(answers) < 100_000:
            try:
                answers.append(await backend.embed(IMAGE, pictures(1)))
            except VisualSearchError as error:
                answers.append(error)
            await asyncio.sleep(0.001)

    searches = [asyncio.create_task(search()) for _ in range(4)]
    await until(lambda: len(answers) > 20)
    await servers[0].stop()
    servers[0].load(IMAGE, other_weights)
    await servers[0].again()
    await until(lambda: any(is_told(answer) for answer in answers))
    told = len(answers)
    await until(lambda: len(answers) > told + 100)
    for each in searches:
        each.cancel()
    await asyncio.gather(*searches, return_exceptions=True)
    vectors = [answer for answer in answers if isinstance(answer, np.ndarray)]
    assert vectors
    assert all(np.array_equal(vector, sound(pictures(1))) for vector in vectors)
