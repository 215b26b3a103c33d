"""The backend against servers that speak Triton's protocol, sound ones and faulty ones."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import orjson
import pytest

from executors.embed.triton.backend import TritonBackend
from executors.errors import VisualSearchError
from executors.models.spec import Towers
from tests.support.triton_stand_in import (
    BOTH,
    IMAGE,
    TEXT,
    StandInTriton,
    config_of,
    other_weights,
    pictures,
    sound,
    tokens,
    write_references,
)
from tests.unit.embed.triton.conftest import RARELY, MakeBackend

Servers = list[StandInTriton]


async def all_verified(backend: TritonBackend) -> None:
    """Until every server can be called."""
    async with asyncio.timeout(5):
        while {each["models"]["tiny"]["state"] for each in backend.status()["endpoints"]} != {"ready"}:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 9, 33])
async def test_any_number_is_answered_in_order(servers: Servers, make_backend: MakeBackend, count: int) -> None:
    backend = await make_backend(servers[:1])
    vectors = await backend.embed(IMAGE, pictures(count))
    np.testing.assert_array_equal(vectors, sound(pictures(count)))
    assert vectors.dtype == np.float32


async def test_parts_fit_the_smaller_of_all_limits(servers: Servers, make_backend: MakeBackend) -> None:
    servers[0].load(IMAGE, max_batch_size=3)
    backend = await make_backend(servers[:1], cpu_batch=5)
    await backend.embed(IMAGE, pictures(1))
    servers[0].sizes.clear()
    await backend.embed(IMAGE, pictures(10))
    assert sorted(servers[0].sizes) == [1, 3, 3, 3]


async def test_a_gpu_gets_as_much_as_the_model_takes(servers: Servers, make_backend: MakeBackend) -> None:
    config = config_of(IMAGE)
    config.instance_group[0].kind = config.instance_group[0].KIND_GPU
    servers[0].models["tiny"].config = config
    backend = await make_backend(servers[:1])
    await backend.embed(IMAGE, pictures(1))
    servers[0].sizes.clear()
    await backend.embed(IMAGE, pictures(32))
    assert servers[0].sizes == [16, 16]
    assert backend.status()["endpoints"][0]["models"]["tiny"]["device"] == "gpu"


async def test_both_towers_are_served(make_backend: MakeBackend) -> None:
    server = await StandInTriton(BOTH).start()
    backend = await make_backend([server], BOTH)
    np.testing.assert_array_equal(await backend.embed(TEXT, tokens(11)), sound(tokens(11)))
    np.testing.assert_array_equal(await backend.embed(IMAGE, pictures(2)), sound(pictures(2)))
    await server.stop()


async def test_one_connection_a_server_however_many_calls(servers: Servers, make_backend: MakeBackend) -> None:
    backend = await make_backend(servers[:1])
    servers[0].connections.clear()
    for _ in range(5):
        await asyncio.gather(*(backend.embed(IMAGE, pictures(9)) for _ in range(20)))
    assert len(servers[0].connections) == 1


async def test_a_wrong_batch_is_refused_before_it_travels(servers: Servers, make_backend: MakeBackend) -> None:
    backend = await make_backend(servers[:1])
    with pytest.raises(VisualSearchError, match="invalid_tensor"):
        await backend.embed(IMAGE, pictures(2).astype(np.float32))


async def test_no_more_calls_in_flight_than_allowed(servers: Servers, make_backend: MakeBackend) -> None:
    backend = await make_backend(servers[:1], in_flight=3, timeout_s=2)
    servers[0].delay_s = 0.01
    await asyncio.gather(*(backend.embed(IMAGE, pictures(9)) for _ in range(10)))
    assert servers[0].most_in_flight == 3


async def test_a_search_does_not_wait_for_all_of_a_large_write(servers: Servers, make_backend: MakeBackend) -> None:
    backend = await make_backend(servers[:1], in_flight=2)
    await backend.embed(IMAGE, pictures(1))
    servers[0].delay_s = 0.01
    write = asyncio.create_task(backend.embed(IMAGE, pictures(200)))
    await asyncio.sleep(0.02)
    await backend.embed(IMAGE, pictures(1))
    assert not write.done()
    await write


async def test_rows_that_are_not_finite_are_passed_on_with_their_neighbours(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:1])
    batch = pictures(4)
    batch[2] = 0
    vectors = await backend.embed(IMAGE, batch)
    assert [bool(np.isfinite(row).all()) for row in vectors] == [True, True, False, True]


# where calls go


@pytest.mark.parametrize("preferred", [0, 1, 2, 4])
async def test_replicas_prefer_different_servers(servers: Servers, make_backend: MakeBackend, preferred: int) -> None:
    backend = await make_backend(servers, preferred=preferred)
    await all_verified(backend)
    for _ in range(5):
        await backend.embed(IMAGE, pictures(1))
    assert [server.sizes.count(1) for server in servers] == [5 * (index == preferred % 3) for index in range(3)]


async def test_a_failed_call_goes_on_elsewhere_and_to_each_server_once(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers)
    await all_verified(backend)
    for server in servers[:2]:
        server.fault = (grpc.StatusCode.UNAVAILABLE, "shutting down")
    for server in servers:
        server.sizes.clear()
    np.testing.assert_array_equal(await backend.embed(IMAGE, pictures(2, 5)), sound(pictures(2, 5)))
    assert [server.sizes.count(2) for server in servers] == [1, 1, 1]
    assert backend.status()["endpoints"][2]["retries"] == 1


async def test_with_every_server_failing_a_request_makes_one_call_to_each(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers)
    await all_verified(backend)
    for server in servers:
        server.fault = (grpc.StatusCode.UNAVAILABLE, "shutting down")
        server.sizes.clear()
    with pytest.raises(VisualSearchError) as caught:
        await backend.embed(IMAGE, pictures(2))
    assert [server.sizes.count(2) for server in servers] == [1, 1, 1]
    assert caught.value.code == "unavailable"
    assert [each["url"] for each in caught.value.details["endpoints"]] == [server.url for server in servers]
    assert all(each["error"]["code"] == "unreachable" for each in caught.value.details["endpoints"])
    orjson.dumps(caught.value.to_json())


async def test_a_server_that_keeps_failing_is_left_alone_until_its_probe_passes(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:2])
    await all_verified(backend)
    servers[0].fault = (grpc.StatusCode.UNAVAILABLE, "shutting down")
    servers[0].sizes.clear()
    for _ in range(20):
        await backend.embed(IMAGE, pictures(2))
    made = servers[0].sizes.count(2)
    assert 1 <= made <= 3, "three failures in a row open the circuit, those of checks included"
    report = backend.status()
    assert report["ready"]
    assert report["endpoints"][0]["breaker"] in ("open", "half_open")
    await asyncio.sleep(0.8)
    assert servers[0].sizes.count(2) == made, "no user's call is a probe"
    servers[0].fault = None
    async with asyncio.timeout(5):
        while backend.status()["endpoints"][0]["breaker"] != "closed":
            await asyncio.sleep(0.02)
    await backend.embed(IMAGE, pictures(2))
    assert servers[0].sizes.count(2) == made + 1


async def test_a_full_queue_is_no_fault_of_the_server(servers: Servers, make_backend: MakeBackend) -> None:
    backend = await make_backend(servers[:2])
    await all_verified(backend)
    servers[0].fault = (grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")
    for _ in range(10):
        await backend.embed(IMAGE, pictures(2))
    report = backend.status()["endpoints"][0]
    assert (report["breaker"], report["failures"]) == ("closed", {"busy": 10})
    servers[1].fault = servers[0].fault
    with pytest.raises(VisualSearchError) as caught:
        await backend.embed(IMAGE, pictures(2))
    assert caught.value.code == "overloaded"


# time


async def test_a_server_that_does_not_answer_costs_no_more_than_its_deadline(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:2], timeout_s=0.3)
    await backend.embed(IMAGE, pictures(1))
    servers[0].delay_s = 60
    loop = asyncio.get_running_loop()
    started = loop.time()
    await backend.embed(IMAGE, pictures(2))
    assert 0.25 < loop.time() - started < 2
    assert backend.status()["endpoints"][0]["failures"] == {"deadline": 1}


async def test_all_of_it_ends_with_the_total_deadline(servers: Servers, make_backend: MakeBackend) -> None:
    backend = await make_backend(servers, timeout_s=0.4, total_timeout_s=0.6)
    await backend.embed(IMAGE, pictures(1))
    for server in servers:
        server.delay_s = 60
    loop = asyncio.get_running_loop()
    started = loop.time()
    outcomes = await asyncio.gather(*(backend.embed(IMAGE, pictures(40)) for _ in range(5)), return_exceptions=True)
    assert loop.time() - started < 1.5
    assert {outcome.code for outcome in outcomes if isinstance(outcome, VisualSearchError)} <= {
        "deadline_exceeded",
        "unavailable",
    }
    assert all(isinstance(outcome, VisualSearchError) for outcome in outcomes)


async def test_those_who_wait_go_on_elsewhere_as_soon_as_the_circuit_opens(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:2], in_flight=3, timeout_s=0.5, total_timeout_s=10)
    await backend.embed(IMAGE, pictures(1))
    servers[0].delay_s = 60
    loop = asyncio.get_running_loop()
    started = loop.time()
    await asyncio.gather(*(backend.embed(IMAGE, pictures(2)) for _ in range(60)))
    assert loop.time() - started < 2.5, "three waited for the deadline, not sixty"


async def test_those_who_wait_for_a_hung_server_go_on_elsewhere_however_long_its_calls_may_take(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:2], in_flight=1, timeout_s=30, total_timeout_s=30)
    await all_verified(backend)
    servers[0].hung = True
    stuck = asyncio.create_task(backend.embed(IMAGE, pictures(1)))
    await asyncio.sleep(0)
    await asyncio.wait_for(backend.embed(IMAGE, pictures(1)), 5)
    stuck.cancel()
    servers[0].hung = False


async def test_a_caller_that_gives_up_cancels_nothing_on_the_server_and_frees_its_slot(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:1], in_flight=2, timeout_s=5)
    await all_verified(backend)
    servers[0].delay_s = 0.4
    calls = [asyncio.create_task(backend.embed(IMAGE, pictures(20))) for _ in range(5)]
    await asyncio.sleep(0.1)
    assert servers[0].in_flight == 2
    loop = asyncio.get_running_loop()
    started = loop.time()
    for call in calls:
        call.cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    assert loop.time() - started < 0.2, "whoever gives up does not wait"
    report = backend.status()["endpoints"][0]
    assert (report["in_flight"], report["abandoned"], report["waiting"]) == (2, 2, 0)
    servers[0].delay_s = 0
    await backend.embed(IMAGE, pictures(5))
    report = backend.status()["endpoints"][0]
    assert (report["in_flight"], report["abandoned"], report["failures"]) == (0, 0, {})
    assert servers[0].cancellations == 0


async def test_a_call_that_took_too_long_is_not_cancelled_on_the_server(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:2], timeout_s=0.2)
    await all_verified(backend)
    servers[0].delay_s = 0.5
    await asyncio.gather(*(backend.embed(IMAGE, pictures(1)) for _ in range(8)))
    assert backend.status()["endpoints"][0]["abandoned"] >= 8
    async with asyncio.timeout(3):
        while servers[0].in_flight or backend.status()["endpoints"][0]["in_flight"]:
            await asyncio.sleep(0.01)
    assert servers[0].cancellations == 0


async def test_the_first_part_that_fails_ends_the_others(servers: Servers, make_backend: MakeBackend) -> None:
    backend = await make_backend(servers[:1], in_flight=2)
    await backend.embed(IMAGE, pictures(1))
    servers[0].fault = (grpc.StatusCode.INTERNAL, "at /srv/models/1: no memory")
    servers[0].sizes.clear()
    with pytest.raises(VisualSearchError) as caught:
        await backend.embed(IMAGE, pictures(400))
    assert len(servers[0].sizes) <= 4
    assert "/srv" not in str(caught.value.to_json()), "the server's own words stay with the operator"
    assert backend.status()["endpoints"][0]["in_flight"] == 0


# the wrong model


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
    assert report["endpoints"][0]["models"]["tiny"]["error"]["code"] == "model_mismatch"
    servers[0].load(IMAGE)
    async with asyncio.timeout(3):
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
    async with asyncio.timeout(3):
        while backend.status()["ready"]:
            await asyncio.sleep(0.01)
    assert "has not loaded" in backend.status()["error"]["message"]
    assert backend.status()["endpoints"][0]["breaker"] == "closed", "the server itself is fine"
    servers[0].models["tiny"] = model
    async with asyncio.timeout(3):
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


async def test_a_call_without_an_answer_has_the_model_run_before_the_next_ones_wait_in_vain(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:1], timeout_s=0.2, pace=replace(RARELY, verify_within=0.3))
    await all_verified(backend)
    servers[0].delay_s = 60
    with pytest.raises(VisualSearchError):
        await backend.embed(IMAGE, pictures(2))
    async with asyncio.timeout(3):
        while backend.status()["ready"]:
            await asyncio.sleep(0.02)
    assert servers[0].sizes.count(2) == 1


async def test_no_vector_comes_from_behind_a_new_connection_before_what_runs_there_passed(
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
    await asyncio.sleep(0.1)
    servers[0].load(IMAGE, other_weights)
    async with asyncio.timeout(3):
        while backend.status()["ready"]:
            await asyncio.sleep(0.01)
    with pytest.raises(VisualSearchError, match="other weights"):
        await backend.embed(IMAGE, pictures(1))


async def test_a_server_replaced_by_another_never_answers_with_its_vectors(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:1])
    await backend.embed(IMAGE, pictures(1))
    answers: list[object] = []

    async def search() -> None:
        while len(answers) < 100_000:
            try:
                answers.append(await backend.embed(IMAGE, pictures(1)))
            except VisualSearchError as error:
                answers.append(error)
            await asyncio.sleep(0.001)

    searches = [asyncio.create_task(search()) for _ in range(4)]
    await asyncio.sleep(0.1)
    await servers[0].stop()
    servers[0].load(IMAGE, other_weights)
    await servers[0].again()
    await asyncio.sleep(2)
    for each in searches:
        each.cancel()
    await asyncio.gather(*searches, return_exceptions=True)
    vectors = [answer for answer in answers if isinstance(answer, np.ndarray)]
    assert vectors
    assert any(isinstance(answer, VisualSearchError) and "other weights" in answer.message for answer in answers)
    assert all(np.array_equal(vector, sound(pictures(1))) for vector in vectors)


# start, loops, end


async def test_servers_may_come_up_after_the_backend(make_backend: MakeBackend) -> None:
    server = await StandInTriton().start()
    await server.stop()
    backend = await make_backend([server])
    report = backend.status()
    assert not report["ready"]
    assert report["error"]["code"] == "unavailable"
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(VisualSearchError, match="unavailable"):
        await backend.embed(IMAGE, pictures(1))
    assert loop.time() - started < 1, "at once"
    await server.again()
    async with asyncio.timeout(20):
        while not backend.status()["ready"]:
            await asyncio.sleep(0.05)
    np.testing.assert_array_equal(await backend.embed(IMAGE, pictures(9)), sound(pictures(9)))
    await server.stop()


async def test_it_starts_on_one_event_loop_and_serves_on_another(servers: Servers, make_backend: MakeBackend) -> None:
    backend = await make_backend(servers[:1], start=False)
    await asyncio.to_thread(asyncio.run, backend.start())
    assert backend.status()["ready"]
    np.testing.assert_array_equal(await backend.embed(IMAGE, pictures(9)), sound(pictures(9)))
    thread = threading.Thread(target=asyncio.run, args=[backend.close()])
    thread.start()
    thread.join()  # blocks this event loop, as Jina does when it ends
    with pytest.raises(VisualSearchError, match="unavailable"):
        await backend.embed(IMAGE, pictures(1))
    await asyncio.sleep(0.1)
    assert [task for task in asyncio.all_tasks() if "monitor of" in task.get_name()] == []


async def test_closing_leaves_no_task_and_wakes_whoever_waits(servers: Servers, make_backend: MakeBackend) -> None:
    before = asyncio.all_tasks()
    backend = await make_backend(servers, in_flight=2, timeout_s=30, total_timeout_s=30)
    await backend.embed(IMAGE, pictures(1))
    for server in servers:
        server.delay_s = 60
    calls = [asyncio.create_task(backend.embed(IMAGE, pictures(9))) for _ in range(5)]
    await asyncio.sleep(0.1)
    await backend.close()
    await backend.close()
    outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 3)
    assert {outcome.code for outcome in outcomes if isinstance(outcome, VisualSearchError)} == {"unavailable"}
    assert not [outcome for outcome in outcomes if not isinstance(outcome, VisualSearchError)]
    await asyncio.sleep(0.05)
    servers_tasks = [task for task in asyncio.all_tasks() - before if task.get_name().startswith(("monitor", "conn"))]
    assert servers_tasks == []


async def test_closing_wakes_whoever_waits_for_a_server_to_be_verified(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:1], total_timeout_s=30, pace=replace(RARELY, verify_within=30))
    servers[0].hung = True
    call = asyncio.create_task(backend.embed(IMAGE, pictures(1)))
    await asyncio.sleep(0.1)
    await backend.close()
    with pytest.raises(VisualSearchError, match="unavailable"):
        await asyncio.wait_for(call, 2)
    servers[0].hung = False


async def test_the_status_is_json(servers: Servers, make_backend: MakeBackend) -> None:
    backend = await make_backend(servers)
    await all_verified(backend)
    await backend.embed(IMAGE, pictures(5))
    report = orjson.loads(orjson.dumps(backend.status()))
    first = report["endpoints"][0]
    assert (report["backend"], report["ready"]) == ("triton", True)
    assert (first["url"], first["server"], first["breaker"]) == (servers[0].url, "triton 2.0", "closed")
    assert (first["calls"], first["inputs"], first["inputs_per_call"]) == (2, 5, 2.5)
    assert first["models"]["tiny"]["rows_per_call"] == 4


async def test_a_status_from_outside_of_an_event_loop_is_an_answer(tmp_path: Path) -> None:
    write_references(tmp_path, Towers(IMAGE))
    backend = TritonBackend(
        tmp_path, Towers(IMAGE), ["127.0.0.1:9"], preferred=0, timeout_s=1, total_timeout_s=1, in_flight=1, cpu_batch=1
    )
    report = await asyncio.to_thread(backend.status)
    assert not report["ready"]
    assert report["error"]["code"] == "unavailable"
