"""The choice of the store, by the settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import SecretStr

from executors.cores import available_cores
from executors.errors import VisualSearchError
from executors.files.reading import read_text
from executors.index.store import Store
from executors.settings import Settings

if TYPE_CHECKING:
    from executors.index.opensearch.cluster.connection import ConnectionOptions


_MAX_SECRET_BYTES: Final = 65_536


def make_store(chosen: Settings, folder: Path, shards: int) -> Store:
    """The store that the settings name, not yet opened.

    Args:
        folder: this shard's own.
        shards: how many shards the flow has.

    Raises:
        VisualSearchError: `invalid_setting`, `unreadable_file`.
    """
    # Imported here, so that one store does not need the other's packages.
    if chosen.store == "opensearch":
        return _on_opensearch(chosen, shards)
    from executors.index.embedded.disk.file_systems import check_local
    from executors.index.embedded.memory.collection_memory import GraphOptions
    from executors.index.embedded.store import EmbeddedStore

    cores = available_cores()
    options = GraphOptions(
        graph_from=chosen.graph_from,
        precision=chosen.graph_precision,
        rerank=chosen.rerank,
        # A rebuild leaves half of the cores free.
        threads=max(1, cores // 2),
    )
    if chosen.allow_network_fs == "off":
        check_local(folder)
    return EmbeddedStore(folder, search_threads=chosen.threads or cores, graph=options)


def _on_opensearch(chosen: Settings, shards: int) -> Store:
    from executors.index.opensearch.cluster.layout import IndexOptions
    from executors.index.opensearch.store import OpenSearchStore

    if shards > 1:
        raise VisualSearchError(
            "invalid_setting",
            f"OpenSearch shards by itself: {shards} shards of the flow would double every answer; use"
            " flows/image-search-opensearch.yml, or VS_SHARDS=1 (and VS_OPENSEARCH_SHARDS)",
            variables=["VS_SHARDS"],
        )
    index = IndexOptions(
        prefix=chosen.opensearch_prefix,
        shards=chosen.opensearch_shards,
        replicas=chosen.opensearch_replicas,
        engine=chosen.opensearch_engine,
        m=chosen.opensearch_m,
        ef_construction=chosen.opensearch_ef_construction,
        ef_search=chosen.opensearch_ef_search,
        precision=chosen.opensearch_precision,
        tag_fields=chosen.opensearch_tag_fields,
    )
    return OpenSearchStore(
        connection_options(chosen), index, graph_from=chosen.graph_from, refresh=chosen.opensearch_refresh == "on"
    )


def connection_options(chosen: Settings) -> ConnectionOptions:
    """The connection that the settings configure.

    Raises:
        VisualSearchError: `unreadable_file`.
    """
    from executors.index.opensearch.cluster.connection import ConnectionOptions

    if chosen.opensearch_ca is not None and not chosen.opensearch_ca.is_file():
        raise VisualSearchError("unreadable_file", f"VS_OPENSEARCH_CA: there is no file {str(chosen.opensearch_ca)!r}")
    return ConnectionOptions(
        urls=chosen.opensearch_urls,
        user=chosen.opensearch_user,
        password=_secret(chosen.opensearch_password, chosen.opensearch_password_file),
        api_key=_secret(chosen.opensearch_api_key, chosen.opensearch_api_key_file),
        ca=chosen.opensearch_ca,
        verify=chosen.opensearch_verify == "on",
        timeout_s=min(chosen.opensearch_timeout_ms, chosen.stage_timeout_ms) / 1000,
    )


def _secret(value: SecretStr | None, file: Path | None) -> str | None:
    """A secret from the environment, or from a file."""
    if file is None:
        return None if value is None else value.get_secret_value()
    try:
        return read_text(file, _MAX_SECRET_BYTES).strip()
    except VisualSearchError as error:
        raise VisualSearchError("unreadable_file", f"the secret in {str(file)!r} {error.message}") from None
