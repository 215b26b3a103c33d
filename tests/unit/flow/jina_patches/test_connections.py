"""The gateway's and the heads' connections: how soon they come back, and to which replica a request goes."""

import subprocess
import sys

PROGRAM = """
import asyncio, json, sys, time
import grpc
from grpc_health.v1 import health, health_pb2_grpc
from jina.proto import jina_pb2_grpc
from jina.types.request.data import DataRequest
import executors.bootstrap
from jina.serve.networking import GrpcConnectionPool
from executors.flow.jina_patches.connections import RECONNECT
from executors.flow.jina_patches import deliveries

deliveries.ASK_WITHIN_S = deliveries._PATIENCE_S = 0.2


class Replica(jina_pb2_grpc.JinaSingleDataRequestRPCServicer):
    def __init__(self):
        self.calls, self.frozen = 0, asyncio.Event()
        self.frozen.set()  # not frozen

    async def process_single_data(self, request, context):
        self.calls += 1
        await self.frozen.wait()
        return request


class Health(health_pb2_grpc.HealthServicer):
    def __init__(self, replica):
        self.replica, self.health = replica, health.aio.HealthServicer()

    async def Check(self, request, context):
        await self.replica.frozen.wait()
        return await self.health.Check(request, context)


async def serve():
    replica = Replica()
    server = grpc.aio.server()
    jina_pb2_grpc.add_JinaSingleDataRequestRPCServicer_to_server(replica, server)
    health_pb2_grpc.add_HealthServicer_to_server(Health(replica), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return replica, server, f"127.0.0.1:{port}"


async def main():
    pool = GrpcConnectionPool("gateway")
    assert dict(RECONNECT).items() <= dict(pool.channel_options).items()
    own = GrpcConnectionPool("gateway", channel_options={"grpc.max_reconnect_backoff_ms": 7})
    assert own.channel_options["grpc.max_reconnect_backoff_ms"] == 7
    replicas = [await serve() for _ in range(2)]
    for _, _, address in replicas:
        pool.add_connection("embed", address, head=True)
    (first, _, _), (second, server, _) = replicas

    async def ask(count=1):
        done = await asyncio.gather(
            *(pool.send_requests_once([DataRequest()], "embed", head=True, timeout=60, retries=2) for _ in range(count))
        )
        return [type(each).__name__ for each in done]

    told = {}
    told["both"] = await ask(4), first.calls, second.calls
    second.frozen.clear()
    told["frozen"] = await ask(4), first.calls, second.calls
    calls = second.calls
    told["left out"] = await ask(6), second.calls - calls
    second.frozen.set()
    replica_list = pool._connections.get_replicas("embed", True, None, False)
    while deliveries.absences_of(replica_list)._waiting:
        await asyncio.sleep(0.05)
    calls = second.calls
    told["back"] = await ask(4), second.calls - calls
    first.frozen.clear(); second.frozen.clear()
    told["all"] = await ask(2)
    first.frozen.set(); second.frozen.set()
    told["again"] = await ask(2)
    await server.stop(0)
    told["dead"] = await ask(4)
    print(json.dumps(told))
    await pool.close()

asyncio.run(main())
"""


def test_requests_go_to_replicas_that_answer_and_only_one_of_them_waits() -> None:
    import json

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM], capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    answered = ["tuple"]
    assert told["both"] == [answered * 4, 2, 2]
    # Two of the four met the frozen one, and were taken on by the other.
    assert told["frozen"] == [answered * 4, 6, 4]
    assert told["left out"] == [answered * 6, 0]
    assert told["back"] == [answered * 4, 2]
    assert told["all"] == ["InternalNetworkError"] * 2
    assert told["again"] == answered * 2
    assert told["dead"] == answered * 4
    assert "embed/rep-1" in done.stdout
