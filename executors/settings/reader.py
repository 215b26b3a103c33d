"""The one reader of the environment: every setting, its default, its range, and one line of explanation.

The table in flows/README.md is made from `Settings`; a test compares the two. Folders default to absolute paths in the
user's data folder, so that the current directory never decides which index is used.
"""

from __future__ import annotations

import difflib
import os
import re
import textwrap
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from executors.errors import VisualSearchError
from executors.hosts import is_host
from executors.settings.opensearch import NO_URLS, OpenSearchSettings


def data_folder() -> Path:
    """The user's data folder for this project, as the XDG base directory specification places it.

    Raises:
        VisualSearchError: `invalid_setting` if neither HOME nor XDG_DATA_HOME says where that is.
    """
    base = os.environ.get("XDG_DATA_HOME", "")
    if not base.startswith("/"):  # "consider the path invalid and ignore it", says the specification of a relative one
        base = str(Path("~").expanduser()) if os.environ.get("HOME", "/").startswith("/") else ""
        if not base.startswith("/"):
            message = "HOME is not an absolute path, so there is no folder for data; set HOME or XDG_DATA_HOME to one"
            raise VisualSearchError("invalid_setting", message, variables=["HOME"])
        base = f"{base}/.local/share"
    return checked_path(Path(base), "XDG_DATA_HOME") / "visual-search"


def checked_path(path: Path, name: str) -> Path:
    """An absolute path that is possible on this system.

    Raises:
        VisualSearchError: `invalid_setting`.
    """
    try:
        return absolute_path(path)
    except ValueError as error:
        raise VisualSearchError("invalid_setting", f"{name}: {error}", variables=[name]) from None


def absolute_path(path: Path) -> Path:
    """The path from the root, `~` resolved.

    Raises:
        ValueError: the path is too long for a file or folder, or its `~` can't be resolved.
    """
    try:
        whole = path.expanduser().absolute()
    except RuntimeError:
        raise ValueError(f"{path}: there is no such user, or no HOME") from None
    encoded = os.fsencode(whole)
    if len(encoded) > _LONGEST_PATH or any(len(part) > _LONGEST_NAME for part in encoded.split(b"/")):
        raise ValueError("a name in this path is longer than a file name can be")
    return whole


# Linux's PATH_MAX, and NAME_MAX of its file systems, in bytes.
_LONGEST_PATH: Final = 4095
_LONGEST_NAME: Final = 255
# The bootstrap makes these from other settings, for the flow files.
_FLOW_VARIABLES: Final = frozenset({"VS_PORTS", "VS_STAGE_TIMEOUT_MS"})
_NO_SERVERS: Final = "VS_TRITON_URLS: the backend `triton` needs at least one host:port"
_ADDRESS: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):\d{1,5}")


def _origin(given: str) -> str:
    """An origin as browsers write it: lower case, without a path, and without the port that its scheme has anyway.

    Raises:
        ValueError: it is not an origin, so no browser would ever send it.
    """
    if given == "*":
        return given
    try:
        parts = urlsplit(given)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    more = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc or "*" in parts.netloc
    if parts.scheme not in ("http", "https") or not parts.hostname or more:
        raise ValueError(f"{given!r} is not an origin; write https://shop.example, with a port if it has one, or *")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    shown = "" if port in (None, {"http": 80, "https": 443}[parts.scheme]) else f":{port}"
    return f"{parts.scheme}://{host}{shown}"


def _host_name(given: str) -> str:
    """A name as it stands in a Host header before the port, in lower case.

    Raises:
        ValueError: it is none, so that no request would ever match it.
    """
    name = given[1:-1] if given.startswith("[") and given.endswith("]") else given
    if given != "*" and not is_host(name):
        raise ValueError(f"{given!r} is no name of a host; write shop.example, without a scheme or a port, or *")
    return name.lower()


class Settings(OpenSearchSettings):
    """All settings; each is the environment variable `VS_` + its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="VS_", frozen=True, extra="ignore")

    host: str = Field("127.0.0.1", description="address that the gateway listens on")
    http_port: int = Field(8080, ge=1, le=65535, description="port for HTTP")
    grpc_port: int = Field(54321, ge=1, le=65535, description="port for gRPC")
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="further names that a Host header may carry, comma-separated (this machine's own names are always "
        "accepted); `*` allows any",
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="origins of other web pages that may call the API, comma-separated (`https://shop.example`); `*` allows "
        "any",
    )
    workspace: Path = Field(
        default_factory=lambda: data_folder() / "workspace",
        description="folder of the index, with one subfolder per shard",
    )
    allow_network_fs: Literal["on", "off"] = Field(
        "off", description="`on` accepts a workspace on a network file system, which can lose acknowledged writes"
    )
    models_dir: Path = Field(
        default_factory=lambda: data_folder() / "models",
        description="folder of the model repository, in Triton's layout",
    )
    replicas: int = Field(2, ge=1, le=256, description="replicas of the embedding stage")
    shards: int = Field(2, ge=1, le=256, description="shards of the index")
    model: str = Field(
        "efficientnet-lite0",
        min_length=1,
        max_length=200,
        description="image model, by its name in VS_MODELS_DIR; `name:2` is its version 2",
    )
    models_manifest: Path | None = Field(
        None, description="file that declares further models for `visual-search models`"
    )
    embed_backend: Literal["onnx", "triton", "managed-triton"] = Field(
        "onnx",
        description="what runs the model: `onnx` (in the replica's process), `triton` (your own servers), `managed-triton` "
        "(one server per replica)",
    )
    triton_urls: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="gRPC addresses of your Triton servers, `host:port`, comma-separated; replica i prefers server i mod n",
    )
    triton_timeout_ms: int = Field(5_000, ge=50, description="timeout of one call to a Triton server, in milliseconds")
    triton_in_flight: int = Field(
        16, ge=1, le=4096, description="maximum number of concurrent calls from one replica to one Triton server"
    )
    triton_dir: Path = Field(
        default_factory=lambda: data_folder() / "triton",
        description="folder of the managed Triton, with its packages and logs",
    )
    triton_packages: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="packages of the managed Triton: `cpu`, `cuda`, or `auto` (`cuda` for replicas that have a GPU)",
    )
    graph_from: int = Field(
        10_000,
        ge=100,
        description="number of documents, per collection and shard, from which a graph is built and searched",
    )
    graph_precision: Literal["half", "single"] = Field(
        "half", description="precision of the vectors in the graph: `half` (2 bytes per number) or `single` (4)"
    )
    rerank: Literal["disk", "memory"] = Field(
        "disk",
        description="where vectors are read for exact re-ranking: `disk`, or `memory` (4 more bytes per number with `half`)",
    )
    embed_batch: int = Field(4, ge=1, le=256, description="maximum number of pictures in one run of the model on a CPU")
    threads: int = Field(
        0, ge=0, le=1024, description="computing threads of each replica of a stage; 0 means its share of the cores"
    )
    max_image_bytes: int = Field(20_000_000, ge=1, description="maximum size of an encoded picture, in bytes")
    max_image_pixels: int = Field(
        50_000_000, ge=1, description="maximum number of pixels that a picture's header may declare"
    )
    max_image_side: int = Field(
        16_384, ge=1, description="maximum width and height that a picture's header may declare, in pixels"
    )
    thumbnails: Literal["on", "off"] = Field(
        "on", description="`on` keeps a small JPEG of each picture, to show in results"
    )
    max_request_bytes: int = Field(
        256_000_000, ge=1_000, description="maximum size of one HTTP body or gRPC message, in bytes"
    )
    max_bodies: int = Field(
        256, ge=1, description="maximum number of bodies that are being received; the slowest makes room for a new one"
    )
    max_bodies_bytes: int = Field(
        512_000_000,
        ge=1_000,
        description="maximum memory for the bodies of all requests, in bytes; further bodies wait (a single one may be "
        "larger)",
    )
    body_timeout_ms: int = Field(
        60_000, ge=100, description="timeout for receiving a body, from its first byte, in milliseconds"
    )
    body_min_rate: int = Field(
        1_000,
        ge=1,
        description="minimum average rate at which a body must arrive, in bytes per second, after the first 10 s",
    )
    max_connections: int = Field(
        1_000,
        ge=1,
        description="maximum number of open HTTP connections (fewer if `ulimit -n` is small); idle ones are closed to make "
        "room",
    )
    max_decoded_bytes: int = Field(
        400_000_000,
        ge=1_000,
        description="maximum memory for the decoded pixels of all pictures in work, in bytes (a single picture may need more)",
    )
    max_documents: int = Field(100_000, ge=1, description="maximum number of documents in one request")
    max_concurrency: int = Field(256, ge=1, description="maximum number of requests in flight; further ones get 429")
    timeout_ms: int = Field(60_000, ge=100, description="timeout of a request from end to end, in milliseconds")
    keepalive_s: int = Field(
        75,
        ge=1,
        le=86_400,
        description="seconds that an idle HTTP connection stays open; should be longer than the timeout of a proxy in front",
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="`text`, or `json` for one JSON object per log line"
    )

    @property
    def stage_timeout_ms(self) -> int:
        """After how long the gateway gives up a stage that hangs; another replica can still answer within the timeout then."""
        return max(100, self.timeout_ms // 3)

    @field_validator("*", mode="before")
    @classmethod
    def _readable(cls, value: object) -> object:
        if isinstance(value, str) and any("\ud800" <= each <= "\udfff" for each in value):
            raise ValueError("it is not UTF-8")
        return value

    @field_validator("workspace", "models_dir", "triton_dir", mode="before")
    @classmethod
    def _given(cls, value: object) -> object:
        """Refuse an empty path, which would be the current folder."""
        if isinstance(value, str) and not value.strip():
            raise ValueError("it is empty; unset it for the default")
        return value

    @field_validator("host", mode="after")
    @classmethod
    def _host(cls, value: str) -> str:
        if not is_host(value):
            raise ValueError(
                f"{textwrap.shorten(value, 80)!r} is neither an IP address (without brackets) nor a host name"
            )
        return value

    @field_validator("allowed_hosts", "allowed_origins", "triton_urls", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("allowed_hosts", mode="after")
    @classmethod
    def _host_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_host_name(each) for each in value)

    @field_validator("allowed_origins", mode="after")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_origin(each) for each in value)

    @field_validator("models_manifest", mode="before")
    @classmethod
    def _unset(cls, value: object) -> object:
        """Take an empty path for none; else it would be the current folder."""
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
            raise ValueError("the same server is listed twice")
        return value

    @model_validator(mode="after")
    def _servers(self) -> Settings:
        if self.embed_backend == "triton" and not self.triton_urls:
            raise ValueError(_NO_SERVERS)
        return self

    @field_validator("workspace", "models_dir", "triton_dir", "models_manifest", mode="after")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else absolute_path(value)


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


def unknown_variables() -> list[str]:
    """A line for each variable `VS_…` of the environment that is not a setting; it is most likely misspelt."""
    known = [f"VS_{name.upper()}" for name in Settings.model_fields]
    lines = []
    for name in sorted(os.environ):
        if name.startswith("VS_") and name not in known and name not in _FLOW_VARIABLES:
            near = difflib.get_close_matches(name, known, n=1)
            lines.append(f"{name} is not a setting and has no effect{f'; did you mean {near[0]}?' if near else ''}")
    return lines


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once."""
    return read_settings()


def with_flow_backend(chosen: Settings, backend: str | None) -> Settings:
    """The settings with the backend that a flow file names (`uses_with: {backend: …}`), unless the environment names one.

    Raises:
        VisualSearchError: `invalid_setting` when there is no such backend.
    """
    chosen = _with_flow_choice(chosen, "embed_backend", "backend", backend)
    if chosen.embed_backend == "triton" and not chosen.triton_urls:
        raise VisualSearchError("invalid_setting", _NO_SERVERS, variables=["VS_TRITON_URLS"])
    return chosen


def with_flow_store(chosen: Settings, store: str | None) -> Settings:
    """The settings with the store that a flow file names (`uses_with: {store: …}`), unless the environment names one.

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
        message = f"the flow file's {name} {value!r} is not one of {', '.join(known)}"
        raise VisualSearchError("invalid_setting", message, variables=[name])
    return chosen.model_copy(update={field: value})


def wants_json() -> bool:
    """Whether every log line is JSON. Known before the settings are read, because their faults are log lines as well."""
    return os.environ.get("VS_LOG_FORMAT", "").strip() == "json"


def visible_devices() -> str:
    """What `CUDA_VISIBLE_DEVICES` gave this process: a GPU's number or UUID, empty, or a literal `RR…`."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "")
