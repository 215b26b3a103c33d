"""The one reader of the environment: every setting, its default, its range, and one line of explanation.

The README's table is made from `Settings`; a test compares the two. Folders default to absolute ones in the user's data
folder, so that the current directory never decides which index one sees.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from executors.errors import VisualSearchError


def data_folder() -> Path:
    """The user's data folder for this project, as the XDG base directory specification places it."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base).expanduser().absolute() / "visual-search"


class Settings(BaseSettings):
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
    model: str = Field("efficientnet-lite0", min_length=1, description="image model, an entry of VS_MODELS_DIR")
    embed_backend: Literal["onnx"] = Field("onnx", description="what runs the model: `onnx` (in process)")
    store: Literal["embedded"] = Field("embedded", description="what holds the index: `embedded` (SQLite)")
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

    @field_validator("allowed_hosts", "allowed_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("grpc_port", mode="after")
    @classmethod
    def _own_port(cls, value: int, info: ValidationInfo) -> int:
        if value == info.data.get("http_port"):
            raise ValueError("the same port as VS_HTTP_PORT")
        return value

    @field_validator("workspace", "models_dir", mode="after")
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
        faults = [f"VS_{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in error.errors()]
        raise VisualSearchError("invalid_setting", "; ".join(faults), variables=faults) from None


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once."""
    return read_settings()


def visible_devices() -> str:
    """What `CUDA_VISIBLE_DEVICES` gave this process: a GPU's number or UUID, empty, or a literal `RR…`."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "")
