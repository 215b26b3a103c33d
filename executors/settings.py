"""The one reader of the environment: every setting, its default, its range, and one line of explanation.

The README's table is made from `Settings`; a test compares the two. Folders default to absolute ones in the user's data
folder, so that the current directory never decides which index one sees.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from executors.errors import VisualSearchError
from executors.opensearch_settings import NO_URLS, OpenSearchSettings


def data_folder() -> Path:
    """The user's data folder for this project, as the XDG base directory specification places it."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base).expanduser().absolute() / "visual-search"


_NO_SERVERS: Final = "VS_TRITON_URLS: the backend `triton` needs at least one host:port"
_ADDRESS: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):\d{1,5}")


class Settings(OpenSearchSettings):
    """All settings; each is the environment variable `VS_` + its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="VS_", frozen=True, extra="ignore")

    host: str = Field("127.0.0.1", description="address that the gateway listens on")
    http_port: int = Field(8080, ge=1, le=65535, description="port of the HTTP gateway")
    grpc_port: int = Field(54321, ge=1, le=65535, description="port of the gRPC gateway")
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="more names that a Host header may carry, by commas (this machine's own are known)"
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="origins of other pages that may call the API, by commas"
    )
    workspace: Path = Field(
        default_factory=lambda: data_folder() / "workspace", description="folder of the index; one subfolder a shard"
    )
    models_dir: Path = Field(
        default_factory=lambda: data_folder() / "models", description="the Triton model repository"
    )
    replicas: int = Field(2, ge=1, le=256, description="replicas of the embedding executor")
    shards: int = Field(2, ge=1, le=256, description="shards of the index")
    model: str = Field(
        "efficientnet-lite0",
        min_length=1,
        description="image model, an entry of VS_MODELS_DIR; `name:2` for its version 2",
    )
    models_manifest: Path | None = Field(
        None, description="a file that declares more models for `visual-search models`"
    )
    embed_backend: Literal["onnx", "triton", "managed-triton"] = Field(
        "onnx",
        description="what runs the model: `onnx` (in process), `triton` (servers of yours), `managed-triton` (one a replica)",
    )
    triton_urls: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Triton servers, `host:port` of their gRPC, by commas; replica i prefers server i mod n"
    )
    triton_timeout_ms: int = Field(5_000, ge=50, description="deadline of one call to a Triton server")
    triton_in_flight: int = Field(
        16, ge=1, le=4096, description="calls in flight to one Triton server, from one replica"
    )
    triton_dir: Path = Field(
        default_factory=lambda: data_folder() / "triton", description="the managed Triton: its environment and its logs"
    )
    triton_packages: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="packages of the managed Triton; `auto`: `cuda` for a replica that was given a GPU"
    )
    graph_from: int = Field(
        10_000,
        ge=100,
        description="documents of a collection, in one shard, from which on a graph is built and searched",
    )
    graph_precision: Literal["half", "single"] = Field(
        "half", description="numbers of the vectors in the graph: `half` (2 bytes each) or `single` (4)"
    )
    rerank: Literal["disk", "memory"] = Field(
        "disk",
        description="where the vectors that decide are read: `disk`, or `memory` (4 more bytes a number with `half`)",
    )
    embed_batch: int = Field(4, ge=1, le=256, description="pictures that one run of the model takes on a CPU")
    threads: int = Field(0, ge=0, le=1024, description="threads of a stage; 0: what the cores allow")
    max_image_bytes: int = Field(20_000_000, ge=1, description="most bytes of an encoded picture")
    max_image_pixels: int = Field(50_000_000, ge=1, description="most pixels that a picture's header may declare")
    max_image_side: int = Field(16_384, ge=1, description="longest side that a picture's header may declare")
    thumbnails: Literal["on", "off"] = Field("on", description="keep a small JPEG of each picture to show in results")
    max_request_bytes: int = Field(256_000_000, ge=1_000, description="most bytes of one HTTP body or gRPC message")
    max_documents: int = Field(100_000, ge=1, description="most documents in one request")
    max_concurrency: int = Field(256, ge=1, description="requests in flight before new ones get 429")
    timeout_ms: int = Field(60_000, ge=100, description="deadline of a request from end to end")
    log_format: Literal["text", "json"] = Field("text", description="`json` for one JSON object a log line")

    @property
    def stage_timeout_ms(self) -> int:
        """When the gateway gives up a stage that hangs: early enough for another replica to answer within the deadline."""
        return max(100, self.timeout_ms // 3)

    @field_validator("allowed_hosts", "allowed_origins", "triton_urls", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("models_manifest", mode="before")
    @classmethod
    def _unset(cls, value: object) -> object:
        """An empty path is that of the current folder, which nobody means."""
        return None if isinstance(value, str) and not value.strip() else value

    @field_validator("grpc_port", mode="after")
    @classmethod
    def _own_port(cls, value: int, info: ValidationInfo) -> int:
        if value == info.data.get("http_port"):
            raise ValueError("the same port as VS_HTTP_PORT")
        return value

    @field_validator("triton_urls", mode="after")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for url in value:
            if not _ADDRESS.fullmatch(url) or not 1 <= int(url.rpartition(":")[2]) <= 65535:
                raise ValueError(f"{url!r} is not host:port (of the server's gRPC, without a scheme)")
        if len(set(value)) != len(value):
            raise ValueError("the same server stands twice")
        return value

    @model_validator(mode="after")
    def _servers(self) -> Settings:
        if self.embed_backend == "triton" and not self.triton_urls:
            raise ValueError(_NO_SERVERS)
        return self

    @field_validator("workspace", "models_dir", "triton_dir", mode="after")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()


def read_settings() -> Settings:
    """Read the environment.

    Raises:
        VisualSearchError: `invalid_setting`, naming each variable at fault and what is wrong with it.
    """
    try:
        return Settings()
    except ValidationError as error:
        faults = [_fault(fault) for fault in error.errors()]
        raise VisualSearchError("invalid_setting", "; ".join(faults), variables=faults) from None


def _fault(fault: Any) -> str:
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"VS_{str(fault['loc'][0]).upper()}: {message}" if fault["loc"] else message


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once."""
    return read_settings()


def with_flow_backend(chosen: Settings, backend: str | None) -> Settings:
    """The settings where a flow file names a backend (`uses_with: {backend: …}`): the environment, if it does, wins.

    Raises:
        VisualSearchError: `invalid_setting` when there is no such backend.
    """
    chosen = _with_flow_choice(chosen, "embed_backend", "backend", backend)
    if chosen.embed_backend == "triton" and not chosen.triton_urls:
        raise VisualSearchError("invalid_setting", _NO_SERVERS, variables=["VS_TRITON_URLS"])
    return chosen


def with_flow_store(chosen: Settings, store: str | None) -> Settings:
    """The settings where a flow file names a store (`uses_with: {store: …}`): the environment, if it does, wins.

    Raises:
        VisualSearchError: `invalid_setting` when there is no such store.
    """
    chosen = _with_flow_choice(chosen, "store", "store", store)
    if chosen.store == "opensearch" and not chosen.opensearch_urls:
        raise VisualSearchError("invalid_setting", NO_URLS, variables=["VS_OPENSEARCH_URLS"])
    return chosen


def _with_flow_choice(chosen: Settings, field: str, name: str, value: str | None) -> Settings:
    """The settings with what a flow file calls `name`, unless the environment sets the field itself."""
    if value is None or field in chosen.model_fields_set:
        return chosen
    known = get_args(Settings.model_fields[field].annotation)
    if value not in known:
        message = f"the flow file's {name} {value!r} is none of {', '.join(known)}"
        raise VisualSearchError("invalid_setting", message, variables=[name])
    return chosen.model_copy(update={field: value})


def wants_json() -> bool:
    """Whether every line is to be JSON; known before the settings are read, whose faults are lines as well."""
    return os.environ.get("VS_LOG_FORMAT", "").strip() == "json"


def visible_devices() -> str:
    """What `CUDA_VISIBLE_DEVICES` gave this process: a GPU's number or UUID, empty, or a literal `RR…`."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "")
