"""`visual-search export` and `import` between flows with different numbers of shards, killed on the way."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from executors.client import Document, VisualSearchClient
from tests.support.flows.commands import run_process, wait_for
from tests.support.flows.flow import RunningFlow
from tests.support.pictures.pictures import encode, scene

DOCUMENTS = 3000
DIMENSION = 64
COLLECTIONS = ("moved", "moved.empty", "moved.pictures")
NAMES = [argument for name in COLLECTIONS for argument in ("--collection", name)]
Type = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def type_command(tmp_path: Path) -> Type:
    """Type a command for a flow, with a journal of this test's own."""

    def typed(flow: RunningFlow, *arguments: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "VS_HTTP_PORT": str(flow.http_port), "XDG_DATA_HOME": str(tmp_path / "data")}
        return run_process(*arguments, env=environment)

    return typed


def finish(process: subprocess.Popen[bytes], status: int = 0) -> tuple[str, str]:
    out, err = (each.decode() for each in process.communicate(timeout=90))
    assert process.returncode == status, out + err
    assert "Traceback" not in err
    return out, err


def fill(flow: RunningFlow) -> None:
    """A collection of vectors of a model that the flow does not have, and one of pictures."""
    rng = np.random.default_rng(5)

    def vector(n: int) -> Document:
        return Document(
            id=f"{'é' if n % 3 else 'z'}{n:05}",
            model_id="ours@1",
            embedding=rng.standard_normal(DIMENSION).tolist(),
            tags={"n": n, "large": 2**53, "list": [None, True, 0.1, "ü"], "deep": {"a": []}} if n % 2 else {},
            uri=f"label {n}",
            parent="é00001" if n % 10 == 9 else None,
            box=[0.5, 1, 2.25, 3] if n % 10 == 9 else None,
            text="what was read" if n % 7 == 0 else None,
            thumbnail=b"\xff\xd8\xff" + bytes([n % 256]) * 50 if n % 5 == 0 else None,
        )

    async def send() -> None:
        async with VisualSearchClient(flow.http_url) as client:
            await client.create_collection("moved", model_id="ours@1", dimension=DIMENSION)
            await client.create_collection("moved.empty", model_id="ours@2", dimension=3)
            for start in range(0, DOCUMENTS, 500):
                answer = await client.index([vector(n) for n in range(start, start + 500)], collection="moved")
                assert answer.failed == 0
            pictures = [Document(id=f"{n}.jpg", blob=encode(scene(n)), tags={"n": n}) for n in range(8)]
            assert (await client.index(pictures, collection="moved.pictures")).failed == 0

    asyncio.run(send())


def documents_of(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    return {(line["collection"], line["id"]): line for line in lines if "id" in line}


def drop(flow: RunningFlow, *names: str) -> None:
    """The flows are shared with other tests."""

    async def send() -> None:
        async with VisualSearchClient(flow.http_url) as client:
            for name in names:
                await client.drop_collection(name)

    asyncio.run(send())


@pytest.mark.parametrize(("source", "target"), [(1, 3), (3, 1)])
def test_a_library_moves_between_flows_to_the_bit_though_both_commands_are_killed(
    source: int, target: int, flows: dict[int, RunningFlow], type_command: Type, tmp_path: Path
) -> None:
    first, second = tmp_path / "first.ndjson", tmp_path / "second.ndjson"
    part = first.with_name("first.ndjson.part")
    fill(flows[source])

    exporting = type_command(flows[source], "export", str(first), *NAMES)
    wait_for(lambda: part.exists() and part.stat().st_size > 10_000)
    exporting.kill()
    exporting.communicate()
    assert not first.exists()
    finish(type_command(flows[source], "export", str(first), *NAMES), status=2)
    finish(type_command(flows[source], "export", str(first), *NAMES, "--resume"))
    exported = documents_of(first)
    assert len(exported) == DOCUMENTS + 8
    assert json.loads(first.read_bytes().splitlines()[-1])["documents"] == DOCUMENTS + 8
    assert all(exported["moved.pictures", f"{n}.jpg"]["thumbnail"] for n in range(8))

    importing = type_command(flows[target], "import", str(first), "--json")
    assert importing.stdout is not None
    told = [json.loads(importing.stdout.readline()) for _ in range(300)]
    importing.kill()
    importing.communicate()
    assert all(line["error"] is None for line in told)
    out, _ = finish(type_command(flows[target], "import", str(first), "--resume"))
    assert "failed" not in out
    assert f"{DOCUMENTS + 8:,} documents" in out

    finish(type_command(flows[target], "export", str(second), *NAMES))
    assert documents_of(second) == exported
    collections = [json.loads(path.read_bytes().splitlines()[0])["collections"] for path in (first, second)]
    assert collections[0] == collections[1]

    again, _ = finish(type_command(flows[target], "import", str(second)))
    assert f"{DOCUMENTS + 8:,} unchanged" in again
    drop(flows[source], *COLLECTIONS)
    drop(flows[target], *COLLECTIONS)


def test_a_pipe_from_one_flow_into_another_and_a_filter(
    flows: dict[int, RunningFlow], type_command: Type, tmp_path: Path
) -> None:
    fill(flows[1])
    where = '{"n": {"$lt": 100}, "deep.a": {"$exists": true}}'
    exporting = type_command(flows[1], "export", "-", "--collection", "moved", "--filter", where)
    content, _ = exporting.communicate(timeout=60)
    environment = {**os.environ, "VS_HTTP_PORT": str(flows[3].http_port)}
    importing = run_process("import", "--collection", "piped", env=environment, stdin=subprocess.PIPE)
    out, err = importing.communicate(content, timeout=60)
    assert importing.returncode == 0, err
    assert b"50 created" in out
    assert finish(type_command(flows[3], "count", "--collection", "piped", "--filter", where))[0] == "50\n"
    # What breaks off on the way is told at the other end.
    importing = run_process("import", "--collection", "piped", env=environment, stdin=subprocess.PIPE)
    out, err = importing.communicate(content[: len(content) // 2], timeout=60)
    assert importing.returncode == 1
    assert b"documents are missing" in err
    drop(flows[3], "piped")
    drop(flows[1], *COLLECTIONS)
