"""The same document gets the same answer, whichever protocol brings it and whichever endpoint it is for."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from docarray import DocList
from jina import Client
from jina.excepts import BadServer

from executors.cli import main
from executors.documents import ImageDoc
from tests.support.flows.api import Api, unit_vectors
from tests.support.flows.flow import RunningFlow
from tests.support.pictures.pictures import encode, scene

VECTOR = unit_vectors(1, seed=77)[0]
PICTURE = encode(scene(1))
CUT = PICTURE[: len(PICTURE) // 3]
EVERYWHERE = ("/index", "/search", "/embed", "/update", "/delete", "/get")
CONTENT = ("/index", "/search", "/embed")


@dataclass(frozen=True)
class Case:
    """A bad document, as values of its fields, and its code where content is taken and where only ids and tags are."""

    name: str
    fields: dict[str, Any]
    content: str
    update: str
    others: str


def everywhere(name: str, code: str, **fields: Any) -> Case:
    return Case(name, fields, code, code, code)


def content(name: str, code: str, **fields: Any) -> Case:
    """Bad content: an update takes none, and what only asks for ids does not look at it."""
    return Case(name, fields, code, "invalid_document", "unknown")


CASES = [
    everywhere("empty id", "invalid_id", id="", embedding=VECTOR),
    everywhere("long id", "invalid_id", id="é" * 257, embedding=VECTOR),
    everywhere("empty picture", "no_content", blob=b""),
    everywhere("empty picture beside a vector", "no_content", blob=b"", embedding=VECTOR),
    content("no picture", "unsupported_format", blob=b"no picture"),
    content("no picture beside a vector", "unsupported_format", blob=b"no picture", embedding=VECTOR),
    content("damaged picture", "undecodable_image", blob=CUT),
    content("damaged picture beside a vector", "undecodable_image", blob=CUT, embedding=VECTOR),
    everywhere("huge integer", "invalid_tags", embedding=VECTOR, tags={"n": 2**53 + 1}),
    everywhere("large tags", "invalid_tags", embedding=VECTOR, tags={"text": "x" * 70_000}),
    everywhere("no vector", "invalid_embedding", embedding=np.zeros(0)),
    everywhere("zero vector", "invalid_embedding", embedding=np.zeros(1280)),
    everywhere("matrix", "invalid_embedding", embedding=np.ones((2, 640))),
    content("short vector", "dimension_mismatch", embedding=np.ones(3)),
    everywhere("short box", "invalid_document", embedding=VECTOR, box=[1.0, 2.0]),
    everywhere("no collection", "invalid_document", embedding=VECTOR, collection="a b"),
    everywhere("empty model", "invalid_document", embedding=VECTOR, model_id=""),
    Case("thumbnail without a picture", {"thumbnail": b"no JPEG"}, "invalid_document", "invalid_document", "unknown"),
    Case("nothing", {}, "no_content", "unknown", "unknown"),
]


@pytest.fixture(scope="module")
def collection(flow: RunningFlow) -> Iterator[str]:
    api = Api(flow.http_url)
    api.index_vectors({"there": VECTOR})
    yield api.collection
    requests.delete(f"{flow.http_url}/collections/{api.collection}", timeout=60)


def by_http(flow: RunningFlow, collection: str, endpoint: str, fields: dict[str, Any]) -> str | None:
    document = dict(fields)
    if "blob" in document:
        document["blob"] = base64.b64encode(document["blob"]).decode()
    if "thumbnail" in document:
        document["thumbnail"] = base64.b64encode(document["thumbnail"]).decode()
    if "embedding" in document:
        document["embedding"] = document["embedding"].tolist()
    body = {"data": [document], "parameters": {"collection": collection}}
    return code_of(requests.post(flow.http_url + endpoint, json=body, timeout=60))


def by_form(flow: RunningFlow, collection: str, endpoint: str, fields: dict[str, Any]) -> str | None:
    form = {"parameters": json.dumps({"collection": collection}), "ids": json.dumps([fields["id"]])}
    form["tags"] = json.dumps(fields.get("tags", {}))
    files = {"file": ("label.jpg", fields["blob"])}
    return code_of(requests.post(flow.http_url + endpoint, data=form, files=files, timeout=60))


def by_grpc(flow: RunningFlow, collection: str, endpoint: str, fields: dict[str, Any]) -> str | None:
    # What ImageDoc itself would refuse is sent as well: other clients have other rules.
    documents = DocList[ImageDoc]([ImageDoc.from_values(**fields)])
    parameters = {"collection": collection}
    try:
        answers = Client(host=flow.grpc_url).post(
            endpoint, documents, parameters=parameters, return_type=DocList[ImageDoc]
        )
    except BadServer as error:
        return str(error)
    return answers[0].error.code if answers[0].error else None


def code_of(answer: requests.Response) -> str | None:
    body = answer.json()
    error = body["error"] if "error" in body else body["data"][0]["error"]
    assert answer.status_code == 200 or error is not None
    return None if error is None else str(error["code"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_document_has_one_code(flow: RunningFlow, collection: str, case: Case) -> None:
    codes = {}
    for endpoint in EVERYWHERE:
        fields = {"id": f"{case.name} {endpoint}"} | case.fields
        codes[endpoint, "http"] = by_http(flow, collection, endpoint, fields)
        codes[endpoint, "grpc"] = by_grpc(flow, collection, endpoint, fields)
        if endpoint in CONTENT and set(fields) <= {"id", "blob", "tags"} and "blob" in fields:
            codes[endpoint, "form"] = by_form(flow, collection, endpoint, fields)
    # No document has these ids. Only a delete accepts that; the other endpoints answer with an error.
    unknown = {"/update": "not_found", "/get": "not_found", "/delete": None}
    wanted = {}
    for endpoint, protocol in codes:
        code = case.content if endpoint in CONTENT else case.update if endpoint == "/update" else case.others
        wanted[endpoint, protocol] = unknown[endpoint] if code == "unknown" else code
    assert codes == wanted


def test_an_empty_file_has_one_code_on_the_command_line_too(
    flow: RunningFlow, collection: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.jpg").touch()
    for typed in (["index", str(tmp_path)], ["search", str(tmp_path / "empty.jpg")]):
        assert main([*typed, "--url", flow.http_url, "--collection", collection, "--json"]) == 1
        (line,) = capsys.readouterr().out.splitlines()
        assert json.loads(line)["error"]["code"] == "no_content"


def test_an_id_that_is_missing_is_made_and_an_empty_one_is_not(flow: RunningFlow, collection: str) -> None:
    parameters = {"collection": collection}
    vector = VECTOR.tolist()
    given = [{"embedding": vector}, {"id": None, "embedding": vector}, {"id": "", "embedding": vector}]
    body = requests.post(f"{flow.http_url}/index", json={"data": given, "parameters": parameters}, timeout=60).json()
    assert [each["error"] and each["error"]["code"] for each in body["data"]] == [None, None, "invalid_id"]
    assert all(each["id"] for each in body["data"][:2])
    documents = DocList[ImageDoc]([ImageDoc(id=each, embedding=VECTOR) for each in (None, "")])
    answers = Client(host=flow.grpc_url).post("/index", documents, parameters=parameters, return_type=DocList[ImageDoc])
    assert [each.error and each.error.code for each in answers] == [None, "invalid_id"]
    assert answers[0].id
    form = {"ids": json.dumps([None, ""]), "parameters": json.dumps(parameters)}
    files = [("file", ("a.jpg", PICTURE)), ("file", ("b.jpg", PICTURE))]
    body = requests.post(f"{flow.http_url}/index", data=form, files=files, timeout=60).json()
    assert [each["error"] and each["error"]["code"] for each in body["data"]] == [None, "invalid_id"]


def test_a_request_for_what_is_not_there_is_an_error(flow: RunningFlow, collection: str) -> None:
    """In a collection that exists and in one that does not; a delete of a missing document is not an error."""
    client = Client(host=flow.grpc_url)
    for name in (collection, "nobodys"):
        api = Api(flow.http_url, name)
        for endpoint in ("/get", "/update"):
            answer = api.post(endpoint, [{"id": "nobody"}])
            assert (answer.status_code, answer.json()["parameters"]["failed"]) == (404, 1)
            assert answer.json()["data"][0]["error"]["code"] == "not_found"
            (over_grpc,) = client.post(
                endpoint, DocList[ImageDoc]([ImageDoc(id="nobody")]), parameters={"collection": name},
                return_type=DocList[ImageDoc],
            )  # fmt: skip
            assert over_grpc.error is not None
            assert over_grpc.error.code == "not_found"
        answer = api.post("/delete", [{"id": "nobody"}])
        assert (answer.status_code, answer.json()["parameters"]["failed"]) == (200, 0)
        assert (answer.json()["data"][0]["result"], answer.json()["data"][0]["error"]) == ("not_found", None)
        assert api.refused("/search", None, like="nobody") == (404, "not_found")
        with pytest.raises(BadServer, match="not_found"):
            client.post("/search", parameters={"collection": name, "like": "nobody"}, return_type=DocList[ImageDoc])
        missing = requests.get(f"{flow.http_url}/thumbnail/{name}/nobody", timeout=30)
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    mixed = Api(flow.http_url, collection).post("/update", [{"id": "there", "tags": {"x": 1}}, {"id": "nobody"}])
    assert (mixed.status_code, mixed.json()["parameters"]["failed"]) == (200, 1)
    assert [each["result"] for each in mixed.json()["data"]] == ["updated", "not_found"]


def test_a_key_that_stands_twice_is_refused_wherever_it_stands(flow: RunningFlow, collection: str) -> None:
    vector = json.dumps(VECTOR.tolist())
    bodies = [
        f'{{"data": {{"id": "a", "id": "b", "embedding": {vector}}}}}',
        f'{{"data": {{"id": "a", "embedding": {vector}, "tags": {{"x": {{"n": 1, "n": 2}}}}}}}}',
        f'{{"data": [], "data": [{{"id": "a", "embedding": {vector}}}]}}',
        f'{{"data": {{"id": "a", "embedding": {vector}}}, "parameters": {{"limit": 1, "limit": 2}}}}',
    ]
    for body in bodies:
        answer = requests.post(f"{flow.http_url}/search", data=body, timeout=30)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "malformed_body"), body[:50]
        assert "twice" in answer.json()["error"]["message"]
    for part in ("tags", "parameters"):
        form = {part: '{"a": 1, "a": 2}'}
        answer = requests.post(f"{flow.http_url}/index", data=form, files={"file": ("a.jpg", PICTURE)}, timeout=30)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "malformed_body")
    made = requests.put(
        f"{flow.http_url}/collections/{collection}-2", data='{"dimension": 3, "dimension": 4}', timeout=30
    )
    assert (made.status_code, made.json()["error"]["code"]) == (400, "malformed_body")


def test_a_document_that_was_spoiled_costs_no_other_and_never_ends_the_program(
    flow: RunningFlow, collection: str
) -> None:
    documents = [ImageDoc(id=f"spoiled {n}", embedding=VECTOR, tags={"n": n}) for n in range(6)]
    documents[1].tags["bad"] = object()
    documents[2].tags["bad"] = float("nan")
    documents[3].tags["good"] = np.int64(3)
    documents[4].__dict__["id"] = "\ud800"
    answers = Client(host=flow.grpc_url).post(
        "/index", DocList[ImageDoc](documents), parameters={"collection": collection}, return_type=DocList[ImageDoc]
    )
    codes = [each.error.code if each.error else None for each in answers]
    assert codes == [None, "invalid_tags", "invalid_tags", None, "invalid_id", None]
    assert [each.result for each in answers if each.error is None] == ["created"] * 3
    stored = Api(flow.http_url, collection).ok("/get", [{"id": "spoiled 3"}])[0]
    assert stored["tags"] == {"n": 3, "good": 3}


def test_times_compare_by_the_moment_and_empty_keys_are_found(flow: RunningFlow, collection: str) -> None:
    api = Api(flow.http_url)
    times = {
        "a": "2024-05-01T10:00:00+02:00",
        "b": "2024-05-01T09:00:00Z",
        "c": "2024-05-01T23:30:00-05:00",
        "d": "soon",
    }
    for name, text in times.items():
        api.index_vectors({name: VECTOR}, tags={"taken": text, "": name})
    after = {"taken": {"$gte": {"$datetime": "2024-05-01T08:30:00Z"}}}
    assert [each["id"] for each in api.scroll(filter=after)] == ["b", "c"]
    (over_grpc,) = Client(host=flow.grpc_url).post(
        "/search",
        DocList[ImageDoc]([ImageDoc(embedding=VECTOR)]),
        parameters={"collection": api.collection, "filter": after},
        return_type=DocList[ImageDoc],
    )
    assert [match.id for match in over_grpc.matches] == ["b", "c"]
    assert api.told("/count", filter={"": {"$in": ["a", "c"]}})["count"] == 2
    assert api.refused("/count", None, filter={"taken": {"$lt": {"$datetime": "2024-05-01"}}}) == (
        400,
        "invalid_filter",
    )


def test_like_leaves_the_document_itself_out(flow: RunningFlow) -> None:
    api = Api(flow.http_url)
    vectors = unit_vectors(8, seed=5)
    api.index_vectors({f"{n}": vector for n, vector in enumerate(vectors)})
    everything = [match["id"] for match in api.ok("/search", None, like="3", limit=8)[0]["matches"]]
    assert everything[0] == "3"
    others = [match["id"] for match in api.ok("/search", None, like="3", limit=7, exclude_self=True)[0]["matches"]]
    assert others == everything[1:]
    answers = Client(host=flow.grpc_url).post(
        "/search",
        parameters={"collection": api.collection, "like": "3", "limit": 3, "offset": 2, "exclude_self": True},
        return_type=DocList[ImageDoc],
    )
    assert [match.id for match in answers[0].matches] == everything[3:6]
    assert api.refused("/search", [{"embedding": vectors[0].tolist()}], exclude_self=True) == (400, "invalid_parameter")
