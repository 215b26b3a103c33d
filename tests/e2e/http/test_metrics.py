"""`/metrics`: what Prometheus' own parser reads of it, for each request, document and process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from tests.support.flows.local_gateway import LocalGateway, local_gateway

X = [1.0, 0.0, 0.0, 0.0]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest_asyncio.fixture
async def gateway() -> AsyncIterator[LocalGateway]:
    async with local_gateway(2) as running:
        yield running


async def scrape(gateway: LocalGateway) -> Samples:
    async with aiohttp.ClientSession() as session, session.get(f"{gateway.url}/metrics") as answer:
        assert answer.status == 200
        assert answer.content_type == "text/plain"
        text = await answer.text()
    families = list(text_string_to_metric_families(text))
    assert len({each.name for each in families}) == len(families)
    assert all(each.documentation and each.name.startswith("visual_search_") for each in families)
    samples = [sample for each in families for sample in each.samples]
    found = {(each.name, frozenset(each.labels.items())): each.value for each in samples}
    assert len(found) == len(samples)
    return found


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((f"visual_search_{name}", frozenset(labels.items())))


async def post(gateway: LocalGateway, path: str, body: object) -> int:
    async with aiohttp.ClientSession() as session, session.post(gateway.url + path, json=body) as answer:
        return answer.status


async def test_requests_are_counted_by_endpoint_status_and_code(gateway: LocalGateway) -> None:
    for _ in range(3):
        assert (
            await post(gateway, "/index", {"data": [{"id": "a", "embedding": X}, {"id": "b", "embedding": X}]}) == 200
        )
    assert await post(gateway, "/search", {"data": []}) == 400
    found = await scrape(gateway)
    assert value(found, "requests_total", protocol="http", endpoint="/index", status="200", code="") == 3
    assert value(found, "requests_total", protocol="http", endpoint="/search", status="400", code="empty_request") == 1
    assert value(found, "request_seconds_count", protocol="http", endpoint="/index") == 3
    assert value(found, "request_documents_sum", endpoint="/index") == 6


async def test_the_status_that_is_counted_is_the_one_that_was_answered(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await post(gateway, "/get", {"data": [{"id": "nothing"}]}) == 404
    assert (
        await post(gateway, "/index", {"data": [{"id": "a", "embedding": [1.0]}, {"id": "b", "embedding": X}]}) == 200
    )

    async def defect(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(gateway.call.service.stages, "post", defect)
    assert await post(gateway, "/count", {}) == 500
    monkeypatch.undo()
    found = await scrape(gateway)
    counted = {
        (labels["endpoint"], labels["status"], labels["code"])
        for name, pairs in found
        if name == "visual_search_requests_total" and (labels := dict(pairs))
    }
    assert counted >= {("/get", "404", "not_found"), ("/index", "200", ""), ("/count", "500", "internal")}
    assert ("/count", "200", "") not in counted


async def test_a_document_that_fails_is_counted_by_stage_and_code(gateway: LocalGateway) -> None:
    await post(gateway, "/index", {"data": [{"id": "a", "embedding": X}, {"id": "b", "embedding": [1.0]}]})
    found = await scrape(gateway)
    errors = {key: count for key, count in found.items() if key[0] == "visual_search_document_errors_total"}
    ((_, labels),) = errors
    assert dict(labels)["code"] == "dimension_mismatch"


async def test_the_processes_and_shards_are_there(gateway: LocalGateway) -> None:
    await post(gateway, "/index", {"data": [{"id": str(n), "embedding": X} for n in range(5)]})
    found = await scrape(gateway)
    assert value(found, "ready") == 1
    assert value(found, "up", process="gateway") == 1
    assert (value(found, "process_resident_memory_bytes", process="gateway") or 0) > 1e6
    assert value(found, "index_documents") == 5
    counted = sum(value(found, "shard_documents", shard=str(n)) or 0 for n in range(2))
    assert counted == 5


async def test_a_shard_that_does_not_answer_is_down_and_the_rest_is_there(gateway: LocalGateway) -> None:
    gateway.call.stages.missing = {1}
    found = await scrape(gateway)
    assert value(found, "up", process="index/shard-1") == 0
    assert value(found, "up", process="index/shard-0") == 1


async def test_scrapes_themselves_do_not_add_series(gateway: LocalGateway) -> None:
    first = await scrape(gateway)
    await scrape(gateway)
    third = await scrape(gateway)
    assert {name for name, _ in third} - {name for name, _ in first} <= {
        "visual_search_requests_total",
        "visual_search_request_seconds_bucket",
        "visual_search_request_seconds_count",
        "visual_search_request_seconds_sum",
    }
