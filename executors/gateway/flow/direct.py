"""Posts documents straight to the processes of the stages: one call a stage, or one a shard, and no other work on the way.

Between two stages the bytes of a message pass untouched. The shards of a stage are polled as the flow file says, and their
answers are merged here. Jina's connections are used, with their retries and the watch over silent replicas.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any, Final

import grpc
from jina.constants import __default_endpoint__
from jina.excepts import InternalNetworkError
from jina.serve.networking import GrpcConnectionPool
from jina.serve.runtimes.gateway.graph.topology_graph import TopologyGraph
from jina.serve.runtimes.gateway.streamer import GatewayStreamer
from jina.types.request.data import DataRequest

from executors.documents import ImageDoc, ImageDocs
from executors.errors import VisualSearchError
from executors.flow.jina_patches.deliveries import deliver
from executors.flow.jina_patches.messages import request_of
from executors.flow.sharding import Sharding
from executors.gateway.flow.failures import call_failed, check_status
from executors.gateway.flow.route import StageAnswer
from executors.index.wire.merges import merge_answers

_log = logging.getLogger(__name__)
# After these, a request that one shard is enough for goes to another one.
_TRY_ANOTHER: Final = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.NOT_FOUND}
)


def chain_of(graph: TopologyGraph) -> list[Any] | None:
    """The nodes of a graph whose stages follow one another; None for one that only Jina's streamer can serve."""
    nodes, chain = list(graph.origin_nodes), []
    if graph.has_filter_conditions:
        return None
    while nodes:
        if len(nodes) > 1 or nodes[0].floating or nodes[0].number_of_parts != 1:
            return None
        chain.append(nodes[0])
        nodes = [node for node in nodes[0].outgoing_nodes if not isinstance(node, TopologyGraph._EndGatewayNode)]
    return chain or None


class DirectRoute:
    """The way through a chain of stages.

    Args:
        streamer: Jina's, whose connections are used.
        chain: the nodes of its graph, in order.
        sharded: the stages whose shards the gateway calls, by name; their connections are added here.
    """

    def __init__(self, streamer: GatewayStreamer, chain: Sequence[Any], sharded: Mapping[str, Sharding]) -> None:
        self._pool: GrpcConnectionPool = streamer._connection_pool
        self._chain = chain
        self._sharded = sharded
        self._turns = dict.fromkeys(sharded, 0)
        for name, stage in sharded.items():
            for number, addresses in enumerate(stage.shards):
                for address in addresses:
                    self._pool.add_connection(name, address, head=False, shard_id=number)

    async def post(
        self, endpoint: str, documents: Sequence[ImageDoc], parameters: Mapping[str, Any], target: Sequence[str] | None
    ) -> StageAnswer:
        """See `route.Route`."""
        request: DataRequest | None = None
        answered = list(documents)
        took_ms: dict[str, float] = {}
        for node in self._chain:
            if (target is not None and node.name not in target) or not _binds(node, endpoint):
                continue
            started = perf_counter()
            request = request or request_of(endpoint, answered, parameters)
            try:
                if node.name in self._sharded and self._sharded[node.name].asks_all(endpoint):
                    answered = await self._ask_all_shards(node, request, endpoint, parameters)
                    request = None
                elif node.name in self._sharded:
                    request = await self._ask_any_shard(node, request, endpoint)
                else:
                    request = await self._ask(node, self._replicas(node), request, endpoint)
            except VisualSearchError:
                raise
            except Exception as error:
                raise call_failed(error, endpoint, node.name) from None
            took_ms[node.name] = round((perf_counter() - started) * 1000, 2)
        return StageAnswer(answered if request is None else _documents_of(request), took_ms)

    def _replicas(self, node: Any, shard: int | None = None) -> Any:
        return self._pool._connections.get_replicas(node.name, shard is None, shard)

    async def _ask(self, node: Any, replicas: Any, request: DataRequest, endpoint: str) -> DataRequest:
        """Have one replica answer.

        Raises:
            VisualSearchError: `internal`, its executor raised.
            Exception: what `deliver` raises.
        """
        metadata = {**(node._metadata or {}), "endpoint": endpoint}
        response, trailing = await deliver(self._pool, [request], replicas, metadata, node._timeout_send, node._retries)
        if trailing is not None and "is-error" in trailing:
            check_status(response, endpoint)
        return response

    async def _ask_any_shard(self, node: Any, request: DataRequest, endpoint: str) -> DataRequest:
        """Have the shard whose turn it is answer, or another one if it does not."""
        shards = len(self._sharded[node.name].shards)
        tries_left = 1 + max(0, node._retries)
        while True:
            self._turns[node.name] = (self._turns[node.name] + 1) % shards
            try:
                return await self._ask(node, self._replicas(node, self._turns[node.name]), request, endpoint)
            except InternalNetworkError as error:
                tries_left -= 1
                if not tries_left or error.code() not in _TRY_ANOTHER:
                    raise

    async def _ask_all_shards(
        self, node: Any, request: DataRequest, endpoint: str, parameters: Mapping[str, Any]
    ) -> list[ImageDoc]:
        """Merge the answers of the shards that gave one.

        Raises:
            Exception: none of them gave one; why the first did not.
        """
        shards = range(len(self._sharded[node.name].shards))
        asked = (self._ask(node, self._replicas(node, number), request, endpoint) for number in shards)
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        answers = [_documents_of(each) for each in outcomes if not isinstance(each, BaseException)]
        failures = [each for each in outcomes if isinstance(each, BaseException)]
        if not answers:
            raise failures[0]
        if failures:
            _log.warning("%s: %d of %d shards of %r failed", endpoint, len(failures), len(shards), node.name)
        return merge_answers(endpoint, answers, parameters)


def _binds(node: Any, endpoint: str) -> bool:
    """Whether the stage has the endpoint; as long as it was not asked which ones it has, it may."""
    return node.endpoints is None or endpoint in node.endpoints or __default_endpoint__ in node.endpoints


def _documents_of(response: DataRequest) -> list[ImageDoc]:
    response.document_array_cls = ImageDocs
    return list(response.docs)
