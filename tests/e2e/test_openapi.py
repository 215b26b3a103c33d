"""The description of the API against gateways that run: what is described comes, and nothing else does (schemathesis)."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.support.flow import running_flow
from tests.support.local_gateway import local_gateway

# Not tried: bodies that fit the schema may still be no pictures, no vectors of the model's dimension and so on
# (positive_data_acceptance).
_OPTIONS = ("--exclude-checks", "positive_data_acceptance", "--continue-on-failure", "--no-color", "--seed", "13")


async def conform(url: str, *options: str) -> None:
    """Run schemathesis over all operations."""
    command = ("-m", "schemathesis.cli", "run", f"{url}/openapi.json", *_OPTIONS, *options)
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


async def test_answers_are_those_of_the_description() -> None:
    async with local_gateway(2) as gateway:
        await gateway.call.index("red-square", collection="images", thumbnail=b"\xff\xd8\xff")
        await conform(gateway.url, "--phases", "examples,coverage,fuzzing", "--max-examples", "3", "--no-shrink")


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_answers_of_a_whole_flow_are_those_of_the_description(tmp_path: Path, models_dir: Path) -> None:
    with running_flow(tmp_path, shards=2) as flow:
        await conform(flow.http_url, "--max-examples", "100")
