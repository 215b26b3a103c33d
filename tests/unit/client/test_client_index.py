"""The client's view of collections, pages, counts and searches, on the real application over an index in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest

from executors.client import CollectionInfo, Document, RetryPolicy, VisualSearchClient
from executors.errors import VisualSearchError
from tests.support.flows.local_gateway import LocalGateway, local_gateway

JPEG = b"\xff\xd8\xff\xe0 small"
VECTORS = np.random.default_rng(1).normal(size=(9, 4)).astype(np.float32)


@pytest.fixture
async def gateway() -> AsyncIterator[LocalGateway]:
    async with local_gateway(2) as running:
        yield running


@pytest.fixture
async def client(gateway: LocalGateway) -> AsyncIterator[VisualSearchClient]:
    async with VisualSearchClient(gateway.url, retry=RetryPolicy(attempts=1)) as made:
        yield made


async def filled(client: VisualSearchClient) -> None:
    for n, vector in enumerate(VECTORS):
        document = Document(
            id=f"d{n}",
            embedding=vector.tolist(),
            tags={"n": n, "kind": "ab"[n % 2]},
            parent=f"d{n - 4}" if n > 5 else None,
            thumbnail=JPEG + bytes([n]),
        )
        assert (await client.index([document])).failed == 0


async def code_of(call: object) -> str:
    with pytest.raises(VisualSearchError) as caught:
        await call  # type: ignore[misc]
    return caught.value.code


async def test_collections_from_creation_to_drop(client: VisualSearchClient) -> None:
    made = await client.create_collection("mine")
    assert made == CollectionInfo("mine", "tiny@1", 4, 0, "created")
    assert (await client.create_collection("mine")).result == "unchanged"
    other = await client.create_collection("A.b-c_1", model_id="big@2", dimension=8)
    assert other == CollectionInfo("A.b-c_1", "big@2", 8, 0, "created")
    await client.index([Document(id="a", embedding=[1, 0, 0, 0])], collection="mine")
    assert [(each.name, each.documents) for each in await client.collections()] == [("A.b-c_1", 0), ("mine", 1)]
    assert await client.collection("mine") == CollectionInfo("mine", "tiny@1", 4, 1)
    assert await client.drop_collection("mine") == 1
    assert await code_of(client.collection("mine")) == "collection_not_found"
    assert await code_of(client.drop_collection("mine")) == "collection_not_found"


@pytest.mark.parametrize("name", ["a b", "a/b", "ä", "", "x" * 129, "a%2Fb", "?", "#", "a/../b"])
async def test_a_bad_name_in_the_path_is_an_invalid_parameter(client: VisualSearchClient, name: str) -> None:
    for call in (client.create_collection(name), client.drop_collection(name)):
        assert await code_of(call) == "invalid_parameter"
    if name:
        assert await code_of(client.collection(name)) == "invalid_parameter"


async def test_a_collection_bound_otherwise_is_refused(client: VisualSearchClient) -> None:
    await client.create_collection("c", model_id="big@2", dimension=8)
    assert await code_of(client.create_collection("c")) == "model_mismatch"
    assert await code_of(client.create_collection("c", model_id="big@2", dimension=9)) == "dimension_mismatch"


async def test_every_document_comes_back_to_the_bit_in_pages(client: VisualSearchClient) -> None:
    await filled(client)
    units = VECTORS / np.linalg.norm(VECTORS.astype(np.float64), axis=1, keepdims=True)
    stored = (await client.get([f"d{n}" for n in range(9)], with_embedding=True, with_thumbnail=True)).results
    documents = [each async for each in client.scroll_all(limit=2, with_embedding=True, with_thumbnail=True)]
    assert documents == list(stored)
    assert [each.id for each in documents] == [f"d{n}" for n in range(9)]
    assert documents[3].thumbnail == JPEG + b"\x03"
    assert documents[3].embedding is not None
    np.testing.assert_allclose(documents[3].embedding, units[3], atol=1e-7)
    again = await client.index(
        [Document(id="copy", embedding=documents[3].embedding, thumbnail=documents[3].thumbnail)], collection="c2"
    )
    assert again[0].error is None
    copied = await client.get(["copy"], collection="c2", with_embedding=True)
    assert copied[0].embedding == documents[3].embedding


async def test_pages_and_counts(client: VisualSearchClient) -> None:
    await filled(client)
    page = await client.scroll(after="d1", limit=2, filter={"kind": "b"})
    assert ([each.id for each in page.documents], page.next) == (["d3", "d5"], "d5")
    assert page.documents[0].embedding is None
    assert (await client.scroll(after="d5", limit=2, filter={"kind": "b"})).next is None
    assert await client.count() == 9
    assert await client.count(filter={"n": {"$lt": 3}}) == 3
    assert await code_of(client.count(collection="nobodys")) == "collection_not_found"
    assert await code_of(client.scroll(filter={"n": {"$lt": None}})) == "invalid_filter"


async def test_deletes_say_how_much_went(client: VisualSearchClient) -> None:
    await filled(client)
    answer = await client.delete(["d2", "nobody"])
    assert [(each.result, each.descendants) for each in answer] == [("deleted", 1), ("not_found", 0)]
    assert answer.deleted == 2
    assert await client.delete_matching({"kind": "b"}) == 4
    assert [each.id async for each in client.scroll_all()] == ["d0", "d4", "d8"]
    assert await code_of(client.delete_matching({})) == "invalid_parameter"


async def test_a_search_with_everything(client: VisualSearchClient) -> None:
    await filled(client)
    query = Document(embedding=VECTORS[3].tolist())
    answer = await client.search(
        [query],
        limit=5,
        filter={"kind": "b"},
        group_by="kind",
        fields=["tags.n"],
        exact=True,
        ef=50,
        with_embedding=True,
        explain=True,
    )
    (hit,) = answer[0].matches
    assert (hit.id, hit.group, hit.tags, hit.parent) == ("d3", "b", {"n": 3}, None)
    assert hit.embedding is not None
    assert float(np.linalg.norm(hit.embedding)) == pytest.approx(1, abs=1e-6)
    assert answer.explain == [{"shards": [{"shard": 0}, {"shard": 1}]}]
    like = await client.search_like("d3", limit=3, filter={"kind": "a"}, fields=[])
    assert [set(each.tags) for each in like[0].matches] == [set()] * 3
    assert {each.id for each in like[0].matches} <= {f"d{n}" for n in range(0, 9, 2)}


@pytest.mark.parametrize(
    "thumbnail", [b"", b"GIF89a", b"\xff\xd8\xff" + bytes(65_536)], ids=["empty", "no JPEG", "too large"]
)
async def test_a_thumbnail_that_is_none_is_refused(client: VisualSearchClient, thumbnail: bytes) -> None:
    (result,) = await client.index([Document(id="a", embedding=[1, 0, 0, 0], thumbnail=thumbnail)])
    assert result.error is not None
    assert result.error.code == "invalid_document"


async def test_a_thumbnail_goes_with_a_ready_vector_only(client: VisualSearchClient) -> None:
    documents = [
        Document(id="both", embedding=[1, 0, 0, 0], blob=b"picture", thumbnail=JPEG),
        Document(id="picture", blob=b"picture", thumbnail=JPEG),
        Document(id="sound", embedding=[1, 0, 0, 0], thumbnail=JPEG),
    ]
    answer = await client.index(documents)
    assert [each.error.code if each.error else None for each in answer] == ["invalid_document"] * 2 + [None]
    (query,) = await client.search([Document(embedding=[1, 0, 0, 0], thumbnail=JPEG)])
    assert query.error is not None
    assert query.error.code == "invalid_document"


async def test_upkeep(client: VisualSearchClient) -> None:
    await filled(client)
    await client.reindex()
    await client.reindex("images")
    assert await code_of(client.reindex("nobodys")) == "collection_not_found"
    report = await client.verify(repair=True)
    assert (report.ok, report.documents, list(report.repairs)) == (True, 9, [])
