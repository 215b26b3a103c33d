"""Several terms in one search, bounds of the score, and a picture put under its id: over HTTP, gRPC and by the client."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import requests
from docarray import DocList
from jina import Client

from executors.cli import main
from executors.client import Document, Term, VisualSearchClient
from executors.documents import ImageDoc
from executors.errors import VisualSearchError
from tests.support.flows.api import Api
from tests.support.flows.flow import RunningFlow


@pytest.fixture
def collection() -> str:
    return f"c-{uuid.uuid4().hex[:10]}"


def put(flow: RunningFlow, document_id: str, picture: bytes, query: str = "", **headers: str) -> tuple[int, Any]:
    """Status and body of the answer; the path is sent as it is, with `..` in it as well."""
    connection = HTTPConnection("127.0.0.1", flow.http_port, timeout=30)
    try:
        connection.request("PUT", f"/documents/{quote(document_id, safe='')}{query}", picture, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


async def filled(flow: RunningFlow, collection: str, pictures: list[bytes]) -> dict[str, np.ndarray[Any, Any]]:
    """Index the pictures as `0`, `1`, …; their vectors."""
    async with VisualSearchClient(flow.http_url) as client:
        documents = [Document(id=str(n), blob=each, tags={"n": n}) for n, each in enumerate(pictures)]
        assert not any(each.error for each in await client.index(documents, collection=collection))
        found = await client.get([str(n) for n in range(len(pictures))], collection=collection, with_embedding=True)
    return {each.id: np.asarray(each.embedding, dtype=np.float64) for each in found}


def ranked(vectors: dict[str, np.ndarray[Any, Any]], query: np.ndarray[Any, Any]) -> list[str]:
    return sorted(vectors, key=lambda each: -float(vectors[each] @ query))


async def test_pictures_vectors_and_indexed_documents_are_one_query(
    flow: RunningFlow, collection: str, pictures: list[bytes]
) -> None:
    vectors = await filled(flow, collection, pictures)
    expected = ranked(vectors, vectors["3"] - 0.5 * vectors["4"] + 0.8 * vectors["5"])[:5]
    terms: list[dict[str, Any]] = [
        {"data": 0},
        {"like": "4", "weight": -0.5},
        {"embedding": vectors["5"].tolist(), "weight": 0.8},
    ]
    blob = base64.b64encode(pictures[3]).decode()
    (http,) = Api(flow.http_url, collection).ok("/search", [{"blob": blob}], terms=terms, limit=5)
    assert [each["id"] for each in http["matches"]] == expected
    parameters = {"collection": collection, "limit": 5, "terms": terms}
    grpc = Client(host=flow.grpc_url).post(
        "/search", DocList[ImageDoc]([ImageDoc(blob=pictures[3])]), parameters=parameters, return_type=DocList[ImageDoc]
    )
    assert [[each.id for each in document.matches] for document in grpc] == [expected]
    parameters["terms"] = [{"like": "3"}, *terms[1:]]
    grpc = Client(host=flow.grpc_url).post("/search", parameters=parameters, return_type=DocList[ImageDoc])
    assert [[each.id for each in document.matches] for document in grpc] == [expected]
    async with VisualSearchClient(flow.http_url) as client:
        given = [Term(blob=pictures[3]), Term(like="4", weight=-0.5), Term(embedding=list(vectors["5"]), weight=0.8)]
        answer = await client.search_terms(given, collection=collection, limit=5)
        assert [[each.id for each in result.matches] for result in answer] == [expected]
        answer = await client.search_terms(given, collection=collection, limit=12, exclude_self=True, score_max=0.6)
        assert "4" not in [each.id for each in answer[0].matches]
        assert all(each.score <= 0.6 for each in answer[0].matches)
        pair = [Document(blob=pictures[3]), Document(blob=pictures[5])]
        answer = await client.search(pair, weights=[1, 0.8], collection=collection, limit=3)
        expected = ranked(vectors, vectors["3"] + 0.8 * vectors["5"])[:3]
        assert [[each.id for each in result.matches] for result in answer] == [expected]


async def test_a_faulty_term_is_named(flow: RunningFlow, collection: str, pictures: list[bytes]) -> None:
    vectors = await filled(flow, collection, pictures[:3])
    async with VisualSearchClient(flow.http_url) as client:
        for terms, code, message in (
            ([Term(like="0"), Term(blob=b"no picture")], "unsupported_format", "terms.1: "),
            ([Term(like="0"), Term(text="a cat")], "text_not_supported", "terms.1: "),
            ([Term(like="0"), Term(like="nothing")], "not_found", "terms.1.like: "),
            ([Term(like="0"), Term(embedding=[1.0, 2.0])], "dimension_mismatch", "terms.1: "),
            ([Term(like="0"), Term(blob=pictures[0], weight=-1)], "zero_query", "the weighted"),
            ([Term(like="0"), Term(like="1", weight=2)], "invalid_parameter", "terms.1.weight: "),
            ([Term(like="0"), Term(blob=pictures[1][:600])], "undecodable_image", "terms.1: "),
        ):
            with pytest.raises(VisualSearchError) as refused:
                await client.search_terms(terms, collection=collection)
            assert (refused.value.code, refused.value.message[: len(message)]) == (code, message)
    with pytest.raises(ValueError, match="exactly one"):
        Term(like="0", text="a cat")
    assert len(vectors) == 3


async def test_pages_below_an_upper_bound_follow_each_other(
    flow: RunningFlow, collection: str, pictures: list[bytes]
) -> None:
    await filled(flow, collection, pictures)
    api = Api(flow.http_url, collection)
    every = api.ok("/search", limit=12, like="0")[0]["matches"]
    low, high = every[9]["score"], every[2]["score"]
    pages = [
        api.ok("/search", limit=3, offset=offset, like="0", score_min=low, score_max=high)[0]["matches"]
        for offset in (0, 3, 6)
    ]
    assert [each["id"] for page in pages for each in page] == [each["id"] for each in every[2:10]]


@pytest.mark.parametrize("name", ["cat.jpg", "a/b//c.jpg", "..", "a/../ü ?#%41+日本\n.jpg", "/"])
def test_a_picture_is_put_under_any_id(flow: RunningFlow, collection: str, one_picture: bytes, name: str) -> None:
    query = f"?collection={collection}&tags=%7B%22n%22%3A1%7D&uri=cat%20photo"
    for expected in ("created", "unchanged"):
        status, body = put(flow, name, one_picture, query, **{"Content-Type": "image/jpeg"})
        assert status == 200, body
        assert [(each["id"], each["result"], each["error"]) for each in body["data"]] == [(name, expected, None)]
    (found,) = Api(flow.http_url, collection).ok("/get", [{"id": name}])
    assert (found["tags"], found["uri"]) == ({"n": 1}, "cat photo")


def test_slashes_of_an_id_may_stand_in_the_path_as_they_are(
    flow: RunningFlow, collection: str, one_picture: bytes
) -> None:
    answer = requests.put(f"{flow.http_url}/documents/a/b.jpg?collection={collection}", data=one_picture, timeout=30)
    assert (answer.status_code, answer.json()["data"][0]["id"]) == (200, "a/b.jpg")


@pytest.mark.parametrize(
    ("name", "query", "content", "media_type", "status", "code"),
    [
        ("a", "", b"no picture", "image/jpeg", 415, "unsupported_format"),
        ("a", "", b"", "image/jpeg", 400, "no_content"),
        ("", "", b"x", "image/jpeg", 400, "invalid_id"),
        ("ü" * 257, "", b"x", "image/jpeg", 400, "invalid_id"),
        ("a", "?tags=%5B1%5D", b"x", "image/jpeg", 400, "invalid_tags"),
        ("a", "?id=b", b"x", "image/jpeg", 400, "invalid_parameter"),
        ("a", "?collection=a&collection=b", b"x", "image/jpeg", 400, "invalid_parameter"),
        ("a", "?collection=%2F", b"x", "image/jpeg", 400, "invalid_parameter"),
        ("a", "?refresh=7", b"x", "image/jpeg", 400, "invalid_parameter"),
        ("a", "", b"{}", "application/json", 415, "unsupported_media_type"),
        ("a", "", b"x", "multipart/form-data; boundary=x", 415, "unsupported_media_type"),
    ],
)
def test_what_can_not_be_put_is_refused_as_index_refuses_it(
    flow: RunningFlow, name: str, query: str, content: bytes, media_type: str, status: int, code: str
) -> None:
    answered, body = put(flow, name, content, query, **{"Content-Type": media_type})
    error = body["error"] if "error" in body else body["data"][0]["error"]
    assert (answered, error["code"]) == (status, code)


def test_an_id_that_is_no_utf_8_and_other_methods_are_refused(flow: RunningFlow) -> None:
    answer = requests.put(f"{flow.http_url}/documents/%FF", data=b"x", timeout=30)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_parameter")
    answer = requests.get(f"{flow.http_url}/documents/a", timeout=30)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "PUT")


async def test_the_client_puts_a_picture(flow: RunningFlow, collection: str, one_picture: bytes) -> None:
    async with VisualSearchClient(flow.http_url) as client:
        written = await client.put_document("a/..//ü", one_picture, collection=collection, tags={"größe": [1]}, uri="ä")
        assert (written.id, written.result) == ("a/..//ü", "created")
        (found,) = await client.get(["a/..//ü"], collection=collection)
        assert (found.tags, found.uri) == ({"größe": [1]}, "ä")
        with pytest.raises(VisualSearchError) as refused:
            await client.put_document("b", b"no picture", collection=collection)
        assert refused.value.code == "unsupported_format"


def test_the_command_line_adds_and_takes_away(
    flow: RunningFlow, collection: str, pictures: list[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors = asyncio.run(filled(flow, collection, pictures))
    file = tmp_path / "query.jpg"
    file.write_bytes(pictures[3])

    def run(*arguments: str, status: int = 0) -> list[dict[str, Any]]:
        options = ("--url", flow.http_url, "--collection", collection, "--json", "--limit", "4")
        assert main(["search", *arguments, *options]) == status
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    def ids(line: dict[str, Any]) -> list[str]:
        return [each["id"] for each in line["matches"]]

    mixed = ranked(vectors, vectors["3"] + vectors["5"] - 0.5 * vectors["7"])[:4]
    (line,) = run(str(file), "--more-like", "5", "--less-like", "7")
    assert (line["query"], ids(line)) == (str(file), mixed)
    (line,) = run("--more-like", "5", "--more-like", str(file), "--less-like", "7")
    assert ids(line) == mixed
    (line,) = run("--like", "5", "--more-like", "3", "--less-like", "7", "--exclude-self")
    assert [each for each in ids(line) if each in ("3", "5", "7")] == []
    (line,) = run("--less-like", "5")
    assert ids(line) == ranked(vectors, -vectors["5"])[:4]
    good, bad = run(str(file), str(tmp_path / "missing.jpg"), "--more-like", "5", status=1)
    assert (good["error"], bad["error"]["code"]) == (None, "unreadable_file")
    (line,) = run("--like", "3", "--score-min", "-0.5", "--score-max", "0.9")
    assert "3" not in ids(line)
    assert main(["search", "--more-like", "5", "--less-like", "nothing", "--url", flow.http_url]) != 0
    assert "not_found" in capsys.readouterr().err
