"""The settings of who may call the service."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, SecretStr

from executors.settings.values import File


class AccessSettings(BaseModel):
    """Keys, and what holds without them."""

    keys_file: File = Field(
        None,
        description="file of the keys that callers must send (`visual-search keys`); without it no key is asked for",
    )
    insecure: Literal["off", "on"] = Field(
        "off", description="`on`: listen on an address that other machines reach although no key is asked for"
    )
    thumbnail_url_s: int = Field(
        600,
        ge=10,
        le=604_800,
        description="seconds for which the address of a thumbnail in an answer is valid without a key, while keys are on",
    )
    key_requests_per_second: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="requests a second of each key, unless its table says otherwise; no limit by default",
    )
    key_documents_in_flight: int | None = Field(
        None, ge=1, description="documents that each key may have under way, unless its table says otherwise"
    )
    key_bytes_in_flight: int | None = Field(
        None, ge=1, description="bytes of pictures and tensors that each key may have under way"
    )
    key_pixels_in_flight: int | None = Field(
        None, ge=1, description="pixels of decoded pictures that each key may have under way"
    )
    api_key: SecretStr | None = Field(None, description="key that the command line sends to the service")
