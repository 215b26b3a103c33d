"""Keys in a whole flow: over gRPC, by the command line and the client, and while their file changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import requests
from docarray import DocList
from google.protobuf.empty_pb2 import Empty
from jina import Client
from jina.excepts import BadServer
from jina.proto.jina_pb2_grpc import JinaInfoRPCStub

from executors.client import VisualSearchClient
from executors.documents import ImageDoc
from executors.errors import VisualSearchError
from tests.support.flows.flow import RunningFlow, kill_flow, running_flow, start_flow

PROGRAM = Path(sys.executable).with_name("visual-search")


def keys(file: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(PROGRAM), "keys", *arguments],
        env={**os.environ, "VS_KEYS_FILE": str(file), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def create(file: Path, name: str, role: str, *more: str) -> str:
    return keys(file, "create", name, "--role", role, *more).stdout.strip()


class Keyed:
    """A flow that asks for keys, with the keys that it knows."""

    def __init__(self, flow: RunningFlow, file: Path, searcher: str, writer: str) -> None:
        self.flow, self.file, self.searcher, self.writer = flow, file, searcher, writer


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Keyed]:
    folder = tmp_path_factory.mktemp("keyed")
    file = folder / "keys.toml"
    searcher, writer = create(file, "searcher", "search"), create(file, "writer", "write")
    with running_flow(folder, 1, VS_KEYS_FILE=str(file)) as flow:
        yield Keyed(flow, file, searcher, writer)


def post(flow: RunningFlow, endpoint: str, picture: bytes, **metadata: str) -> DocList[ImageDoc]:
    given = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
    found: DocList[ImageDoc] = Client(host=flow.grpc_url).post(
        endpoint, DocList[ImageDoc]([ImageDoc(id="cat", blob=picture)]), return_type=DocList[ImageDoc], metadata=given
    )
    return found


def test_grpc_callers_send_the_key_as_metadata(keyed: Keyed, one_picture: bytes) -> None:
    for metadata, code in (
        ({}, "unauthenticated"),
        ({"x_api_key": "vs_unknown"}, "unauthenticated"),
        ({"x_api_key": keyed.searcher}, "forbidden"),
    ):
        with pytest.raises(BadServer, match=code):
            post(keyed.flow, "/index", one_picture, **metadata)
    assert post(keyed.flow, "/index", one_picture, x_api_key=keyed.writer)[0].result in ("created", "unchanged")
    assert post(keyed.flow, "/index", one_picture, authorization=f"Bearer {keyed.writer}")[0].error is None
    assert post(keyed.flow, "/search", one_picture, x_api_key=keyed.searcher)[0].matches[0].id == "cat"


def test_jinas_report_of_the_gateway_needs_a_key_too(keyed: Keyed) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{keyed.flow.grpc_port}") as channel:
        stub = JinaInfoRPCStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub._status(Empty(), timeout=20)
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
        assert stub._status(Empty(), metadata=(("x-api-key", keyed.searcher),), timeout=20).jina


def test_two_different_keys_in_the_metadata_are_refused(keyed: Keyed, one_picture: bytes) -> None:
    both = (("x-api-key", keyed.searcher), ("x-api-key", keyed.writer))
    with pytest.raises(BadServer, match="unauthenticated"):
        Client(host=keyed.flow.grpc_url).post(
            "/index", DocList[ImageDoc]([ImageDoc(blob=one_picture)]), return_type=DocList[ImageDoc], metadata=both
        )


async def test_the_client_sends_the_key(keyed: Keyed) -> None:
    async with VisualSearchClient(keyed.flow.http_url) as client:
        with pytest.raises(VisualSearchError) as caught:
            await client.count()
        assert caught.value.code == "unauthenticated"
    async with VisualSearchClient(keyed.flow.http_url, api_key=keyed.searcher) as client:
        assert await client.count() >= 0


def test_the_command_line_sends_the_key(keyed: Keyed) -> None:
    command = [str(PROGRAM), "count", "--url", keyed.flow.http_url]
    for key, status in ((None, 3), (keyed.searcher, 0)):
        environment = {**os.environ, **({} if key is None else {"VS_API_KEY": key})}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == status, done.stderr


def test_a_key_that_is_made_or_revoked_while_the_flow_runs_counts_soon(keyed: Keyed) -> None:
    new = create(keyed.file, "new", "search")
    wait_for_status(keyed.flow, new, 200)
    assert keys(keyed.file, "revoke", "new").returncode == 0
    wait_for_status(keyed.flow, new, 401)


def wait_for_status(flow: RunningFlow, key: str, status: int) -> None:
    deadline = time.monotonic() + 20
    while (
        requests.post(f"{flow.http_url}/count", json={}, headers={"x-api-key": key}, timeout=20).status_code != status
    ):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_the_log_has_the_audit_and_no_key(keyed: Keyed, one_picture: bytes) -> None:
    post(keyed.flow, "/index", one_picture, x_api_key=keyed.writer)
    with pytest.raises(BadServer):
        post(keyed.flow, "/index", one_picture)
    assert "refused /index from 127.0.0.1 with no known key" in keyed.flow.log
    assert "key writer: /index in images, 1 documents, 0 failed" in keyed.flow.log
    assert keyed.writer not in keyed.flow.log
    assert "callers need a key from" in keyed.flow.log


def test_the_keys_of_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    made = keys(file, "create", "shop", "--role", "search", "--collection", "products")
    assert made.returncode == 0
    secret = made.stdout.strip()
    assert secret.startswith("vs_")
    assert "only time that it is shown" in made.stderr
    assert json.loads(keys(file, "list", "--json").stdout)["collections"] == ["products"]
    assert secret not in keys(file, "list").stdout
    assert "'shop'" in keys(file, "check", VS_API_KEY=secret).stdout
    assert keys(file, "check", VS_API_KEY="vs_other").returncode == 1
    assert keys(file, "create", "shop", "--role", "search").returncode != 0
    assert keys(file, "revoke", "shop").returncode == 0
    assert keys(file, "revoke", "shop").returncode != 0
    missing = subprocess.run([str(PROGRAM), "keys", "list"], capture_output=True, text=True, check=False, timeout=60)
    assert "VS_KEYS_FILE" in missing.stderr


def test_an_open_address_without_keys_stops_the_start(tmp_path: Path, models_dir: Path) -> None:
    flow = start_flow(tmp_path, VS_HOST="0.0.0.0")
    try:
        assert flow.process.wait(30) == 1
    finally:
        kill_flow(flow)
    assert "error: invalid_setting: VS_HOST: other machines reach 0.0.0.0, and no key is asked for" in flow.log
