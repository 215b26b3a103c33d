"""The polling of a sharded stage is read as Jina's own head reads it."""

from __future__ import annotations

import asyncio
import json

import pytest
from jina.enums import PollingType
from jina.logging.logger import JinaLogger
from jina.parsers import set_pod_parser
from jina.serve.runtimes.head.request_handling import HeaderRequestHandler

from executors.flow.sharding import ALL, ANY, Sharding, from_text, polling_of, read_polling, to_text

ENDPOINTS = ("/index", "/search", "/get", "/embed", "/something")
GIVEN = (
    "ANY",
    "all",
    PollingType.ALL,
    json.dumps({"*": "ALL", "/index": "ANY", "/embed": "ANY"}),
    json.dumps({"/search": "ANY"}),
    json.dumps({"*": "any", "/get": "All"}),
    json.dumps({"*": "ALL"}),
    json.dumps({}),
)


def polling_of_head(given: object) -> dict[str, str]:
    """Ask Jina's head, without starting it."""

    async def ask() -> dict[str, str]:
        args = set_pod_parser().parse_args([])
        args.name, args.polling, args.connection_list = "index/head", given, None
        args.uses_before_address = args.uses_after_address = None
        handler = HeaderRequestHandler(args, JinaLogger("head"))
        assert handler.endpoints_discovery_task is not None
        handler.endpoints_discovery_task.cancel()
        await asyncio.gather(handler.endpoints_discovery_task, return_exceptions=True)
        return {endpoint: handler._polling[endpoint].name for endpoint in ENDPOINTS}

    return asyncio.run(ask())


@pytest.mark.parametrize("given", GIVEN, ids=str)
def test_polling_means_what_it_means_to_a_head(given: object) -> None:
    polling = read_polling(given)
    assert {endpoint: polling_of(polling, endpoint) for endpoint in ENDPOINTS} == polling_of_head(given)


def test_stages_reach_the_gateway_as_text() -> None:
    stages = {"index": Sharding({"*": ALL, "/index": ANY}, [["127.0.0.1:1", "127.0.0.1:2"], ["127.0.0.1:3"]])}
    assert from_text(to_text(stages)) == stages
    assert from_text(to_text(stages))["index"].asks_all("/get")
    assert not from_text(to_text(stages))["index"].asks_all("/index")
