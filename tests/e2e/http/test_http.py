"""The HTTP API as a user of curl meets it, against a real flow."""

import base64
import json

import numpy as np
import pytest
import requests

from tests.support.flows.api import Api, unit_vectors
from tests.support.flows.flow import RunningFlow
from tests.support.pictures.pictures import encode, scene


@pytest.fixture
def api(flow: RunningFlow) -> Api:
    return Api(flow.http_url)


def as_base64(blob: bytes) -> str:
    return base64.b64encode(blob).decode()


def test_a_picture_is_found_again_by_itself(api: Api, pictures: list[bytes]) -> None:
    data = [
        {"id": f"p{n}", "blob": as_base64(blob), "tags": {"n": n}, "uri": f"{n}.jpg"} for n, blob in enumerate(pictures)
    ]
    written = api.post("/index", data).json()
    assert [each["id"] for each in written["data"]] == [f"p{n}" for n in range(len(pictures))]
    assert {each["result"] for each in written["data"]} == {"created"}
    assert written["parameters"]["failed"] == 0
    assert written["parameters"]["shards"] == {"total": 2, "answered": 2}
    answer = api.post("/search", [{"blob": as_base64(blob)} for blob in pictures], limit=3).json()
    for n, query in enumerate(answer["data"]):
        best = query["matches"][0]
        assert (best["id"], best["tags"], best["uri"]) == (f"p{n}", {"n": n}, f"{n}.jpg")
        assert best["score"] == pytest.approx(1, abs=1e-5)
        assert len(query["matches"]) == 3
        assert [m["score"] for m in query["matches"]] == sorted((m["score"] for m in query["matches"]), reverse=True)
    assert answer["parameters"]["partial"] is False
    assert {"total", "preprocess", "embed", "index"} <= set(answer["parameters"]["took_ms"])


def test_files_by_multipart_take_their_names_as_ids(api: Api, pictures: list[bytes]) -> None:
    files = [("file", (f"ordner/bild {n}.jpg", blob, "image/jpeg")) for n, blob in enumerate(pictures[:3])]
    form = {"parameters": json.dumps({"collection": api.collection}), "tags": json.dumps([{"n": n} for n in range(3)])}
    answer = requests.post(f"{api.url}/index", files=files, data=form, timeout=60).json()
    assert [each["id"] for each in answer["data"]] == [f"ordner/bild {n}.jpg" for n in range(3)]
    found = requests.post(
        f"{api.url}/search", files=files[1:2], data={"parameters": form["parameters"]}, timeout=60
    ).json()
    assert found["data"][0]["matches"][0]["id"] == "ordner/bild 1.jpg"
    assert found["data"][0]["matches"][0]["tags"] == {"n": 1}


def test_multipart_ids_and_one_set_of_tags_for_all(api: Api, pictures: list[bytes]) -> None:
    files = [("file", ("same.jpg", blob)) for blob in pictures[:2]]
    parameters = json.dumps({"collection": api.collection})
    form = {"ids": '["a", "b"]', "tags": '{"album": "x"}', "parameters": parameters}
    assert requests.post(f"{api.url}/index", files=files, data=form, timeout=60).status_code == 200
    assert [each["tags"] for each in api.ok("/get", [{"id": "a"}, {"id": "b"}])] == [{"album": "x"}] * 2
    double = requests.post(f"{api.url}/index", files=files, data={"parameters": parameters}, timeout=60)
    assert (double.status_code, double.json()["error"]["code"]) == (400, "duplicate_id")


def test_one_bad_picture_costs_no_other(api: Api, pictures: list[bytes]) -> None:
    blobs = [*pictures[:3], b"<html>not a picture</html>", *pictures[3:6]]
    answer = api.post("/index", [{"id": str(n), "blob": as_base64(blob)} for n, blob in enumerate(blobs)])
    assert answer.status_code == 200
    body = answer.json()
    assert body["parameters"]["failed"] == 1
    assert [each["error"]["code"] if each["error"] else None for each in body["data"]] == [None] * 3 + [
        "unsupported_format"
    ] + [None] * 3
    assert body["data"][3]["result"] is None


@pytest.mark.parametrize(
    ("document", "status", "code"),
    [
        ({"uri": "https://example.com/a.jpg"}, 400, "no_content"),
        ({"blob": "!!!"}, 400, "invalid_base64"),
        ({"blob": ""}, 400, "no_content"),
        ({"blob": as_base64(b"\xff\xd8\xff\xe0 cut")}, 422, "undecodable_image"),
        ({"embedding": [1.0, 2.0]}, 400, "dimension_mismatch"),
        ({"embedding": [0.0] * 1280}, 400, "invalid_embedding"),
        ({"embedding": ["a"]}, 400, "invalid_embedding"),
        ({"id": "x" * 513, "blob": "aGk="}, 400, "invalid_id"),
        ({"id": 7, "blob": "aGk="}, 400, "invalid_id"),
        ({"blob": "aGk=", "tags": [1]}, 400, "invalid_tags"),
        ({"blob": "aGk=", "unknown": 1}, 400, "invalid_document"),
        ("text", 400, "invalid_document"),
    ],
    ids=str,
)
def test_a_bad_document_gets_its_own_code(api: Api, document: object, status: int, code: str) -> None:
    answer = api.post("/index", [document])
    assert answer.status_code == status, answer.text
    error = answer.json()["data"][0]["error"]
    assert (error["code"], set(error)) == (code, {"code", "message", "details"})
    assert "Traceback" not in answer.text


def test_an_image_that_is_too_large_is_refused_before_it_is_decoded(api: Api) -> None:
    answer = api.post("/index", [{"blob": "A" * 27_000_000}])
    assert answer.status_code == 413
    assert answer.json()["data"][0]["error"]["code"] == "image_too_large"


def test_a_request_at_fault_as_a_whole_has_one_error(api: Api, one_picture: bytes) -> None:
    picture = {"blob": as_base64(one_picture)}
    assert api.refused("/search", []) == (400, "empty_request")
    assert api.refused("/index") == (400, "empty_request")
    assert api.refused("/index", [picture | {"id": "a"}, picture | {"id": "a"}]) == (400, "duplicate_id")
    assert api.refused("/search", [picture], limit=0) == (400, "invalid_parameter")
    assert api.refused("/search", [picture], limt=3) == (400, "invalid_parameter")
    assert api.refused("/search", [picture], filter={"a": {"$like": 1}}) == (400, "invalid_filter")
    assert api.refused("/search", [picture], limit=9000, offset=2000) == (400, "invalid_parameter")
    assert api.refused("/no-such-endpoint", [picture]) == (404, "unknown_endpoint")
    assert api.refused("/search", None, like="nobody") == (404, "not_found")


def test_a_search_by_like_equals_a_search_by_its_picture(api: Api, pictures: list[bytes]) -> None:
    api.ok("/index", [{"id": str(n), "blob": as_base64(blob)} for n, blob in enumerate(pictures[:6])])
    by_picture = api.ok("/search", [{"blob": as_base64(pictures[2])}])[0]["matches"]
    by_like = api.ok("/search", None, like="2")[0]["matches"]
    assert [match["id"] for match in by_like] == [match["id"] for match in by_picture]
    assert by_like[0] == by_picture[0]


def test_offset_threshold_and_limit(api: Api) -> None:
    vectors = unit_vectors(20)
    api.index_vectors({f"{n:02}": vector for n, vector in enumerate(vectors)})
    everything = api.search_vector(vectors[0], limit=20)
    assert len(everything) == 20
    assert api.search_vector(vectors[0], limit=5, offset=3) == everything[3:8]
    assert [match["id"] for match in api.search_vector(vectors[0], threshold=0.99)] == ["00"]
    cut = everything[4]["score"]
    assert len(api.search_vector(vectors[0], limit=20, threshold=cut)) == 5


def test_scores_are_the_true_cosine(api: Api) -> None:
    first, second = unit_vectors(2, seed=5)
    api.index_vectors({"same": first, "other": second, "opposite": -3 * first})
    scores = {match["id"]: match["score"] for match in api.search_vector(7 * first)}
    assert scores == pytest.approx({"same": 1.0, "other": float(first @ second), "opposite": -1.0}, abs=1e-6)


def test_update_get_and_delete(api: Api) -> None:
    api.index_vectors({"a": unit_vectors(1)[0]}, tags={"kept": 1, "gone": 2}, uri="label")
    assert api.ok("/update", {"id": "a", "tags": {"new": 2**53, "gone": None}})[0]["result"] == "updated"
    stored = api.ok("/get", [{"id": "a"}], **{"with": ["embedding"]})[0]
    assert stored["tags"] == {"kept": 1, "new": 2**53}
    assert (stored["uri"], stored["collection"]) == ("label", api.collection)
    np.testing.assert_allclose(stored["embedding"], unit_vectors(1)[0], atol=1e-7)
    assert api.ok("/update", {"id": "a", "tags": {"only": True}}, mode="replace")[0]["result"] == "updated"
    assert api.ok("/get", {"id": "a"})[0]["tags"] == {"only": True}
    results = [each["result"] for each in api.ok("/delete", [{"id": "a"}, {"id": "never-there"}])]
    assert results == ["deleted", "not_found"]
    answer = api.post("/get", [{"id": "a"}])
    assert (answer.status_code, answer.json()["data"][0]["error"]["code"]) == (404, "not_found")
    answer = api.post("/update", {"id": "a", "tags": {}})
    assert (answer.status_code, answer.json()["parameters"]["failed"]) == (404, 1)
    assert answer.json()["data"][0]["error"]["code"] == "not_found"
    assert answer.json()["data"][0]["result"] == "not_found"


def test_an_update_of_more_than_tags_is_refused(api: Api) -> None:
    """Otherwise a caller would think that the new picture or label was stored."""
    api.index_vectors({"a": unit_vectors(1)[0], "b": unit_vectors(1)[0]})
    for more in ({"uri": "new"}, {"embedding": [1.0] * 1280}, {"parent": "b"}, {"blob": "AAAA"}):
        given = [{"id": "a", "tags": {"n": 1}} | more, {"id": "b", "tags": {"n": 1}}]
        refused, updated = api.post("/update", given).json()["data"]
        assert (refused["error"]["code"], refused["error"]["details"]["fields"]) == ("invalid_document", list(more))
        assert updated["result"] in ("updated", "unchanged")
    assert api.ok("/get", {"id": "a"})[0].get("tags", {}) == {}


def test_an_integer_that_no_double_holds_is_refused_and_never_rounded(api: Api) -> None:
    for number in (2**53 + 1, 2**64, 10**30):
        given = {"id": "n", "embedding": unit_vectors(1)[0].tolist(), "tags": {"n": number}}
        assert api.post("/index", given).json()["data"][0]["error"]["code"] == "invalid_tags"
        answer = api.post("/count", None, filter={"n": number})
        assert answer.json()["error"]["code"] == "invalid_filter"


def test_embed_gives_vectors_without_storing(api: Api, pictures: list[bytes]) -> None:
    answers = api.ok("/embed", [{"id": "e", "blob": as_base64(pictures[0])}, {"blob": as_base64(pictures[1])}])
    vectors = np.asarray([each["embedding"] for each in answers])
    assert vectors.shape == (2, 1280)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert answers[0]["model_id"].startswith("efficientnet-lite0@")
    assert api.post("/get", [{"id": "e"}]).status_code == 404


def test_a_thumbnail_is_a_small_jpeg(api: Api) -> None:
    blob = encode(scene(99, 900, 1600))
    api.ok("/index", {"id": "große/Bilder/1.jpg", "blob": as_base64(blob)})
    answer = requests.get(f"{api.url}/thumbnail/{api.collection}/große/Bilder/1.jpg", timeout=30)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert answer.content.startswith(b"\xff\xd8")
    assert len(answer.content) < 17_000
    match = api.ok("/search", {"blob": as_base64(blob)}, limit=1)[0]["matches"][0]
    for each in (match, api.ok("/get", {"id": "große/Bilder/1.jpg"})[0], api.ok("/scroll")[0]):
        assert requests.get(api.url + each["thumbnail_url"], timeout=30).content == answer.content
    missing = requests.get(f"{api.url}/thumbnail/{api.collection}/nobody", timeout=30)
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")


def test_a_vector_of_another_model_is_refused(api: Api) -> None:
    api.index_vectors({"a": unit_vectors(1)[0]})
    foreign = {"id": "b", "embedding": unit_vectors(1)[0].tolist(), "model_id": "other@1"}
    for endpoint in ("/index", "/search"):
        answer = api.post(endpoint, [foreign])
        assert (answer.status_code, answer.json()["data"][0]["error"]["code"]) == (409, "model_mismatch"), answer.text


def test_a_collection_of_ready_vectors_of_another_model(api: Api) -> None:
    vectors = unit_vectors(3, dimension=8)
    for n, vector in enumerate(vectors):
        api.ok("/index", {"id": str(n), "embedding": vector.tolist(), "model_id": "tiny@1"})
    query = {"embedding": vectors[1].tolist(), "model_id": "tiny@1"}
    assert api.ok("/search", [query])[0]["matches"][0]["id"] == "1"
    answer = api.post("/index", [{"id": "x", "embedding": unit_vectors(1, 9)[0].tolist(), "model_id": "tiny@1"}])
    assert answer.json()["data"][0]["error"]["code"] == "dimension_mismatch"


def test_an_unknown_collection_is_not_found(api: Api, one_picture: bytes) -> None:
    answer = api.post("/search", [{"blob": as_base64(one_picture)}])
    assert (answer.status_code, answer.json()["data"][0]["error"]["code"]) == (404, "collection_not_found")


def test_any_number_of_documents_in_one_call(api: Api) -> None:
    vectors = unit_vectors(700, seed=3)
    answers = api.index_vectors({f"v{n}": vector for n, vector in enumerate(vectors)})
    assert [each["id"] for each in answers] == [f"v{n}" for n in range(700)]
    queries = [{"id": f"q{n}", "embedding": vectors[n].tolist()} for n in range(250)]
    found = api.ok("/search", queries, limit=1)
    assert [each["id"] for each in found] == [f"q{n}" for n in range(250)]
    assert [each["matches"][0]["id"] for each in found] == [f"v{n}" for n in range(250)]


def test_ids_are_made_when_missing(api: Api) -> None:
    answers = api.ok("/index", [{"embedding": vector.tolist()} for vector in unit_vectors(3)])
    assert len({each["id"] for each in answers}) == 3
    assert api.ok("/get", [{"id": answers[1]["id"]}])[0]["error"] is None


@pytest.mark.parametrize("vector", [[], [0.0, 0.0], [1.0] * 70_000])
def test_a_refused_vector_binds_no_collection(api: Api, one_picture: bytes, vector: list[float]) -> None:
    answer = api.post("/index", [{"id": "a", "embedding": vector, "model_id": "typo@1"}])
    assert (answer.status_code, answer.json()["data"][0]["error"]["code"]) == (400, "invalid_embedding"), answer.text
    assert api.ok("/index", [{"id": "a", "blob": as_base64(one_picture)}])[0]["result"] == "created"
    assert api.ok("/search", [{"blob": as_base64(one_picture)}])[0]["matches"][0]["id"] == "a"


def test_a_model_id_has_a_bounded_length(api: Api) -> None:
    answer = api.post("/index", [{"embedding": [1.0], "model_id": "x" * 300}])
    assert answer.json()["data"][0]["error"]["code"] == "invalid_document"


def test_get_returns_the_thumbnail_that_was_asked_for(api: Api, one_picture: bytes) -> None:
    api.ok("/index", [{"id": "a", "blob": as_base64(one_picture)}])
    thumbnail = api.ok("/get", [{"id": "a"}], **{"with": ["thumbnail"]})[0]["thumbnail"]
    assert base64.b64decode(thumbnail).startswith(b"\xff\xd8")
