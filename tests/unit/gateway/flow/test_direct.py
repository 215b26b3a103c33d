"""The direct way through the stages, against gRPC servers that stand for their processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import orjson
import pytest
from docarray import DocList
from grpc_health.v1 import health, health_pb2_grpc
from jina.logging.logger import JinaLogger
from jina.proto import jina_pb2, jina_pb2_grpc
from jina.serve.runtimes.gateway.streamer import GatewayStreamer
from jina.types.request.data import DataRequest

from executors.documents import ImageDoc
from executors.errors import VisualSearchError
from executors.flow.jina_patches.patches import apply
from executors.flow.sharding import ALL, ANY, Sharding
from executors.gateway.flow.direct import DirectRoute, chain_of

Answer = Callable[[list[ImageDoc], dict[str, Any]], Awaitable[list[ImageDoc]]]
CHAIN = {"start-gateway": ["first"], "first": ["second"], "second": ["index"], "index": ["end-gateway"]}
POLLING = {"*": ALL, "/index": ANY}


@pytest.fixture(scope="module", autouse=True)
def patched_jina() -> None:
    """Jina as the processes of a flow have it; not before these tests run, since other tests are collected first."""
    apply()


class Process(jina_pb2_grpc.JinaSingleDataRequestRPCServicer):
    """A process of a stage: it notes what it is asked, and answers as it is told to."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.cancelled = asyncio.Event()
        self.port = 0

    async def process_single_data(self, request: DataRequest, context: Any) -> DataRequest:
        self.asked.append(request.header.exec_endpoint)
        request.document_array_cls = DocList[ImageDoc]
        try:
            answered = await self.answer(list(request.docs), request.parameters)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        except ValueError as error:
            request.add_exception(error)
            context.set_trailing_metadata((("is-error", "true"),))
        else:
            request.data.docs = DocList[ImageDoc](answered)
        return request


@asynccontextmanager
async def serving(*processes: Process) -> AsyncIterator[None]:
    servers = []
    for process in processes:
        server = grpc.aio.server()
        jina_pb2_grpc.add_JinaSingleDataRequestRPCServicer_to_server(process, server)
        health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
        process.port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
    try:
        yield
    finally:
        for server in servers:
            await server.stop(None)


def streamer_of(addresses: dict[str, list[str]], graph: dict[str, list[str]] = CHAIN, **more: Any) -> GatewayStreamer:
    made = GatewayStreamer(graph, addresses, retries=1, timeout_send=5, logger=JinaLogger("test"), **more)
    for node in made.topology_graph.all_nodes:
        if node.name != "__end_gateway__":
            node.endpoints = ["/index", "/search"] if node.name != "second" else ["/index"]
    return made


@asynccontextmanager
async def route(first: Process, second: Process, *shards: Process) -> AsyncIterator[DirectRoute]:
    async with serving(first, second, *shards):
        index = Sharding(POLLING, [[f"127.0.0.1:{shard.port}"] for shard in shards])
        addresses = {"first": [f"grpc://127.0.0.1:{first.port}"], "second": [f"grpc://127.0.0.1:{second.port}"]}
        streamer = streamer_of(addresses | {"index": [f"grpc://{shard[0]}" for shard in index.shards]})
        chain = chain_of(streamer.topology_graph)
        assert chain is not None
        try:
            yield DirectRoute(streamer, chain, {"index": index})
        finally:
            await streamer._connection_pool.close()


def adding(text: str) -> Answer:
    async def answer(documents: list[ImageDoc], parameters: dict[str, Any]) -> list[ImageDoc]:
        return [ImageDoc(id=each.id, text=(each.text or "") + text) for each in documents]

    return answer


def shard(number: int, *ids: str) -> Answer:
    """What a shard with some documents answers to a search."""

    async def answer(documents: list[ImageDoc], parameters: dict[str, Any]) -> list[ImageDoc]:
        hits = {
            "shard": ["u", number, 2],
            "ids": list(ids),
            "scores": [0.9 - number / 10] * len(ids),
            "versions": ["1"] * len(ids),
        }
        return [ImageDoc(id=each.id, text=each.text, hits=orjson.dumps(hits)) for each in documents]

    return answer


async def failing(documents: list[ImageDoc], parameters: dict[str, Any]) -> list[ImageDoc]:
    raise ValueError("broken")


async def hanging(documents: list[ImageDoc], parameters: dict[str, Any]) -> list[ImageDoc]:
    await asyncio.Event().wait()
    return documents


PAGE = {"limit": 10, "offset": 0}


async def test_stages_are_passed_in_order_and_only_those_that_bind_the_endpoint() -> None:
    first, second, index = Process(adding("a")), Process(adding("b")), Process(adding("c"))
    async with route(first, second, index, index) as direct:
        answer = await direct.post("/index", [ImageDoc(id="1")], {}, None)
        assert [(each.id, each.text) for each in answer.documents] == [("1", "abc")]
        assert list(answer.took_ms) == ["first", "second", "index"]
        answer = await direct.post("/index", [ImageDoc(id="1")], {}, ["second"])
        assert [each.text for each in answer.documents] == ["b"]
    assert (first.asked, second.asked, index.asked) == (["/index"], ["/index"] * 2, ["/index"])


async def test_answers_of_all_shards_are_merged_with_an_account() -> None:
    first, second = Process(adding("a")), Process(adding("b"))
    async with route(first, second, Process(shard(0, "x", "y")), Process(shard(1, "z"))) as direct:
        answer = await direct.post("/search", [ImageDoc(id="q")], PAGE, None)
    (document,) = answer.documents
    assert orjson.loads(document.hits or b"")["ids"] == ["x", "y", "z"]
    assert (document.shards_total, document.shards_answered) == (2, 2)
    assert second.asked == []


@pytest.mark.parametrize("fault", [failing, None], ids=["it raises", "it is away"])
async def test_a_shard_that_gives_no_answer_is_missing_from_the_account(fault: Answer | None) -> None:
    first, second, gone = Process(adding("a")), Process(adding("b")), Process(fault or hanging)
    async with route(first, second, Process(shard(0, "x")), gone) as direct:
        if fault is None:
            direct = with_dead_shard(direct, 1)
        (document,) = (await direct.post("/search", [ImageDoc(id="q")], PAGE, None)).documents
    assert orjson.loads(document.hits or b"")["ids"] == ["x"]
    assert (document.shards_total, document.shards_answered) == (2, 1)


def with_dead_shard(direct: DirectRoute, number: int) -> DirectRoute:
    """Have a shard's connections lead to where nothing listens."""
    replicas = direct._pool._connections._deployments["index"]["shards"][number]
    replicas._connections.clear()
    replicas._address_to_connection_idx.clear()
    replicas.add_connection("127.0.0.1:1", "index")
    return direct


async def test_without_any_shard_the_request_fails_and_names_the_stage() -> None:
    first, second, index = Process(adding("a")), Process(adding("b")), Process(hanging)
    async with route(first, second, index, index) as direct:
        for number in (0, 1):
            with_dead_shard(direct, number)
        with pytest.raises(VisualSearchError) as raised:
            await direct.post("/search", [ImageDoc(id="q")], PAGE, None)
    assert (raised.value.code, raised.value.details["stage"]) == ("unavailable", "index")


async def test_a_request_for_one_shard_goes_to_another_one_when_its_shard_is_away() -> None:
    first, second, alive = Process(adding("a")), Process(adding("b")), Process(adding("c"))
    async with route(first, second, alive, Process(hanging)) as direct:
        with_dead_shard(direct, 1)
        for _ in range(4):
            answer = await direct.post("/index", [ImageDoc(id="1")], {}, ["index"])
            assert [each.text for each in answer.documents] == ["c"]
    assert alive.asked == ["/index"] * 4


async def test_writes_go_to_the_shards_in_turn() -> None:
    shards = [Process(adding("c")), Process(adding("c"))]
    async with route(Process(adding("a")), Process(adding("b")), *shards) as direct:
        for _ in range(6):
            await direct.post("/index", [ImageDoc(id="1")], {}, ["index"])
    assert [len(each.asked) for each in shards] == [3, 3]


async def test_an_executor_that_raises_ends_the_request_with_the_stage_named() -> None:
    first, second, index = Process(adding("a")), Process(failing), Process(adding("c"))
    async with route(first, second, index, index) as direct:
        with pytest.raises(VisualSearchError) as raised:
            await direct.post("/index", [ImageDoc(id="1")], {}, None)
    assert raised.value.code == "internal"
    assert index.asked == []


async def test_a_caller_that_leaves_ends_the_calls_at_the_stages() -> None:
    first, second, index = Process(adding("a")), Process(hanging), Process(adding("c"))
    async with route(first, second, index, index) as direct:
        posted = asyncio.create_task(direct.post("/index", [ImageDoc(id="1")], {}, None))
        async with asyncio.timeout(30):
            while not second.asked:
                await asyncio.sleep(0.01)
            posted.cancel()
            await second.cancelled.wait()


@pytest.mark.parametrize(
    ("graph", "conditions"),
    [
        ({"start-gateway": ["a", "b"], "a": ["end-gateway"], "b": ["end-gateway"]}, {}),
        ({"start-gateway": ["a"], "a": ["b", "c"], "b": ["end-gateway"], "c": ["end-gateway"]}, {}),
        ({"start-gateway": ["a"], "a": ["b"], "b": ["end-gateway"]}, {"b": {"tags__x": {"$eq": 1}}}),
    ],
    ids=["two begin", "it forks", "it has a condition"],
)
async def test_a_graph_that_is_no_chain_is_left_to_jina(graph: Any, conditions: Any) -> None:
    addresses = {name: ["grpc://127.0.0.1:1"] for name in graph if name != "start-gateway"}
    addresses |= {"c": ["grpc://127.0.0.1:1"]} if "c" in str(graph) else {}
    streamer = GatewayStreamer(graph, addresses, conditions, logger=JinaLogger("test"))
    assert chain_of(streamer.topology_graph) is None


def test_an_answer_of_jina_has_the_status_that_the_route_looks_for() -> None:
    request = DataRequest()
    request.add_exception(ValueError("broken"))
    assert request.header.status.code == jina_pb2.StatusProto.ERROR
