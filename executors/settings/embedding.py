"""The settings of models and of the backends that run them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from executors.settings.values import File, Folder, Names, absolute_path, data_folder

NO_SERVERS: Final = "VS_TRITON_URLS: the backend `triton` needs at least one host:port"
_ADDRESS: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):\d{1,5}")


class EmbeddingSettings(BaseModel):
    """The model, the replicas that run it, and Triton."""

    model: str = Field(
        "efficientnet-lite0",
        min_length=1,
        max_length=200,
        description="image model, by its name in VS_MODELS_DIR; `name:2` is its version 2",
    )
    models_dir: Folder = Field(
        default_factory=lambda: data_folder() / "models",
        description="folder of the model repository, in Triton's layout",
    )
    models_manifest: File = Field(None, description="file that declares further models for `visual-search models`")
    replicas: int = Field(2, ge=1, le=256, description="replicas of the embedding stage")
    embed_batch: int = Field(4, ge=1, le=256, description="maximum number of pictures in one run of the model on a CPU")
    embed_backend: Literal["onnx", "triton", "managed-triton"] = Field(
        "onnx",
        description="what runs the model: `onnx` (in the replica's process), `triton` (your own servers), `managed-triton` "
        "(one server per replica)",
    )
    triton_urls: Names = Field(
        (),
        description="gRPC addresses of your Triton servers, `host:port`, comma-separated; replica i prefers server i mod n",
    )
    triton_timeout_ms: int = Field(5_000, ge=50, description="timeout of one call to a Triton server, in milliseconds")
    triton_in_flight: int = Field(
        16, ge=1, le=4096, description="maximum number of concurrent calls from one replica to one Triton server"
    )
    triton_dir: Folder = Field(
        default_factory=lambda: data_folder() / "triton",
        description="folder of the managed Triton, with its packages and logs",
    )
    triton_packages: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="packages of the managed Triton: `cpu`, `cuda`, or `auto` (`cuda` for replicas that have a GPU)",
    )

    @field_validator("models_manifest", mode="after")
    @classmethod
    def _from_root(cls, value: Path | None) -> Path | None:
        return None if value is None else absolute_path(value)

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
    def _servers(self) -> EmbeddingSettings:
        if self.embed_backend == "triton" and not self.triton_urls:
            raise ValueError(NO_SERVERS)
        return self
