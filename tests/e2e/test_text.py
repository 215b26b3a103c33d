"""Search by text through a real flow, with a tiny model of CLIP's shape, and the error of an image-only model."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from docarray import DocList
from jina import Client

from executors.client import Document, VisualSearchClient
from executors.documents import ImageDoc
from tests.support.flows.api import Api
from tests.support.flows.flow import RunningFlow, running_flow
from tests.support.models.two_towers import CONTEXT_LENGTH, DIMENSION, TWO_TOWERS, write_two_towers
from tests.support.pictures.pictures import encode

COLOURS = {"red": (220, 30, 20), "green": (25, 200, 40), "blue": (30, 20, 210)}


def picture(colour: str) -> bytes:
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:] = COLOURS[colour]
    return encode(pixels, ".png")


def as_base64(blob: bytes) -> str:
    return base64.b64encode(blob).decode()


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFlow]:
    """A flow whose model has a text tower."""
    folder = tmp_path_factory.mktemp("reading")
    models_dir = folder / "models"
    write_two_towers(models_dir)
    with running_flow(folder / "flow", shards=2, VS_MODELS_DIR=str(models_dir), VS_MODEL=TWO_TOWERS) as started:
        yield started


@pytest.fixture(scope="module")
def api(reading: RunningFlow) -> Api:
    """Three pictures of one colour each are indexed; what was read in them says something else."""
    made = Api(reading.http_url)
    data = [{"id": colour, "blob": as_base64(picture(colour)), "text": "red green blue"} for colour in COLOURS]
    assert all(each["error"] is None for each in made.ok("/index", data))
    return made


def first(answer: dict[str, Any]) -> str:
    return str(answer["matches"][0]["id"])


@pytest.mark.parametrize("colour", COLOURS)
def test_a_text_finds_the_picture_that_it_describes(api: Api, colour: str) -> None:
    (answer,) = api.ok("/search", [{"text": f"a {colour} car in the rain"}])
    assert first(answer) == colour
    assert answer["matches"][0]["score"] > 0.9
    assert len(answer["matches"]) == 3


def test_texts_pictures_and_vectors_go_together_in_one_request_in_order(api: Api) -> None:
    (embedded,) = api.ok("/embed", [{"text": "green"}], collection=None)
    data = [
        {"text": "blue"},
        {"blob": as_base64(picture("red"))},
        {"embedding": embedded["embedding"]},
        {"text": "red"},
    ]
    assert [first(each) for each in api.ok("/search", data)] == ["blue", "red", "green", "red"]


def test_a_text_can_be_embedded_for_other_uses(api: Api, reading: RunningFlow) -> None:
    (answer,) = api.ok("/embed", [{"id": "q", "text": "A RED car"}], collection=None)
    assert np.linalg.norm(answer["embedding"]) == pytest.approx(1, abs=1e-6)
    assert (answer["id"], answer["error"]) == ("q", None)
    status = requests.get(f"{reading.http_url}/status", timeout=30).json()
    assert answer["model_id"] == status["model"]["model_id"], "the space has the image model's name"
    assert status["stages"]["embed"]["text"] == f"{TWO_TOWERS}-text"
    searched = api.ok("/search", [{"embedding": answer["embedding"], "model_id": answer["model_id"]}])
    assert first(searched[0]) == "red"


BAD: list[tuple[dict[str, Any], str]] = [
    ({"text": ""}, "invalid_text"),
    ({"text": " \n\t"}, "invalid_text"),
    ({"text": "a " * (CONTEXT_LENGTH - 1)}, "invalid_text"),
    ({"text": "x" * 1_000_000}, "invalid_text"),
    ({"text": 7}, "invalid_document"),
    ({"text": "red", "blob": as_base64(picture("blue"))}, "invalid_document"),
    ({"uri": "red.jpg"}, "no_content"),
]


def test_bad_queries_cost_no_other(api: Api) -> None:
    good = [{"text": "red"}, {"blob": as_base64(picture("green"))}, {"text": "blue"}]
    data = [good[0], *(each for each, _ in BAD[:4]), good[1], *(each for each, _ in BAD[4:]), good[2]]
    answer = api.post("/search", data)
    assert (answer.status_code, answer.json()["parameters"]["failed"]) == (200, len(BAD))
    results = answer.json()["data"]
    assert [first(results[n]) for n in (0, 5, 9)] == ["red", "green", "blue"]
    codes = [each["error"]["code"] for each in results if each["error"]]
    assert codes == [code for _, code in BAD]
    too_long = results[3]["error"]
    assert too_long["details"] == {"tokens": CONTEXT_LENGTH + 1, "limit": CONTEXT_LENGTH}


@pytest.mark.parametrize(("document", "code"), BAD, ids=lambda value: str(value)[:40])
def test_a_bad_query_alone_has_the_status_of_its_code(api: Api, document: dict[str, Any], code: str) -> None:
    for endpoint in ("/search", "/embed"):
        answer = api.post(endpoint, [document], **({} if endpoint == "/search" else {"collection": None}))
        assert (answer.status_code, answer.json()["data"][0]["error"]["code"]) == (400, code)
        assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "text", ["🐈 red", "אדום red", "red \0 red", "rot\u0301 red", "<|startoftext|> red <|endoftext|>"]
)
def test_any_unicode_is_searched(api: Api, text: str) -> None:
    (answer,) = api.ok("/search", [{"text": text}])
    assert first(answer) == "red"


def test_what_was_read_in_a_picture_is_stored_and_not_searched(api: Api) -> None:
    (stored,) = api.ok("/get", [{"id": "red"}])
    assert stored["text"] == "red green blue"
    refused = api.post("/index", [{"id": "only-text", "text": "red"}])
    assert (refused.status_code, refused.json()["data"][0]["error"]["code"]) == (400, "no_content")
    (like_blue,) = api.ok("/search", None, like="blue")
    assert first(like_blue) == "blue"


def test_texts_over_grpc(api: Api, reading: RunningFlow) -> None:
    texts = [ImageDoc(id=f"q{n}", text=word) for n, word in enumerate([*COLOURS, "", "a " * CONTEXT_LENGTH])]
    client = Client(host=reading.grpc_url)
    options = {"return_type": DocList[ImageDoc], "parameters": {"collection": api.collection, "limit": 1}}
    answers = client.post("/search", DocList[ImageDoc](texts), **options)
    assert [each.id for each in answers] == [f"q{n}" for n in range(5)]
    assert [each.matches[0].id for each in answers[:3]] == list(COLOURS)
    assert [each.error.code if each.error else None for each in answers[3:]] == ["invalid_text"] * 2
    embedded = client.post("/embed", DocList[ImageDoc]([ImageDoc(text="red")]), return_type=DocList[ImageDoc])
    assert np.asarray(embedded[0].embedding).shape == (DIMENSION,)


def test_many_texts_at_once_get_their_own_answers(api: Api) -> None:
    colours = list(COLOURS) * 20
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda colour: first(api.ok("/search", [{"text": f"a {colour} car"}], limit=1)[0]), colours)
        assert list(found) == colours


async def test_texts_with_the_client(api: Api, reading: RunningFlow) -> None:
    async with VisualSearchClient(reading.http_url) as client:
        answer = await client.search(text=["red", "a green car"], collection=api.collection, limit=1)
        assert [each.matches[0].id for each in answer] == ["red", "green"]
        embedded = await client.embed([Document(text="blue")])
        assert embedded[0].embedding is not None


def test_texts_on_the_command_line(api: Api, reading: RunningFlow, tmp_path: Path) -> None:
    page = tmp_path / "found.html"
    command = [sys.executable, "-m", "executors.cli", "search", "--text", "a red car", "--text", "blue", "--json"]
    place = ["--url", reading.http_url, "--collection", api.collection, "--html", str(page)]
    environment = os.environ | {"XDG_DATA_HOME": str(tmp_path)}
    done = subprocess.run([*command, *place], capture_output=True, text=True, timeout=60, env=environment, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["query"], first(line)) for line in lines] == [("a red car", "red"), ("blue", "blue")]
    assert "a red car" in page.read_text()


def test_the_text_example_of_the_docs_works_when_pasted(reading: RunningFlow) -> None:
    described = requests.get(f"{reading.http_url}/openapi.json", timeout=30).json()
    for path in ("/search", "/embed"):
        content = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        answer = requests.post(reading.http_url + path, json=content["examples"]["text"]["value"], timeout=30)
        assert (answer.status_code, answer.json()["parameters"]["failed"]) == (200, 0), answer.text


def test_an_image_only_model_says_that_it_takes_no_texts(flow: RunningFlow, one_picture: bytes) -> None:
    plain = Api(flow.http_url)
    plain.ok("/index", [{"id": "a", "blob": as_base64(one_picture)}])
    alone = plain.post("/search", [{"text": "a red car"}])
    error = alone.json()["data"][0]["error"]
    assert (alone.status_code, error["code"]) == (400, "text_not_supported")
    assert "efficientnet-lite0" in error["message"]
    assert error["details"] == {"model": "efficientnet-lite0"}
    beside = plain.post("/search", [{"text": "a red car"}, {"blob": as_base64(one_picture)}])
    assert beside.status_code == 200
    assert [each["error"] and each["error"]["code"] for each in beside.json()["data"]] == ["text_not_supported", None]
    assert first(beside.json()["data"][1]) == "a"
    status = requests.get(f"{flow.http_url}/status", timeout=30).json()
    assert status["stages"]["embed"]["text"] is None
