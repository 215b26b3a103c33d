"""The settings of the index on OpenSearch."""

from __future__ import annotations

import re
from typing import Final, Literal

from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator

from executors.settings.values import File, Names

_URL: Final = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:\d{1,5})?/?")
_PREFIX: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}")
NO_URLS: Final = "VS_OPENSEARCH_URLS: the store `opensearch` needs at least one URL"


class OpenSearchSettings(BaseModel):
    """How to reach the cluster, and the options of its indices."""

    opensearch_urls: Names = Field(
        (), description="OpenSearch nodes to connect to, `http(s)://host:port`, comma-separated"
    )
    opensearch_user: str | None = Field(None, description="OpenSearch user (basic authentication)")
    opensearch_password: SecretStr | None = Field(None, description="password of that user")
    opensearch_password_file: File = Field(None, description="file that holds the password")
    opensearch_api_key: SecretStr | None = Field(None, description="API key, instead of a user; sent as `ApiKey …`")
    opensearch_api_key_file: File = Field(None, description="file that holds the API key")
    opensearch_ca: File = Field(
        None, description="file with the CA certificates that OpenSearch's certificate is checked against"
    )
    opensearch_verify: Literal["on", "off"] = Field(
        "on", description="`off` skips the check of OpenSearch's certificate"
    )
    opensearch_timeout_ms: int = Field(
        15_000, ge=100, description="timeout of one OpenSearch request, in milliseconds, retries included"
    )
    opensearch_prefix: str = Field("visual-search", description="prefix of the names of all indices")
    opensearch_shards: int = Field(1, ge=1, le=1024, description="OpenSearch shards of a new collection's index")
    opensearch_replicas: int = Field(1, ge=0, le=100, description="replicas of each of these shards")
    opensearch_engine: Literal["lucene", "faiss"] = Field(
        "lucene", description="engine of the graph: `lucene`, or `faiss` (needs the native library of the k-NN plugin)"
    )
    opensearch_m: int = Field(16, ge=2, le=512, description="links per node of the graph")
    opensearch_ef_construction: int = Field(
        128, ge=2, le=4096, description="length of the candidate list when the graph is built"
    )
    opensearch_ef_search: int = Field(
        128, ge=1, le=10_000, description="minimum length of the candidate list when the graph is searched"
    )
    opensearch_precision: Literal["single", "half", "byte"] = Field(
        "single",
        description="precision of the vectors in the graph: `single` (4 bytes per number), `half` (`faiss` only) or `byte` "
        "(`lucene` only); hits are ranked by the exact vectors",
    )
    opensearch_refresh: Literal["on", "off"] = Field(
        "on", description="`on`: searches see a write once it is acknowledged; `off`: within a second, for bulk loads"
    )
    opensearch_tag_fields: int = Field(
        300,
        ge=0,
        le=10_000,
        description="maximum number of typed fields for the tags of a collection; range filters on further tags are slower",
    )
    index_replicas: int = Field(1, ge=1, le=256, description="replicas of the index stage, with `opensearch` only")

    @field_validator("opensearch_urls", mode="after")
    @classmethod
    def _are_urls(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        value = tuple(each.rstrip("/") for each in given)
        for url in value:
            if "@" in url:
                raise ValueError("a URL contains a user or a password: set VS_OPENSEARCH_USER and …_PASSWORD instead")
            if not _URL.fullmatch(url):
                raise ValueError(f"{url!r} is not http(s)://host:port")
        if len({url.split(":")[0] for url in value}) > 1:
            raise ValueError("use http for all nodes, or https for all nodes")
        return value

    @field_validator("opensearch_prefix", mode="after")
    @classmethod
    def _is_prefix(cls, value: str) -> str:
        if not _PREFIX.fullmatch(value):
            raise ValueError(
                "it must be 1 to 50 lower-case letters, digits, `-` and `_`, and begin with a letter or a digit"
            )
        return value

    @model_validator(mode="after")
    def _opensearch_fits(self) -> OpenSearchSettings:
        if self.opensearch_api_key and self.opensearch_api_key_file:
            raise ValueError("VS_OPENSEARCH_API_KEY and VS_OPENSEARCH_API_KEY_FILE: set only one of them")
        if self.opensearch_password and self.opensearch_password_file:
            raise ValueError("VS_OPENSEARCH_PASSWORD and VS_OPENSEARCH_PASSWORD_FILE: set only one of them")
        if self.opensearch_user and (self.opensearch_api_key or self.opensearch_api_key_file):
            raise ValueError("VS_OPENSEARCH_USER and VS_OPENSEARCH_API_KEY: choose one way to sign in")
        if (self.opensearch_precision, self.opensearch_engine) in (("half", "lucene"), ("byte", "faiss")):
            engine = self.opensearch_engine
            raise ValueError(f"VS_OPENSEARCH_PRECISION: {engine} does not support {self.opensearch_precision!r}")
        return self
