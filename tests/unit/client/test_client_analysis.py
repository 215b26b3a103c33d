"""The client's facets and quality: what it sends, and how it reads the answers of a real gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest

from executors.client import Document, Facet, FacetValue, RetryPolicy, VisualSearchClient
from executors.errors import VisualSearchError
from tests.support.flows.local_gateway import local_gateway


@pytest.fixture
async def client() -> AsyncIterator[VisualSearchClient]:
    async with (
        local_gateway(2) as gateway,
        VisualSearchClient(gateway.url, retry=RetryPolicy(attempts=1), timeout_s=10) as made,
    ):
        vectors = np.random.default_rng(1).standard_normal((6, 4))
        await made.index(
            [
                Document(id=f"{n}", embedding=each, tags={"a": n % 2, "b": [f"{n}", None]})
                for n, each in enumerate(vectors)
            ]
        )
        yield made


async def test_facets(client: VisualSearchClient) -> None:
    found = await client.facets(["a", "b", "c"], filter={"a": 1}, limit=1)
    assert (found.count, found.partial) == (3, False)
    assert found.facets == [
        Facet("a", [FacetValue(0, 3)], 1),
        Facet("b", [FacetValue(None, 3)], 3),
        Facet("c", [], 0),
    ]
    with pytest.raises(VisualSearchError, match="collection_not_found"):
        await client.facets(["a"], collection="nothing")
    with pytest.raises(VisualSearchError, match="invalid_filter"):
        await client.facets(["a"], filter={"a": {"$what": 1}}, allow_partial=True)


async def test_quality(client: VisualSearchClient) -> None:
    (report,) = await client.quality(sample=4, k=2, ef=10)
    assert (report.collection, report.documents, report.queries, report.walked) == ("images", 6, 4, 0)
    assert (report.mean, report.lowest, report.all_found) == (1.0, 1.0, 1.0)
    assert report.graph_ms is not None
    assert report.exact_ms is not None
    with pytest.raises(VisualSearchError, match="collection_not_found"):
        await client.quality(collection="nothing")
