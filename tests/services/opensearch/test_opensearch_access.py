"""TLS and authentication as operators have them: through a real nginx in front of a real OpenSearch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.index.opensearch.cluster.connection import ConnectionOptions
from tests.support.flows.services import missing
from tests.support.opensearch.nginx_proxy import API_KEY, PASSWORD, USER, Nginx, find_nginx
from tests.support.opensearch.opensearch_index import Indices, delete_under
from tests.support.stores.records import ids_of, prepared, record

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def nginx(opensearch: ConnectionOptions, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    if find_nginx() is None:
        missing("opensearch", "there is no nginx to put in front of it (Debian and Ubuntu: `apt install nginx-light`)")
    proxy = Nginx(tmp_path_factory.mktemp("nginx"), opensearch.urls[0])
    yield proxy
    proxy.stop()


@pytest.fixture
async def prefix_of(opensearch: ConnectionOptions) -> AsyncIterator[list[str]]:
    """Prefixes to be deleted, past the proxy."""
    prefixes: list[str] = []
    yield prefixes
    for prefix in prefixes:
        await delete_under(opensearch, prefix)


async def works(options: ConnectionOptions, prefixes: list[str]) -> None:
    indices = Indices(options)
    prefixes.append(indices.prefix)
    store = await prepared(indices)
    await store.put([record("a"), record("b", seed=1)])
    assert await ids_of(store) == ["a", "b"]
    await store.close()


async def refusal(options: ConnectionOptions) -> VisualSearchError:
    with pytest.raises(VisualSearchError) as refused:
        await Indices(options).open()
    return refused.value


async def test_basic_authentication_over_tls_with_an_authority(nginx: Nginx, prefix_of: list[str]) -> None:
    await works(ConnectionOptions((nginx.url,), user=USER, password=PASSWORD, ca=nginx.authority), prefix_of)


async def test_an_api_key_over_tls_without_verification(nginx: Nginx, prefix_of: list[str]) -> None:
    await works(ConnectionOptions((nginx.url,), api_key=API_KEY, verify=False), prefix_of)


async def test_a_wrong_password_is_refused_at_once_and_shown_nowhere(nginx: Nginx) -> None:
    wrong = "wrong secret 4711"
    options = ConnectionOptions((nginx.url,), user=USER, password=wrong, ca=nginx.authority, timeout_s=30)
    error = await refusal(options)
    assert error.code == "storage_denied"
    assert "401" in error.message
    assert wrong not in f"{error!r} {error.details} {options!r}"
    assert (await refusal(replace(options, user=None, api_key="no key"))).code == "storage_denied"
    assert (await refusal(replace(options, user=None))).code == "storage_denied"


async def test_a_certificate_of_an_unknown_authority_is_refused(nginx: Nginx) -> None:
    error = await refusal(ConnectionOptions((nginx.url,), user=USER, password=PASSWORD, timeout_s=5))
    assert error.code == "storage_denied"
    assert "VS_OPENSEARCH_CA" in error.message


async def test_a_host_that_is_down_is_passed_over(
    nginx: Nginx, opensearch: ConnectionOptions, prefix_of: list[str], tmp_path: Path
) -> None:
    await works(replace(opensearch, urls=("http://127.0.0.1:9", *opensearch.urls)), prefix_of)
