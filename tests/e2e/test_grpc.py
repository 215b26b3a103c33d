"""The gRPC API as `Client(...).post` and `Flow.post` users meet it, against a real flow."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from docarray import DocList
from docarray.typing import ID
from jina import Client
from jina.excepts import BadServer

from executors.documents import ImageDoc
from tests.support.flows.api import unit_vectors
from tests.support.flows.flow import RunningFlow
from tests.support.pictures.pictures import encode, scene

Post = Callable[..., DocList[ImageDoc]]


@pytest.fixture
def post(flow: RunningFlow, request: pytest.FixtureRequest) -> Post:
    """Post to a collection of this test's own."""
    collection = f"g-{abs(hash(request.node.name)):x}"

    def call(endpoint: str, documents: list[ImageDoc] | None, **options: object) -> DocList[ImageDoc]:
        parameters = {"collection": collection} | options.pop("parameters", {})  # type: ignore[operator]
        client = Client(host=flow.grpc_url)
        given = None if documents is None else DocList[ImageDoc](documents)
        return client.post(endpoint, given, parameters=parameters, return_type=DocList[ImageDoc], **options)

    return call


def test_bytes_tensors_and_embeddings_are_taken(post: Post) -> None:
    images = [scene(seed) for seed in range(20, 24)]
    written = post("/index", [ImageDoc(id=f"t{n}", tensor=image, tags={"n": n}) for n, image in enumerate(images)])
    assert [(each.id, each.result, each.error) for each in written] == [(f"t{n}", "created", None) for n in range(4)]
    by_bytes = post("/search", [ImageDoc(blob=encode(image, ".png")) for image in images], parameters={"limit": 2})
    assert [each.matches[0].id for each in by_bytes] == [f"t{n}" for n in range(4)]
    assert by_bytes[1].matches[0].tags == {"n": 1}
    vectors = post("/embed", [ImageDoc(tensor=images[3])])
    by_vector = post("/search", [ImageDoc(embedding=vectors[0].embedding)])
    assert by_vector[0].matches[0].id == "t3"
    assert by_vector[0].matches[0].score == pytest.approx(1, abs=1e-5)


def test_many_documents_come_back_in_order(post: Post) -> None:
    vectors = unit_vectors(500, seed=11)
    written = post("/index", [ImageDoc(id=f"d{n}", embedding=each) for n, each in enumerate(vectors)], request_size=32)
    assert [each.id for each in written] == [f"d{n}" for n in range(500)]
    queries = [ImageDoc(id=f"q{n}", embedding=vectors[n]) for n in range(300)]
    found = post("/search", queries, request_size=300, parameters={"limit": 1})
    assert [each.id for each in found] == [f"q{n}" for n in range(300)]
    assert [each.matches[0].id for each in found] == [f"d{n}" for n in range(300)]


def test_a_bad_document_carries_its_error(post: Post) -> None:
    documents = [
        ImageDoc(id="good", embedding=unit_vectors(1)[0]),
        ImageDoc(id="bad", blob=b"not a picture"),
        ImageDoc(id="none"),
    ]
    answers = post("/index", documents)
    assert [each.error.code if each.error else None for each in answers] == [None, "unsupported_format", "no_content"]
    assert answers[1].error is not None
    assert answers[1].error.stage == "preprocess"
    grey = post("/index", [ImageDoc(id="grey", tensor=np.zeros((4, 4), np.uint8))])
    assert grey[0].error is not None
    assert grey[0].error.code == "invalid_tensor"


@pytest.mark.parametrize(
    ("endpoint", "parameters", "code"),
    [
        ("/no-such-endpoint", {}, "unknown_endpoint"),
        ("/search", {"limit": 0}, "invalid_parameter"),
        ("/search", {"limt": 1}, "invalid_parameter"),
        ("/search", {"limit": float("nan")}, "invalid_parameter"),
        ("/search", {"threshold": float("inf")}, "invalid_parameter"),
    ],
)
def test_a_request_that_fails_as_a_whole_raises_its_code_without_a_stack_trace(
    post: Post, endpoint: str, parameters: dict[str, object], code: str
) -> None:
    with pytest.raises(BadServer) as caught:
        post(endpoint, [ImageDoc(embedding=unit_vectors(1)[0])], parameters=parameters)
    assert code in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert ".py" not in str(caught.value)


def test_the_same_id_twice_in_one_request_is_refused(post: Post) -> None:
    document = ImageDoc(id="twice", embedding=unit_vectors(1)[0])
    with pytest.raises(BadServer, match="duplicate_id"):
        post("/index", [document, document])


def test_an_empty_request_is_answered_not_hung(post: Post) -> None:
    with pytest.raises(BadServer, match="empty_request"):
        post("/index", [])


def test_inner_fields_do_not_leave_the_flow(post: Post) -> None:
    post("/index", [ImageDoc(id="a", embedding=unit_vectors(1)[0])])
    answer = post("/search", [ImageDoc(embedding=unit_vectors(1)[0])])[0]
    assert (answer.hits, answer.blob, answer.tensor, answer.embedding) == (None, None, None, None)
    assert (answer.shards_total, answer.shards_answered) == (2, 2)


def test_get_returns_what_was_stored(post: Post) -> None:
    vector = unit_vectors(1, seed=4)[0]
    post(
        "/index",
        [ImageDoc(id="a", embedding=vector, tags={"deep": {"n": 2**40}}, uri="u", box=[1, 2, 3, 4], parent="p")],
    )
    stored = post("/get", [ImageDoc(id="a")], parameters={"with": ["embedding"]})[0]
    assert (stored.tags, stored.uri, stored.box, stored.parent) == ({"deep": {"n": 2**40}}, "u", [1, 2, 3, 4], "p")
    assert stored.embedding is not None
    np.testing.assert_allclose(stored.embedding, vector, atol=1e-7)


def test_many_clients_at_once_get_their_own_answers(post: Post) -> None:
    vectors = unit_vectors(64, seed=8)
    post("/index", [ImageDoc(id=str(n), embedding=each) for n, each in enumerate(vectors)])

    def ask(n: int) -> str:
        return str(post("/search", [ImageDoc(id="q", embedding=vectors[n])], parameters={"limit": 1})[0].matches[0].id)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(64))) == [str(n) for n in range(64)]


def respond(flow: RunningFlow, endpoint: str, **parameters: object) -> dict:
    """The parameters of the answer to a request without documents."""
    client = Client(host=flow.grpc_url)
    (response,) = client.post(endpoint, parameters=parameters, return_type=DocList[ImageDoc], return_responses=True)
    assert len(response.docs) == 0
    return dict(response.parameters)


def test_collections_by_requests_without_documents(flow: RunningFlow) -> None:
    name = "grpc-collection"
    made = respond(flow, "/collections/create", collection=name, model_id="tiny@1", dimension=4)
    assert made["result"] == "created"
    expected = {"name": name, "model_id": "tiny@1", "dimension": 4, "documents": 0}
    assert made["collection"] == expected
    assert respond(flow, "/collections/describe", collection=name)["collection"] == expected
    assert expected in respond(flow, "/collections/list")["collections"]
    assert respond(flow, "/count", collection=name)["count"] == 0
    assert respond(flow, "/reindex", collection=name)["ok"] is True
    dropped = respond(flow, "/collections/drop", collection=name)
    assert (dropped["result"], dropped["documents"]) == ("deleted", 0)
    for endpoint, parameters, code in (
        ("/collections/drop", {"collection": name}, "collection_not_found"),
        ("/collections/create", {"collection": name, "dimension": 3}, "dimension_mismatch"),
        ("/collections/create", {}, "invalid_parameter"),
        ("/scroll", {"collection": name}, "collection_not_found"),
        ("/delete", {"collection": name, "filter": {}}, "invalid_parameter"),
    ):
        with pytest.raises(BadServer, match=code):
            respond(flow, endpoint, **parameters)


def test_searching_scrolling_and_deleting_with_filters(flow: RunningFlow, post: Post) -> None:
    vectors = unit_vectors(12, seed=31)
    post(
        "/index",
        [
            ImageDoc(id=f"{n:02}", embedding=each, tags={"n": n, "brand": "ab"[n % 2]}, parent=None if n else "x")
            for n, each in enumerate(vectors)
        ],
    )
    found = post(
        "/search",
        [ImageDoc(embedding=vectors[3])],
        parameters={
            "filter": {"n": {"$gte": 2, "$lt": 9}},
            "group_by": "brand",
            "with": ["embedding"],
            "fields": ["tags.n"],
            "ef": 100,
        },
    )[0].matches
    assert [(match.id, match.group, match.tags) for match in found[:1]] == [("03", "b", {"n": 3})]
    assert len(found) == 2
    np.testing.assert_array_equal(np.asarray(found[0].embedding, np.float32), vectors[3])
    page = post(
        "/scroll", None, parameters={"limit": 5, "after": "03", "with": ["embedding"], "filter": {"brand": "a"}}
    )
    assert [each.id for each in page] == ["04", "06", "08", "10"]
    np.testing.assert_array_equal(page[0].embedding, vectors[4])
    assert list(post("/delete", None, parameters={"filter": {"n": {"$gt": 9}}})) == []
    assert [each.id for each in post("/scroll", None)] == [f"{n:02}" for n in range(10)]


def test_what_was_read_can_be_indexed_again_with_its_thumbnail(post: Post, one_picture: bytes) -> None:
    post("/index", [ImageDoc(id="a", blob=one_picture)])
    stored = post("/get", [ImageDoc(id="a")], parameters={"with": ["embedding", "thumbnail"]})[0]
    stored.id = ID("b")
    assert post("/index", [stored])[0].result == "created"
    copied = post("/get", [ImageDoc(id="b")], parameters={"with": ["embedding", "thumbnail"]})[0]
    assert copied.thumbnail == stored.thumbnail
    np.testing.assert_array_equal(copied.embedding, stored.embedding)
    refused = post("/index", [ImageDoc(id="c", blob=one_picture, thumbnail=stored.thumbnail)])[0]
    assert refused.error is not None
    assert refused.error.code == "invalid_document"


def test_what_is_no_document_stands_in_the_parameters(flow: RunningFlow) -> None:
    client = Client(host=flow.grpc_url)

    def told(endpoint: str, **parameters: object) -> dict[str, object]:
        answer = client.post(endpoint, parameters=parameters, return_responses=True)[0]
        assert len(answer.docs) == 0
        return dict(answer.parameters)

    status = told("/status")
    assert (status["api"], status["ready"]) == (1, True)
    assert {"index", "model", "stages", "gateway"} <= set(status)
    assert told("/collections/create", collection="told")["result"] == "created"
    assert told("/collections/describe", collection="told")["collection"]["documents"] == 0  # type: ignore[index]
    assert "told" in [each["name"] for each in told("/collections/list")["collections"]]  # type: ignore[attr-defined]
    assert told("/collections/drop", collection="told")["result"] == "deleted"
