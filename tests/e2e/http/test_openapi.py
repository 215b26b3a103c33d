"""The description of the API against gateways that run: what is described comes, and nothing else does (schemathesis)."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.flows.flow import running_flow
from tests.support.flows.local_gateway import local_gateway
from tests.support.flows.raw_http import exchange

# Not tried: bodies that fit the schema may still be no pictures, no vectors of the model's dimension and so on
# (positive_data_acceptance).
_OPTIONS = (
    "--exclude-checks",
    "positive_data_acceptance",
    "--continue-on-failure",
    "--no-color",
    "--seed",
    "13",
    # It ends only when the gateway does; tests/e2e/http/test_watch.py reads it.
    "--exclude-path",
    "/watch",
    "--generation-deterministic",
)


async def conform(url: str, folder: Path, *options: str) -> None:
    """Run schemathesis over all operations; what it keeps goes to the folder."""
    command = ("-m", "schemathesis.cli", "run", f"{url}/openapi.json", *_OPTIONS, *options)
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=folder
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


async def test_answers_are_those_of_the_description(tmp_path: Path) -> None:
    async with local_gateway(2) as gateway:
        await gateway.call.index("red-square", collection="images", thumbnail=b"\xff\xd8\xff")
        await conform(gateway.url, tmp_path, "--phases", "examples,fuzzing", "--max-examples", "10", "--no-shrink")


async def test_the_description_speaks_json_schema_and_names_only_what_comes() -> None:
    async with local_gateway(1) as gateway:
        port = urlsplit(gateway.url).port or 0
        answer = await exchange(port, b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        redoc = await exchange(port, b"GET /redoc HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    described = answer.json()
    assert redoc.status == 404
    assert not {"ge", "le", "gt", "lt"} & set(_keys(described))
    assert "HTTPValidationError" not in answer.body.decode()
    limit = described["paths"]["/search"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert limit["parameters"]["anyOf"][0]["properties"]["limit"]["maximum"] == 10_000
    for path, operations in described["paths"].items():
        for operation in operations.values():
            assert not {"4XX", "5XX", "default"} & set(operation["responses"])
            named = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path))
            assert all(each["example"] for each in operation.get("parameters", ()) if each["in"] == "path")
    assert set(described["paths"]["/scroll"]["post"]["responses"]) == {
        "200", "400", "401", "403", "404", "408", "413", "415", "429", "500", "503", "504",
    }  # fmt: skip
    assert set(described["paths"]["/health/live"]["get"]["responses"]) == {"200"}


async def test_a_number_that_json_can_not_carry_is_no_defect() -> None:
    body = b'{"data": [{"id": "a", "tags": {"n": 36893488147419103232}}]}'
    async with local_gateway(1) as gateway:
        for path in ("/get", "/search"):
            head = (
                f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            answer = await exchange(urlsplit(gateway.url).port or 0, head.encode() + body)
            assert (answer.status, answer.json()["data"][0]["error"]["code"]) == (400, "invalid_tags")


def _keys(content: Any) -> Iterator[str]:
    """Every key of every object in it, names of parameters aside."""
    if isinstance(content, list):
        for each in content:
            yield from _keys(each)
    if isinstance(content, dict):
        for key, value in content.items():
            yield key
            yield from _keys(value)


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_answers_of_a_whole_flow_are_those_of_the_description(tmp_path: Path, models_dir: Path) -> None:
    with running_flow(tmp_path, shards=2) as flow:
        await conform(flow.http_url, tmp_path, "--max-examples", "100")
