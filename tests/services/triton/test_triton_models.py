"""Models of real Triton servers that are loaded, unloaded and changed: a wrong model never answers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from executors.embed.vectors import check_vectors
from executors.errors import VisualSearchError
from executors.models.spec import Towers
from tests.support.models.models import TINY, tiny_config, tiny_model, write_entry
from tests.support.triton.triton_faults import (
    BATCHING,
    Load,
    MakeBackend,
    MakeServer,
    all_verified,
    pictures,
    refused,
    truth,
    until,
)

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]


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
